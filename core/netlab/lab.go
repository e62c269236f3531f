package netlab

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
)

// TB is what a Lab needs of *testing.T. Run provides one to other programs.
type TB interface {
	Helper()
	Name() string
	// Context ends before the functions given to Cleanup run.
	Context() context.Context
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	// Fatalf ends the calling goroutine, which must be the one of the test.
	Fatalf(format string, args ...any)
	Failed() bool
	// Cleanup registers a function for the end, last in first out.
	Cleanup(func())
}

// Lab is a set of networks that ends with its TB. Its methods may be used by
// several goroutines, those that can end in Fatalf by the test's own only.
type Lab struct {
	tb  TB
	dir string

	mu   sync.Mutex
	made int // numbers files, tables and cables, so that labels may repeat
}

// New returns an empty lab. It needs root, because namespaces do.
func New(tb TB) *Lab {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Fatalf("netlab: network namespaces need root, and this process runs as uid %d", os.Geteuid())
	}
	// Not TB.TempDir: its paths hold the test's name, and a unix socket's
	// path has only 107 octets.
	dir, err := os.MkdirTemp("", "eg-")
	if err != nil {
		tb.Fatalf("netlab: create the lab's directory: %v", err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("netlab: remove the lab's directory: %v", err)
		}
	})
	return &Lab{tb: tb, dir: dir}
}

// TB returns what the lab was made with.
func (l *Lab) TB() TB { return l.tb }

// Dir returns a directory that is removed after everything in the lab has
// ended. Its path is short enough for unix sockets.
func (l *Lab) Dir() string { return l.dir }

// File returns the path of a file that does not exist yet, in Dir.
func (l *Lab) File(name string) string {
	return filepath.Join(l.dir, l.unique("")+"-"+name)
}

// unique returns the prefix with a number that the lab has not used before.
func (l *Lab) unique(prefix string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.made++
	return prefix + strconv.Itoa(l.made)
}

// Tool returns the path of a program that the tests need, and ends the test
// when it is not installed.
func (l *Lab) Tool(name string) string {
	l.tb.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	// A service manager or an unprivileged login may have a PATH without them.
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	l.tb.Fatalf("netlab: %s is not installed: run make deps", name)
	return ""
}
