package vm_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab/vm"
)

// run runs a shell script in a machine, for what it writes and how it ends.
func run(t *testing.T, m vm.Machine, script string) (status int, stdout, stderr string) {
	t.Helper()
	var out, said bytes.Buffer
	cmd := exec.Command("sh", "-euc", script)
	cmd.Stdout, cmd.Stderr = &out, &said
	status, err := vm.Run(t.Context(), m, cmd)
	if err != nil {
		t.Fatalf("the script %q: %v", script, err)
	}
	return status, out.String(), said.String()
}

func TestACommandRunsOnDebiansKernelWithTheHostsFiles(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	status, out, said := run(t, vm.Machine{}, `uname -v; pwd; head -n1 doc.go; echo >&2 "of stderr"; exit 7`)
	if status != 7 {
		t.Errorf("The command ended with status %d, not with its 7.", status)
	}
	lines := strings.Split(out, "\n")
	if !strings.Contains(lines[0], "Debian") || len(lines) < 3 || lines[1] != here || !strings.HasPrefix(lines[2], "// Package vm ") {
		t.Errorf("Its output should tell of Debian's kernel, of %s and of doc.go:\n%s", here, out)
	}
	if said != "of stderr\n" {
		t.Errorf("Its stderr has %q, not what it wrote there.", said)
	}
}

func TestAMachineThatCrashesIsNoExitStatus(t *testing.T) {
	_, err := vm.Run(t.Context(), vm.Machine{}, exec.Command("sh", "-c", "echo c >/proc/sysrq-trigger"))
	if err == nil {
		t.Fatal("The kernel crashed, and nobody noticed.")
	}
	for _, part := range []string{"without the command's exit status", "Kernel panic"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("The error should speak of %q: %v", part, err)
		}
	}
}

func TestAMachineEndsAtItsLimit(t *testing.T) {
	_, err := vm.Run(t.Context(), vm.Machine{Limit: time.Second}, exec.Command("sleep", "1000"))
	if err == nil || !strings.Contains(err.Error(), "it ran for the 1s that it may") {
		t.Fatalf("The machine should have met its limit: %v", err)
	}
}

func TestAMachineEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough of it")
	cmd := exec.Command("sh", "-c", "echo running; sleep 1000")
	cmd.Stdout = writer(func() { cancel(enough) })
	if _, err := vm.Run(ctx, vm.Machine{}, cmd); !errors.Is(err, enough) {
		t.Fatalf("The machine should have ended with its context: %v", err)
	}
}

// writer is called for what is written.
type writer func()

func (w writer) Write(p []byte) (int, error) {
	w()
	return len(p), nil
}

func TestAModuleThatIsNotThereIsNamed(t *testing.T) {
	_, err := vm.Run(t.Context(), vm.Machine{Modules: []string{"esp4", "esp5"}}, exec.Command("true"))
	if err == nil || !strings.Contains(err.Error(), "could not run the command: modprobe") || !strings.Contains(err.Error(), "esp5") {
		t.Fatalf("The error should name esp5: %v", err)
	}
}

func TestACommandThatIsNotThereIsNamed(t *testing.T) {
	_, err := vm.Run(t.Context(), vm.Machine{}, exec.Command("/nowhere/program"))
	if err == nil || !strings.Contains(err.Error(), "/nowhere/program") {
		t.Fatalf("The error should name the program: %v", err)
	}
}

func TestATestBinaryRunsAgainInside(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestESP$", "-test.testlogfile=/nowhere/log", "-test.v")
	cmd.Env = append(os.Environ(), againEnv+"=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != againStatus {
		t.Errorf("It should have ended with the %d that it ended with inside: %v", againStatus, err)
	}
	if got, want := string(out), "[-test.run=^TestESP$ -test.v]\n"; got != want {
		t.Errorf("Inside it said %q, not %q: its arguments without the log that go test wants.", got, want)
	}
}
