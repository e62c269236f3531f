package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evergate/evergate/offload/offloadtest"
)

// probe runs the command line and returns its output.
func probe(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := newCommand()
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// envPrograms names the folder of the programs that TestMain builds.
const envPrograms = "OFFLOAD_PROBE_TEST_PROGRAMS"

func TestMain(m *testing.M) { os.Exit(withPrograms(m)) }

// withPrograms builds the programs that tests start, all at once, and runs the tests.
func withPrograms(m *testing.M) int {
	dir, err := os.MkdirTemp("", "offload-probe")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-buildvcs=false", "-o", dir, ".", "./testdata/plugin", "../evergate-plugin-softesp")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v: %v\n%s", build, err, out)
		return 1
	}
	if err := os.Setenv(envPrograms, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// The programs: the one under test, a plugin that moves no packets, and one that does.
const (
	offloadProbe  = "offload-probe"
	testPlugin    = "plugin"
	softespPlugin = "evergate-plugin-softesp"
)

// built returns the path of a program.
func built(name string) string { return filepath.Join(os.Getenv(envPrograms), name) }

func TestRunReportsWhatAPluginKeepsAndBreaks(t *testing.T) { // B8
	path := built(testPlugin)

	out, err := probe(t, "run", path)
	if err != nil {
		t.Errorf("A plugin that keeps the contract should pass, got %v:\n%s", err, out)
	}
	if !strings.Contains(out, "mem 1, contract 1.") || !strings.Contains(out, " 0 failed") || !strings.Contains(out, "the harness moves no packets") {
		t.Errorf("The report should name the plugin and what was not exercised, got:\n%s", out)
	}

	out, err = probe(t, "run", "--clause", "epoch", path, "--", "broken")
	if !errors.Is(err, errBroken) {
		t.Errorf("A plugin that ignores epochs should be reported as broken, got %v.", err)
	}
	if !strings.Contains(out, "FAILED         epoch.stale") || !strings.Contains(out, "broken: epoch.stale") {
		t.Errorf("The report should name the broken clause, got:\n%s", out)
	}
}

// TestRunEndsCallsThatHang: the report names the clause, and the run goes on.
func TestRunEndsCallsThatHang(t *testing.T) { // B8
	out, err := probe(t, "run", "--timeout", "1s", "-c", "group.promote", built(testPlugin), "hangs")
	if !errors.Is(err, errBroken) || !strings.Contains(out, "FAILED         group.promote") || !strings.Contains(out, "deadline exceeded") {
		t.Errorf("A Promote that never ends should fail group.promote by the time limit, got %v:\n%s", err, out)
	}
}

func TestRunWritesJSON(t *testing.T) {
	out, err := probe(t, "run", "--json", "-c", "epoch.stale", "-c", "arm.inbound", built(testPlugin), "broken")
	if !errors.Is(err, errBroken) {
		t.Errorf("A plugin that ignores epochs should be reported as broken, got %v.", err)
	}
	var r jsonReport
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("The report is no JSON: %v\n%s", err, out)
	}
	if r.Name != "mem" || r.Failed != 1 || r.NotExercised != 1 || len(r.Clauses) != 2 || r.Clauses[0].Outcome != offloadtest.Failed {
		t.Errorf("The report should have one clause of two failed and one not exercised, got:\n%s", out)
	}
}

// TestInterruptedCommandsReportWhatTheyKnow: the signal comes while the plugin hangs
// in Promote, which is the second clause of two, and the fourth phase of a load.
func TestInterruptedCommandsReportWhatTheyKnow(t *testing.T) { // B8
	run := []string{"run", "-v", "-c", "info.stable", "-c", "group.promote"}
	load := []string{"load", "-v", "-n", "20"}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{append(run, "--json"), []string{`"passed": 1`, `"failed": 0`, `"unchecked": 1`, `"id": "info.stable"`}},
		{run, []string{"1 clauses passed, 0 failed", "interrupted: 1 clauses were not checked"}},
		{append(load, "--json"), []string{`"export"`}},
	} {
		out, said, err := interrupted(t, append(c.args, built(testPlugin), "hangs")...)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(said, "interrupt signal") {
			t.Errorf("%s, interrupted, should say so and end with 2, got %v:\n%s", c.args, err, said)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s, interrupted, should report %q, got:\n%s", c.args, want, out)
			}
		}
		if slices.Contains(c.args, "--json") && !json.Valid([]byte(out)) {
			t.Errorf("%s, interrupted, should report JSON, got:\n%s", c.args, out)
		}
	}
}

// interrupted runs the program as from a shell, and sends it a SIGINT when its plugin
// hangs. It returns what came on standard output and on standard error.
func interrupted(t *testing.T, args ...string) (out, said string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), built(offloadProbe), args...)
	var report bytes.Buffer
	cmd.Stdout = &report
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("The probe did not start: %v.", err)
	}
	var lines []string
	for scan := bufio.NewScanner(log); scan.Scan(); {
		lines = append(lines, scan.Text())
		if !strings.Contains(scan.Text(), "promote hangs") {
			continue
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Errorf("The probe cannot be interrupted: %v.", err)
		}
	}
	err = cmd.Wait()
	return report.String(), strings.Join(lines, "\n"), err
}

func TestRunSaysWhyAPluginCannotBeChecked(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"run", filepath.Join(t.TempDir(), "absent")}, "no such file"},
		{[]string{"run", "-c", "no.such", "/bin/true"}, `"no.such"`},
		{[]string{"run", "--local", "somewhere", "/bin/true"}, "--local"},
		{[]string{"run"}, "arg"},
	} {
		_, err := probe(t, c.args...)
		if err == nil || errors.Is(err, errBroken) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("offload-probe %s should fail and say %q, got %v.", strings.Join(c.args, " "), c.want, err)
		}
	}
}

func TestListNamesEveryClause(t *testing.T) {
	out, err := probe(t, "list")
	if err != nil {
		t.Fatalf("list failed: %v.", err)
	}
	for _, c := range offloadtest.Clauses() {
		if !strings.Contains(out, c.ID+" ") {
			t.Errorf("list does not name %s.", c.ID)
		}
	}
}
