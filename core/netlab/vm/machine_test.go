package vm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	if n := strings.Count(err.Error(), "without the command's exit status"); n != 1 || !strings.Contains(err.Error(), "Kernel panic") {
		t.Errorf("The error should be the panic of one machine, as its command had begun: %v", err)
	}
}

// emulator puts a shell script before QEMU, in which "$qemu" is the real one, and
// "$count" the number of the boot.
func emulator(t *testing.T, script string) {
	t.Helper()
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := fmt.Sprintf("#!/bin/sh\nqemu=%s\necho >>%s/boots\ncount=$(wc -l <%[2]s/boots)\n%s\n", qemu, dir, script)
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(qemu)), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestABootThatFailsIsTriedAgain(t *testing.T) {
	for name, first := range map[string]string{
		"panics": `echo "Kernel panic" >&3; exit 0`,
		"hangs":  `exec sleep 1000`,
	} {
		t.Run(name, func(t *testing.T) {
			emulator(t, `if [ $count -lt 3 ]; then `+first+`; fi; exec $qemu "$@"`)
			status, out, _ := run(t, vm.Machine{BootLimit: time.Second}, "echo here; exit 3")
			if status != 3 || out != "here\n" {
				t.Errorf("The command of the third machine wrote %q and ended with %d.", out, status)
			}
		})
	}
}

func TestAMachineThatNeverComesUpIsNamed(t *testing.T) {
	emulator(t, `echo "Kernel panic $count" >&3`)
	_, err := vm.Run(t.Context(), vm.Machine{}, exec.Command("true"))
	if err == nil || !strings.Contains(err.Error(), "Kernel panic 1") || !strings.Contains(err.Error(), "Kernel panic 3") {
		t.Fatalf("The error should hold the end of all three consoles: %v", err)
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
