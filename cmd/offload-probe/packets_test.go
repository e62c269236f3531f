package main

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/evergate/evergate/offload/offloadtest"
)

// built builds a program and returns its path.
func built(t *testing.T, pkg string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
		t.Fatalf("%s cannot be built: %v\n%s", pkg, err, out)
	}
	return path
}

func TestRunPlaysRealPackets(t *testing.T) { // B8
	program, plugin := built(t, "."), built(t, "../evergate-plugin-softesp")
	clauses := []string{"traffic.sequence", "traffic.counters", "replay.window", "arm.inbound", "demote.silent"}
	args := []string{"run", "--packets", "--json"}
	for _, c := range clauses {
		args = append(args, "--clause", c)
	}
	out, err := exec.CommandContext(t.Context(), program, append(args, plugin)...).Output()
	var report jsonReport
	if jsonErr := json.Unmarshal(out, &report); err != nil || jsonErr != nil {
		t.Fatalf("The plugin cannot be checked with packets: %v, %v\n%s", err, jsonErr, out)
	}
	for _, c := range report.Clauses {
		if c.Outcome != offloadtest.Passed {
			t.Errorf("%s: %s, %q.", c.ID, c.Outcome, c.Notes)
		}
	}
	if len(report.Clauses) != len(clauses) {
		t.Errorf("%d clauses should have been checked, got %d.", len(clauses), len(report.Clauses))
	}
}

func TestRunSaysWhyNoPacketsCanPass(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), built(t, "."), "run", "--packets", built(t, "./testdata/plugin")).CombinedOutput()
	const want = "offload-probe: the plugin names no plaintext interface that packets could pass through\n"
	if err == nil || string(out) != want {
		t.Errorf("A plugin without an interface should be refused with %q, got %v and %q.", want, err, out)
	}
}
