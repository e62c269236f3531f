package programs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// variable says where the programs are, to this process and to those that it starts.
const variable = "EVERGATE_TEST_BIN"

// Dir is the directory with the programs, "" before Build.
func Dir() string { return os.Getenv(variable) }

// Path is the program of that name.
func Path(name string) string { return filepath.Join(Dir(), name) }

// Build builds packages with the arguments of go build, its flags first, into a new
// directory, which remove removes. Packages of this module that begin with a slash
// are below its root: /cmd/evergated.
func Build(args ...string) (remove func(), err error) {
	dir, err := os.MkdirTemp("", "evergate-bin-")
	if err != nil {
		return nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	build := []string{"build", "-buildvcs=false", "-o", dir}
	for _, a := range args {
		if a[0] == '/' {
			a = "github.com/evergate/evergate" + a
		}
		build = append(build, a)
	}
	if out, err := exec.CommandContext(context.Background(), "go", build...).CombinedOutput(); err != nil {
		remove()
		return nil, fmt.Errorf("build the programs under test: %w\n%s", err, out)
	}
	return remove, os.Setenv(variable, dir)
}

// Run is what a TestMain is about: it builds programs as Build does, runs the tests,
// and has no goroutine left over. It returns the status to exit with.
func Run(m *testing.M, args ...string) int {
	remove, err := Build(args...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer remove()
	status := m.Run()
	if err := goleak.Find(); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	return status
}
