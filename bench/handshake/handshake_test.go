package handshake_test

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/bench/handshake"
	"github.com/evergate/evergate/bench/rig/daemon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFewHandshakes has a few clients dial in at both responders: the measurement
// works, and says all that it is to say. The figures of so few say nothing.
func TestFewHandshakes(t *testing.T) { // F14
	r, err := handshake.Run(t.Context(), handshake.Options{
		Daemon: daemon.Build(t), StrongSwan: true, Methods: []string{"x25519"}, Handshakes: 8, Rounds: 2, AtOnce: 4,
		Tunnels: []int{8}, Alone: []int{}, Settle: 100 * time.Millisecond, Logf: t.Logf,
	})
	if err != nil {
		t.Fatalf("The measurement failed: %v.", err)
	}
	if len(r.Figures) != 2 {
		t.Errorf("There are %d figures, want one of each responder.", len(r.Figures))
	}
	for _, f := range r.Figures {
		if len(f.Rounds) != 2 || f.CPU <= 0 || f.Daemon <= 0 || f.PerSecond <= 0 || f.Wait.N != 16 || f.Wait.Median <= 0 {
			t.Errorf("%s at %s was not measured: %+v.", f.Method, f.Responder, f)
		}
	}
	if len(r.Memory) != 2 {
		t.Errorf("Memory was looked at %d times, want once with each responder: %+v.", len(r.Memory), r.Memory)
	}
	var text strings.Builder
	if err := r.Report().Write(&text); err != nil || !strings.Contains(text.String(), `{"benchmark":"handshake"`) {
		t.Errorf("The report has no line of JSON, but is (%v):\n%s", err, text.String())
	}
}

// TestUnknownMethod: what cannot be measured is said before anything is started.
func TestUnknownMethod(t *testing.T) {
	_, err := handshake.Run(t.Context(), handshake.Options{Methods: []string{"x448"}})
	if err == nil || !strings.Contains(err.Error(), "x448") {
		t.Errorf("A method that is not there is answered by %v, want an error that names it.", err)
	}
}
