package pluginhost_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/pluginhost"
	"github.com/evergate/evergate/offload"
)

// wantFailure waits for the host's first failures and returns the last error.
func (b *bench) wantFailure(n uint64) string {
	b.t.Helper()
	return b.wait("failures", func(s pluginhost.Status) bool { return s.Failures >= n }).LastError
}

func TestPluginsThatCannotBe(t *testing.T) { // B7
	dir := t.TempDir()
	file := func(name string, mode os.FileMode, content string) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(content), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatalf("Set-up: %v.", err)
		}
		return path
	}
	wrongSum := spec(t, "good")
	wrongSum.SHA256 = bytes.Repeat([]byte{0xab}, 32)
	shortSum := spec(t, "good")
	shortSum.SHA256 = []byte{1}

	for _, c := range []struct {
		name    string
		spec    pluginhost.Spec
		want    string
		mayPass bool // it is not unfit
	}{
		{name: "exits at once", spec: spec(t, "exits"), want: "last words: \"no such device: fpga0\"", mayPass: true},
		{name: "is a plugin of another product", spec: spec(t, "stranger"), want: "Is .* a plugin of Evergate", mayPass: true},
		{"speaks a later version of the protocol", spec(t, "newer"), "version: 99", false},
		{"says something else on standard output", spec(t, "talks"), "Welcome to the plugin!", false},
		{"is not executable", pluginhost.Spec{Name: "x", Path: file("plain", 0o644, "")}, "plain is not executable", false},
		{"may be written to by all", pluginhost.Spec{Name: "x", Path: file("open", 0o777, "")}, "open may be written to by others", false},
		{"is a directory", pluginhost.Spec{Name: "x", Path: dir}, "is not a file", false},
		{"is not there", pluginhost.Spec{Name: "x", Path: filepath.Join(dir, "absent")}, "no such file", false},
		{"is for another machine", pluginhost.Spec{Name: "x", Path: file("alien", 0o755, "\x7fELF alien")}, "exec format error", false},
		{"is another file than it should be", wrongSum, "has SHA-256 [0-9a-f]{64}, want abab", false},
		{"has half a checksum", shortSum, "a SHA-256 has 32 octets", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := run(t, c.spec, func(c *pluginhost.Config) { c.WaitTimeout = time.Nanosecond })
			if got := b.wantFailure(1); !regexp.MustCompile(c.want).MatchString(got) {
				t.Errorf("The last error is %q, want one that says %q.", got, c.want)
			}
			if _, err := b.Info(t.Context()); !errors.Is(err, offload.ErrDown) || !regexp.MustCompile(c.want).MatchString(err.Error()) {
				t.Errorf("A call fails with %v, want ErrDown that says %q.", err, c.want)
			} else if errors.Is(err, pluginhost.ErrUnfit) == c.mayPass {
				t.Errorf("A call fails with %v; is that to pass: %v.", err, c.mayPass)
			}
		})
	}
}

func TestPluginThatSaysNothing(t *testing.T) {
	b := run(t, spec(t, "mute"), func(c *pluginhost.Config) { c.StartTimeout = 50 * time.Millisecond })
	if got := b.wantFailure(2); !strings.Contains(got, "timeout while waiting for plugin to start") {
		t.Errorf("The last error is %q.", got)
	}
}

func TestRightChecksumStarts(t *testing.T) {
	s := spec(t, "good")
	content, err := os.ReadFile(s.Path)
	if err != nil {
		t.Fatalf("Set-up: %v.", err)
	}
	sum := sha256.Sum256(content)
	s.SHA256 = sum[:]
	b := run(t, s)
	b.configure(config())
}

func TestPausesDoubleUpToTheLimit(t *testing.T) {
	b := run(t, spec(t, "exits"))
	b.wantFailure(5)
	b.stop()
	var pauses []string
	for _, m := range regexp.MustCompile(`restart_in=(\S+)`).FindAllStringSubmatch(b.log.String(), 5) {
		pauses = append(pauses, m[1])
	}
	if got, want := strings.Join(pauses, " "), "1ms 2ms 4ms 4ms 4ms"; got != want {
		t.Errorf("The pauses were %s, want %s.", got, want)
	}
}

func TestBootNumberThatCannotBeHadStopsTheStart(t *testing.T) { // I1
	full := errors.New("no space left on device")
	b := run(t, spec(t, "good"), func(c *pluginhost.Config) {
		c.Boot = func() (uint32, error) { return 0, full }
	})
	if got := b.wantFailure(1); !strings.Contains(got, full.Error()) {
		t.Errorf("The last error is %q, want one that says %q.", got, full)
	}
}

func TestNewNeedsItsParts(t *testing.T) {
	good := pluginhost.Config{
		Plugin: spec(t, "good"), RuntimeDir: runtimeDir(t), Log: slog.New(slog.DiscardHandler),
		Boot: func() (uint32, error) { return 1, nil },
	}
	open := runtimeDir(t)
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatalf("Set-up: %v.", err)
	}
	for want, change := range map[string]func(c *pluginhost.Config){
		"no plugin":            func(c *pluginhost.Config) { c.Plugin = pluginhost.Spec{} },
		"needs Boot":           func(c *pluginhost.Config) { c.Boot = nil },
		"at most 68":           func(c *pluginhost.Config) { c.RuntimeDir = "/" + strings.Repeat("long", 20) },
		"no such file":         func(c *pluginhost.Config) { c.RuntimeDir = "/nowhere" },
		"written to by others": func(c *pluginhost.Config) { c.RuntimeDir = open },
	} {
		c := good
		change(&c)
		if _, err := pluginhost.New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Got error %v, want one that says %q.", err, want)
		}
	}
}

func TestFind(t *testing.T) {
	dir, path := t.TempDir(), t.TempDir()
	for _, f := range []string{filepath.Join(dir, "evergate-plugin-xfrm"), filepath.Join(path, "evergate-plugin-dpdk"), filepath.Join(path, "evergate-plugin-xfrm")} {
		if err := os.WriteFile(f, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatalf("Set-up: %v.", err)
		}
	}
	t.Setenv("PATH", path)
	for _, c := range []struct{ name, want, path string }{
		{"xfrm", "xfrm", filepath.Join(dir, "evergate-plugin-xfrm")},
		{"dpdk", "dpdk", filepath.Join(path, "evergate-plugin-dpdk")},
		{filepath.Join(path, "evergate-plugin-xfrm"), "xfrm", filepath.Join(path, "evergate-plugin-xfrm")},
	} {
		s, err := pluginhost.Find(c.name, []string{dir})
		if err != nil || s.Name != c.want || s.Path != c.path {
			t.Errorf("%s was found as %q at %s, error %v, want %q at %s.", c.name, s.Name, s.Path, err, c.want, c.path)
		}
	}
	for _, name := range []string{"", "fpga", "/nowhere/plugin"} {
		if _, err := pluginhost.Find(name, []string{dir}); err == nil {
			t.Errorf("%q was found.", name)
		} else if name == "fpga" && !strings.Contains(err.Error(), fmt.Sprintf("no evergate-plugin-fpga in %s or PATH", dir)) {
			t.Errorf("The error does not say where it was looked for: %v.", err)
		}
	}
}

func TestRunTwiceIsRefused(t *testing.T) {
	b := run(t, spec(t, "good"))
	b.configure(config())
	if err := b.Run(t.Context()); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("A second Run: got error %v.", err)
	}
}
