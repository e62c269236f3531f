package core_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "github.com/evergate/evergate"

// TestWhoMayImportWhom holds the import rule of this package's documentation
// over every non-test file of the module, files behind build tags included.
func TestWhoMayImportWhom(t *testing.T) {
	sources, err := parseSources(os.DirFS(".."))
	if err != nil {
		t.Fatalf("The module cannot be read: %v.", err)
	}
	if !slices.ContainsFunc(sources, func(s source) bool { return under(s.path, "core/ipsec") }) {
		t.Fatal("No file of core/ipsec was found, so the rule looked in the wrong place.")
	}
	for _, s := range sources {
		for _, broken := range s.broken() {
			t.Error(broken)
		}
	}
}

// TestImportRuleFindsEachBreach breaks each part of the rule once: a rule that
// finds nothing in a clean tree proves nothing.
func TestImportRuleFindsEachBreach(t *testing.T) {
	breaches := []struct {
		name, path, src string
		want            string // the sentence; empty when the file is within the rule
	}{
		{
			"the vocabulary takes a library", "core/ipsec/sa.go",
			"package ipsec\n\nimport \"golang.org/x/crypto/hkdf\"\n",
			`core/ipsec/sa.go:3: imports "golang.org/x/crypto/hkdf", but the vocabulary stands on the standard library only`,
		},
		{
			"the vocabulary asks the protocol", "core/ipsec/sa.go",
			"package ipsec\n\nimport \"" + module + "/ike\"\n",
			"the vocabulary stands on the standard library only",
		},
		{
			"ike talks to the dataplane itself", "ike/child.go",
			"package ike\n\nimport \"" + module + "/offload\"\n",
			"ike knows core/ipsec and itself only",
		},
		{
			"ike talks to ha in a harness", "ike/iketest/pair.go",
			"package iketest\n\nimport \"" + module + "/ha\"\n",
			"ike knows core/ipsec and itself only",
		},
		{
			"ha reads the configuration", "ha/transport/tls.go",
			"package transport\n\nimport \"" + module + "/core/config\"\n",
			"ha knows core/ipsec and itself only",
		},
		{
			"the contract knows a machine", "offload/mem/mem.go",
			"package mem\n\nimport \"" + module + "/ha\"\n",
			"offload knows core/ipsec and itself only",
		},
		{
			"a plugin knows the engine", "plugins/softesp/out.go",
			"package softesp\n\nimport \"" + module + "/core/engine\"\n",
			"a plugin knows offload, core/ipsec and itself only",
		},
		{
			"a plugin borrows from another", "plugins/xfrm/codec.go",
			"package xfrm\n\nimport \"" + module + "/plugins/softesp\"\n",
			"a plugin knows offload, core/ipsec and itself only",
		},
		{
			"a file behind a build tag is no exception", "plugins/dpdk/port.go",
			"//go:build dpdk\n\npackage dpdk\n\nimport \"" + module + "/ike\"\n",
			"plugins/dpdk/port.go:5: ",
		},
		{
			"core links a dataplane", "core/engine/run.go",
			"package engine\n\nimport \"" + module + "/plugins/softesp\"\n",
			"a dataplane runs in its own process; cmd wires it",
		},
		{
			"a second reader of configuration", "cmd/evergated/main.go",
			"package main\n\nimport \"github.com/spf13/viper\"\n",
			"core/config alone reads configuration",
		},
		{
			"a second registry of metrics", "ha/transport/stream.go",
			"package transport\n\nimport \"github.com/prometheus/client_golang/prometheus\"\n",
			"core/telemetry alone speaks Prometheus",
		},
		{
			"a state machine opens a socket", "ike/natt.go",
			"package ike\n\nimport (\n\t\"net/netip\"\n\t\"net\"\n)\n",
			`ike/natt.go:5: imports "net", but a state machine does no I/O`,
		},
		{
			"a state machine reads a file", "ha/log.go",
			"package ha\n\nimport \"os\"\n",
			"a state machine does no I/O",
		},
		{
			"a state machine locks", "core/engine/shard.go",
			"package engine\n\nimport \"sync/atomic\"\n",
			"one goroutine owns a state machine",
		},
		{
			"a state machine calls a service", "ha/node.go",
			"package ha\n\nimport \"google.golang.org/grpc/status\"\n",
			"a state machine does no I/O",
		},
		{
			"a state machine rolls dice", "ike/suite/nonce.go",
			"package suite\n\nimport \"crypto/rand\"\n",
			"randomness is passed in, so that a run repeats from its seed",
		},
		{
			"a state machine rolls seeded dice", "ike/policy.go",
			"package ike\n\nimport \"math/rand/v2\"\n",
			"randomness is passed in, so that a run repeats from its seed",
		},
		{
			"a state machine looks at the clock", "ike/info.go",
			"package ike\n\nimport \"time\"\n\nvar start = time.Now()\n",
			"ike/info.go:5: uses time.Now, but a state machine is told the time",
		},
		{
			"an alias does not hide the clock", "ha/lease.go",
			"package ha\n\nimport clock \"time\"\n\nvar wait = clock.Sleep\n",
			"ha/lease.go:5: uses time.Sleep, but a state machine is told the time",
		},
		{
			"a dot does not hide the clock", "ha/role.go",
			"package ha\n\nimport . \"time\"\n\nvar now = Now()\n",
			"imports time with a dot, which hides uses of the clock",
		},
		{
			"a state machine starts a goroutine", "ike/sa.go",
			"package ike\n\nfunc f() {\n\tgo f()\n}\n",
			"ike/sa.go:4: starts a goroutine, but one goroutine owns a state machine",
		},

		{
			"durations and points of time are values", "ike/rekey.go",
			"package ike\n\nimport \"time\"\n\nfunc due(now time.Time) bool { return now.After(time.Unix(0, 0)) }\n",
			"",
		},
		{
			"ha's edges do I/O", "ha/transport/udp.go",
			"package transport\n\nimport (\n\t\"net\"\n\t\"sync\"\n\t\"time\"\n)\n\nvar _ = time.Now\n",
			"",
		},
		{
			"the engine's shell does I/O", "core/engine/run.go",
			"package engine\n\nimport (\n\t\"sync\"\n\t\"" + module + "/ike\"\n\t\"" + module + "/ha\"\n)\n",
			"",
		},
		{
			"generated messages lock", "ha/proto/record.pb.go",
			"// Code generated by protoc-gen-go. DO NOT EDIT.\n\npackage proto\n\nimport \"sync\"\n",
			"",
		},
		{
			"a plugin knows its own parts and the contract", "plugins/softesp/in.go",
			"package softesp\n\nimport (\n\t\"" + module + "/core/ipsec\"\n\t\"" + module + "/offload/pluginrpc\"\n\t\"" + module + "/plugins/softesp/replay\"\n)\n",
			"",
		},
		{
			"tests use what they like", "ike/pair_test.go",
			"package ike\n\nimport \"net\"\n",
			"",
		},
	}
	for _, b := range breaches {
		t.Run(b.name, func(t *testing.T) {
			sources, err := parseSources(fstest.MapFS{b.path: {Data: []byte(b.src)}})
			if err != nil {
				t.Fatalf("The fixture cannot be parsed: %v.", err)
			}
			var found []string
			for _, s := range sources {
				found = append(found, s.broken()...)
			}
			switch {
			case b.want == "" && len(found) > 0:
				t.Errorf("%s is within the rule, but was reported: %q.", b.path, found)
			case b.want != "" && (len(found) != 1 || !strings.Contains(found[0], b.want)):
				t.Errorf("%s should be reported once with %q, got %q.", b.path, b.want, found)
			}
		})
	}
}

