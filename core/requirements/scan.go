package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A claim is a test's word that it covers a statement.
type claim struct {
	id   string
	test string // directory and name: "ike.TestRekey"
	file string // from the module's root
	line int
}

// coverage is all claims of the module, in the order of the files.
type coverage []claim

// tests returns the tests that claim id, sorted, each once.
func (c coverage) tests(id string) []string {
	var names []string
	for _, claim := range c {
		if claim.id == id {
			names = append(names, claim.test)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// scan collects the claims of all _test.go files below root. Like the go
// command it passes over testdata, vendor and names that begin with a dot or
// an underscore; build tags do not matter.
func scan(root fs.FS) (coverage, error) {
	var covered coverage
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
		if hidden || !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		claims, err := scanFile(name, src)
		covered = append(covered, claims...)
		return err
	})
	return covered, err
}

// scanFile collects the claims of one test file, given by its path from the
// module's root.
func scanFile(name string, src []byte) ([]claim, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	var claims []claim
	for _, decl := range file.Decls {
		test, ok := decl.(*ast.FuncDecl)
		if !ok || !isTest(test) {
			continue
		}
		start := test.Pos()
		if test.Doc != nil {
			start = test.Doc.Pos()
		}
		for _, group := range file.Comments {
			if group.End() < start || group.Pos() > test.End() {
				continue
			}
			for _, comment := range group.List {
				for _, id := range leadingIDs(strings.TrimPrefix(comment.Text, "//")) {
					claims = append(claims, claim{
						id:   id,
						test: path.Dir(name) + "." + test.Name.Name,
						file: name,
						line: fset.Position(comment.Pos()).Line,
					})
				}
			}
		}
	}
	return claims, nil
}

// isTest tells whether `go test` runs the function and can fail on it.
func isTest(f *ast.FuncDecl) bool {
	if f.Recv != nil {
		return false
	}
	for _, kind := range []string{"Test", "Fuzz", "Example"} {
		if strings.HasPrefix(f.Name.Name, kind) {
			return true
		}
	}
	return false
}

// leadingIDs returns the ids with which a comment begins, ranges spelled out:
// three for "B2, F1-F2: the standby knows". Text before them hides them; text
// after them is free.
func leadingIDs(comment string) []string {
	var ids []string
	for _, word := range strings.Fields(comment) {
		if word == "and" && len(ids) > 0 {
			continue
		}
		named := expand(strings.TrimRight(word, ",;:."))
		if named == nil {
			break
		}
		ids = append(ids, named...)
		if strings.ContainsAny(word, ";:.") {
			break
		}
	}
	return ids
}

// expand returns the ids that one word names: itself, or the members of a
// range such as F16-F18. It returns nil for a word that is neither.
func expand(word string) []string {
	from, to, ranged := strings.Cut(word, "-")
	kind, first := splitID(from)
	if kind == "" {
		return nil
	}
	if !ranged {
		return []string{from}
	}
	lastKind, last := splitID(to)
	if lastKind != kind || last <= first {
		return nil
	}
	var ids []string
	for n := first; n <= last; n++ {
		ids = append(ids, kind+strconv.Itoa(n))
	}
	return ids
}

// splitID takes an id apart; kind is empty when it is none. Numbers have at
// most two digits.
func splitID(id string) (kind string, number int) {
	if len(id) < 2 || len(id) > 3 || !strings.Contains("FCB", id[:1]) || id[1] == '0' {
		return "", 0
	}
	n, err := strconv.ParseUint(id[1:], 10, 7)
	if err != nil {
		return "", 0
	}
	return id[:1], int(n)
}
