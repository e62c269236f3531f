package main

import (
	"encoding/json"
	"os/exec"
	"testing"

	"github.com/evergate/evergate/offload/offloadtest"
)

func TestRunPlaysRealPackets(t *testing.T) { // B8
	clauses := []string{"traffic.sequence", "traffic.counters", "replay.window", "arm.inbound", "demote.silent"}
	args := []string{"run", "--packets", "--json"}
	for _, c := range clauses {
		args = append(args, "--clause", c)
	}
	out, err := exec.CommandContext(t.Context(), built(offloadProbe), append(args, built(softespPlugin))...).Output()
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
	out, err := exec.CommandContext(t.Context(), built(offloadProbe), "run", "--packets", built(testPlugin)).CombinedOutput()
	const want = "offload-probe: the plugin names no plaintext interface that packets could pass through\n"
	if err == nil || string(out) != want {
		t.Errorf("A plugin without an interface should be refused with %q, got %v and %q.", want, err, out)
	}
}
