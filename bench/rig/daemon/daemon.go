// Package daemon builds evergated for the tests of the measurements.
package daemon

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// Build returns the path of evergated, as users run it, in a directory of the test's.
//
// The go command keeps the programs that it runs in its cache, and none that it builds:
// so it runs cp with the program, and only the first of several tests waits for the linker.
func Build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	run := exec.CommandContext(t.Context(), "go", "run", "-trimpath", "-buildvcs=false", "-ldflags=-s -w",
		"-exec", "cp -t '"+dir+"'", "github.com/evergate/evergate/cmd/evergated")
	run.Env = append(run.Environ(), "CGO_ENABLED=0")
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("evergated was not built: %v\n%s", err, out)
	}
	return filepath.Join(dir, "evergated")
}
