package main

import (
	"os/exec"
	"testing"
)

// TestStartedByHandItExplainsItself runs the plugin as a curious person does. With
// the daemon it runs where there is a kernel that has ESP, in plugins/xfrm/e2e.
func TestStartedByHandItExplainsItself(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "run", ".")
	out, err := cmd.CombinedOutput()
	if err == nil || len(out) == 0 {
		t.Errorf("Without the daemon the plugin should explain itself and fail, got %v: %s", err, out)
	}
}
