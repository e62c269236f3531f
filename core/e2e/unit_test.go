package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSystemdKnowsEveryWordOfTheUnit lets systemd read the unit that is shipped. It
// passes over words that it does not know, and a service of an unknown type is
// taken for one that is ready as soon as its process is there.
func TestSystemdKnowsEveryWordOfTheUnit(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../cmd/evergated/evergated.service")
	if err != nil {
		t.Fatalf("The unit cannot be read: %v.", err)
	}
	const installed = "/usr/sbin/evergated"
	if !strings.Contains(string(text), "ExecStart="+installed+" ") {
		t.Fatalf("The unit starts something else than %s.", installed)
	}
	self, err := os.Executable() // some program that is there
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "evergated.service")
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), installed, self)), 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit).CombinedOutput()
	if err != nil || len(said) > 0 {
		t.Errorf("systemd-analyze should have nothing to say, but ends with %v:\n%s", err, said)
	}
}
