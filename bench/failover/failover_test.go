package failover_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/bench/failover"
	"github.com/evergate/evergate/bench/report"
	"github.com/evergate/evergate/bench/rig/daemon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFewTunnels has a member with a few tunnels die: the measurement works, and
// says all that it is to say. How fast it was is of no interest here.
func TestFewTunnels(t *testing.T) { // F5
	const tunnels, handshakes = 10, 5
	r, err := failover.Run(t.Context(), failover.Options{
		Daemon: daemon.Build(t), Tunnels: tunnels, Handshakes: handshakes, Rounds: 1, Logf: t.Logf,
	})
	if err != nil {
		t.Fatalf("The measurement failed: %v.", err)
	}
	for what, n := range map[string]int{
		"packets of clients":                 r.Inbound.N,
		"answers":                            r.Outbound.N,
		"packets of clients, tunnels active": r.SteadyInbound.N,
		"answers, tunnels active":            r.SteadyOutbound.N,
	} {
		if n != tunnels {
			t.Errorf("%d %s were measured, want one of each of %d tunnels.", n, what, tunnels)
		}
	}
	if len(r.Rounds) != 1 || r.Rounds[0].Lost != 0 {
		t.Errorf("The survivor lost packets: %+v.", r.Rounds)
	}
	for _, h := range r.Handshakes {
		if h.Auth.N != handshakes || h.Whole.N != handshakes {
			t.Errorf("With %s, %d IKE_AUTH and %d whole handshakes were measured, want %d.", h.Setting, h.Auth.N, h.Whole.N, handshakes)
		}
		if h.Unprotected != 0 {
			t.Errorf("With %s, %d handshakes ended before a standby had their SAs.", h.Setting, h.Unprotected)
		}
	}
	if len(r.Handshakes) != 3 {
		t.Errorf("%d settings were measured, want 3.", len(r.Handshakes))
	}
	var text, page strings.Builder
	if err := r.Report().Write(&text); err != nil || !strings.Contains(text.String(), `{"benchmark":"failover"`) {
		t.Errorf("The report has no line of JSON, but is (%v):\n%s", err, text.String())
	}
	if err := report.WriteHTML(&page, r.Report()); err != nil {
		t.Errorf("The page was not written: %v.", err)
	}
}