// A boundary says what a set of files must not import.
type boundary struct {
	holds  func(s source) bool
	denies func(s source, imp string) bool
	why    string // completes "imports X, but ..."
}

// boundaries is the import rule, part by part.
func boundaries() []boundary {
	rule := []boundary{
		{
			holds:  func(s source) bool { return under(s.path, "core/ipsec") },
			denies: func(_ source, imp string) bool { return !standard(imp) && !own(imp, "core/ipsec") },
			why:    "the vocabulary stands on the standard library only",
		},
		{
			holds: func(s source) bool { return under(s.path, "plugins") },
			denies: func(s source, imp string) bool {
				return under(imp, module) && !own(imp, "offload", "core/ipsec", firstTwo(s.path))
			},
			why: "a plugin knows offload, core/ipsec and itself only",
		},
		{
			holds:  func(s source) bool { return under(s.path, "core") },
			denies: func(_ source, imp string) bool { return own(imp, "plugins", "cmd") },
			why:    "a dataplane runs in its own process; cmd wires it",
		},
		{
			holds:  func(s source) bool { return !under(s.path, "core/config") },
			denies: func(_ source, imp string) bool { return under(imp, "github.com/spf13/viper") },
			why:    "core/config alone reads configuration",
		},
		{
			holds:  func(s source) bool { return !under(s.path, "core/telemetry") },
			denies: func(_ source, imp string) bool { return under(imp, "github.com/prometheus") },
			why:    "core/telemetry alone speaks Prometheus",
		},
		{
			holds: source.pure,
			denies: func(_ source, imp string) bool {
				return imp != "net/netip" && under(imp, "net", "os", "syscall",
					"google.golang.org/grpc", "golang.org/x/net", "golang.org/x/sys")
			},
			why: "a state machine does no I/O (net/netip is fine)",
		},
		{
			holds:  source.pure,
			denies: func(_ source, imp string) bool { return under(imp, "sync") },
			why:    "one goroutine owns a state machine",
		},
		{
			holds:  source.pure,
			denies: func(_ source, imp string) bool { return under(imp, "math/rand", "crypto/rand") },
			why:    "randomness is passed in, so that a run repeats from its seed",
		},
	}
	for _, sibling := range []string{"ike", "ha", "offload"} {
		rule = append(rule, boundary{
			holds: func(s source) bool { return under(s.path, sibling) },
			denies: func(_ source, imp string) bool {
				return under(imp, module) && !own(imp, "core/ipsec", sibling)
			},
			why: sibling + " knows core/ipsec and itself only",
		})
	}
	return rule
}

