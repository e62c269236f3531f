package vm

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// insideEnv marks the environment of a command in a machine.
const insideEnv = "EVERGATE_INSIDE_VM"

// Inside tells whether this process runs in a machine.
func Inside() bool { return os.Getenv(insideEnv) != "" }

// grace is what a machine gets beyond the test binary's own time-out, so that
// the binary can say where its tests hang. The go command waits a minute
// before it kills.
const grace = 40 * time.Second

// RunTests runs this test binary once more, in a machine, with the same
// arguments, environment and working directory, and returns the exit status for
// os.Exit. It belongs at the beginning of TestMain. Unless m has a Limit it is
// that of the flag -test.timeout.
//
// A file that a flag makes the tests write, such as a profile, stays inside.
func RunTests(m Machine) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	status, err := runTests(ctx, m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

func runTests(ctx context.Context, m Machine) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("vm: find the test binary: %w", err)
	}
	if m.Limit == 0 {
		m.Limit = testLimit()
	}
	cmd := exec.CommandContext(ctx, self, testArguments(os.Args[1:])...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return Run(ctx, m, cmd)
}

// testLimit returns the limit that the flags set.
func testLimit() time.Duration {
	if !flag.Parsed() {
		flag.Parse()
	}
	if f := flag.Lookup("test.timeout"); f != nil {
		if limit, err := time.ParseDuration(f.Value.String()); err == nil && limit > 0 {
			return limit + grace
		}
	}
	return DefaultLimit
}

// testArguments leaves out the list of what a test reads, which the go command
// asks for to cache a result: without that list it caches none, and that is
// right for a machine whose kernel and tools it knows nothing of.
func testArguments(args []string) []string {
	var kept []string
	for _, arg := range args {
		if !strings.HasPrefix(arg, "-test.testlogfile") {
			kept = append(kept, arg)
		}
	}
	return kept
}
