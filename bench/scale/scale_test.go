package scale_test

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/bench/report"
	"github.com/evergate/evergate/bench/rig/daemon"
	"github.com/evergate/evergate/bench/scale"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFewTunnels has a member join one that has a few tunnels: the measurement
// works, and says all that it is to say. The figures of so few tunnels say
// nothing.
func TestFewTunnels(t *testing.T) { // F2, F23
	r, err := scale.Run(t.Context(), scale.Options{Daemon: daemon.Build(t), Tunnels: 20, Rounds: 2, Idle: time.Second, Settle: time.Second, Logf: t.Logf})
	if err != nil {
		t.Fatalf("The measurement failed: %v.", err)
	}
	if len(r.Joins) != 2 || r.Join <= r.Sync || r.Sync <= 0 || r.Rate <= 0 {
		t.Errorf("The joins were not measured: %+v, median %v, %v SAs a second.", r.Joins, r.Join, r.Rate)
	}
	for name, m := range map[string]scale.Member{"owner": r.Owner, "standby": r.Standby} {
		if m.Daemon.Resident == 0 || m.Plane.Resident == 0 || m.Daemon.Bare == 0 || m.Plane.Bare == 0 {
			t.Errorf("The memory of the %s was not measured: %+v.", name, m)
		}
		if m.Silence == 0 {
			t.Errorf("No heartbeats of the %s were seen.", name)
		}
	}
	if r.Adopted == 0 {
		t.Error("The adoption was not measured.")
	}
	var text, page strings.Builder
	if err := r.Report().Write(&text); err != nil || !strings.Contains(text.String(), `{"benchmark":"scale"`) {
		t.Errorf("The report has no line of JSON, but is (%v):\n%s", err, text.String())
	}
	if err := report.WriteHTML(&page, r.Report()); err != nil {
		t.Errorf("The page was not written: %v.", err)
	}
}
