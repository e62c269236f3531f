package telemetry_test

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/telemetry"
)

func TestTextLogBeginsAtItsLevel(t *testing.T) {
	var out strings.Builder
	log := telemetry.NewLogger(&out, slog.LevelInfo, false)
	log.Debug("too quiet")
	log.Info("child sa installed", "phase1", "vpn1")
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `msg="child sa installed" phase1=vpn1`) {
		t.Errorf("The log should have the line about the child SA alone, it is %q.", got)
	}
}

func TestJSONLogIsOneObjectALine(t *testing.T) {
	var out strings.Builder
	telemetry.NewLogger(&out, slog.LevelDebug, true).Debug("child sa installed", "phase1", "vpn1")
	var line map[string]any
	if err := json.Unmarshal([]byte(out.String()), &line); err != nil {
		t.Fatalf("The line %q is not JSON: %v.", out.String(), err)
	}
	if line["msg"] != "child sa installed" || line["phase1"] != "vpn1" || line["level"] != "DEBUG" {
		t.Errorf("The line lacks what was logged: %v.", line)
	}
}

func TestLevelCanChange(t *testing.T) {
	var out strings.Builder
	level := &slog.LevelVar{}
	log := telemetry.NewLogger(&out, level, false)
	log.Debug("before")
	level.Set(slog.LevelDebug)
	log.Debug("after")
	if got := out.String(); strings.Contains(got, "before") || !strings.Contains(got, "after") {
		t.Errorf("Only what was logged after the change should be there: %q.", got)
	}
}

func TestLogsHideKeys(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		var out strings.Builder
		key := ipsec.CopyKey([]byte("horse"))
		telemetry.NewLogger(&out, slog.LevelInfo, asJSON).Info("message", "key", key, "sa", ipsec.SA{Encryption: key})
		if got := out.String(); strings.Contains(got, "horse") || strings.Contains(got, "aG9yc2U") || strings.Contains(got, "104 111") {
			t.Errorf("The log shows a key: %q.", got)
		}
	}
}