// clock tells whether a function of package time reads or waits for the clock
// of this machine.
func clock(name string) bool {
	switch name {
	case "Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Sleep", "Tick":
		return true
	}
	return false
}

// A source is one parsed non-test file.
type source struct {
	path string // from the module's root
	fset *token.FileSet
	file *ast.File
}

// parseSources parses the non-test Go files below root whatever their build
// tags. Like the go command it passes over testdata, vendor and names that
// begin with a dot or an underscore.
func parseSources(root fs.FS) ([]source, error) {
	var sources []source
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		hidden := name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_"))
		if d.IsDir() {
			if hidden || base == "testdata" || base == "vendor" {
				return fs.SkipDir
			}
			return nil
		}
		if hidden || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("parse %s: %w", name, err)
		}
		sources = append(sources, source{name, fset, file})
		return nil
	})
	return sources, err
}

// pure tells whether the file belongs to the state machines, which are told
// the time and their randomness and do no I/O. The harnesses beside them and
// the edges of ha are outside. So is what protoc generates: it guards its own
// lazy descriptors with sync and has no behaviour that a clock could change.
func (s source) pure() bool {
	if ast.IsGenerated(s.file) || under(s.path, "ike/iketest", "ha/hatest", "ha/transport", "ha/witness") {
		return false
	}
	if dir, name := path.Split(s.path); dir == "core/engine/" {
		switch name {
		case "shard.go", "input.go", "apply.go", "orders.go", "link.go", "link_make.go", "standby.go", "standby_copy.go", "standby_owner.go", "standby_message.go", "reconcile.go", "lease.go", "pace.go", "tunnel.go", "machine.go", "version1.go", "connection.go", "dial.go", "rest.go", "forget_mtu.go", "timer.go", "journal.go", "facts.go":
			return true
		}
	}
	return under(s.path, "core/ipsec", "ike", "ha")
}

// broken returns one sentence for every breach of the rule in s.
func (s source) broken() []string {
	found := s.brokenImports()
	if s.pure() {
		found = append(found, s.brokenPurity()...)
	}
	return found
}

func (s source) brokenImports() []string {
	var found []string
	for _, spec := range s.file.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser accepts no such file
		}
		for _, b := range boundaries() {
			if b.holds(s) && b.denies(s, imp) {
				found = append(found, s.sentence(spec.Pos(), "imports %q, but %s", imp, b.why))
			}
		}
	}
	return found
}

func (s source) brokenPurity() []string {
	var found []string
	timeName := s.localName("time")
	if timeName == "." {
		found = append(found, s.sentence(s.file.Package, "imports time with a dot, which hides uses of the clock from the rule"))
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, s.sentence(n.Pos(), "starts a goroutine, but one goroutine owns a state machine"))
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == timeName && clock(n.Sel.Name) {
				found = append(found, s.sentence(n.Pos(), "uses time.%s, but a state machine is told the time", n.Sel.Name))
			}
		}
		return true
	})
	return found
}

// localName returns the name by which the file calls an imported package of
// the standard library, empty when it does not import it.
func (s source) localName(importPath string) string {
	for _, spec := range s.file.Imports {
		if spec.Path.Value != strconv.Quote(importPath) {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(importPath)
	}
	return ""
}

func (s source) sentence(pos token.Pos, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s.", s.path, s.fset.Position(pos).Line, fmt.Sprintf(format, args...))
}

// under tells whether a slash-separated path is one of dirs or below it.
func under(p string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool {
		return p == dir || strings.HasPrefix(p, dir+"/")
	})
}

// own tells whether an import path is one of this module's directories or
// below it.
func own(imp string, dirs ...string) bool {
	rel, ok := strings.CutPrefix(imp, module+"/")
	return ok && under(rel, dirs...)
}

// standard tells whether an import path is of the standard library: every
// other path begins with the name of a host, which has a dot.
func standard(imp string) bool {
	host, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(host, ".")
}

// firstTwo returns the first two elements of a path: the plugin of a file.
func firstTwo(file string) string {
	parts := strings.SplitN(file, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}
