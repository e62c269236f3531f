package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload/offloadtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestExecutableKeepsTheContract checks the plugin as a process of its own, in a host of
// its own. What needs packets is checked where the packets are: in plugins/softesp.
// Started by hand, as a curious person does, it explains itself.
func TestExecutableKeepsTheContract(t *testing.T) { // B8
	path := filepath.Join(t.TempDir(), "evergate-plugin-softesp")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("The plugin cannot be built: %v: %s", err, out)
	}
	host := netlab.New(t).Namespace("host")
	open := offloadtest.Executable(t.Output(), offloadtest.Harness{}, "nsenter", "--net="+host.Path(), path)
	report, err := offloadtest.Check(t.Context(), open, offloadtest.Clauses(), nil)
	if err != nil {
		t.Fatalf("The plugin cannot be checked: %v.", err)
	}
	for _, r := range report.Results {
		if r.Outcome == offloadtest.Failed {
			t.Errorf("Clause %s does not hold (%s): %v", r.ID, r.Text, r.Notes)
		}
	}
	if n := report.Count(offloadtest.Passed); n < 40 {
		t.Errorf("Most clauses need no packets and should have passed, got %d.", n)
	}
	if report.Info.Name != "softesp" || report.Info.Version == "" {
		t.Errorf("The plugin should say who it is, got %q, version %q.", report.Info.Name, report.Info.Version)
	}
	if out, err := exec.CommandContext(t.Context(), path).CombinedOutput(); err == nil || len(out) == 0 {
		t.Errorf("Without the daemon the plugin should explain itself and fail, got %v: %s", err, out)
	}
}
