package e2e_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/bench/throughput"
	"github.com/evergate/evergate/core/netlab/programs"
)

// TestThroughputIsMeasured makes short measurements where the kernel has ESP. In the
// machine's time, which counts instructions, they say nothing of speed.
func TestThroughputIsMeasured(t *testing.T) {
	tests := []string{"tcp-1", "udp-1400"}
	r, err := throughput.Run(t.Context(), throughput.Options{
		Plugin: programs.Path("evergate-plugin-xfrm"),
		Tests:  tests, Ciphers: []string{}, Queues: []int{}, Rounds: 1, Time: 100 * time.Millisecond, Logf: t.Logf,
	})
	if err != nil {
		t.Fatalf("The measurement failed: %v.", err)
	}
	if len(r.Contestants) != 1 || len(r.Samples) != len(tests) {
		t.Errorf("The plugin should be measured in each test, got %+v and %d samples.", r.Contestants, len(r.Samples))
	}
	for _, s := range r.Samples {
		if s.Bits <= 0 {
			t.Errorf("Nothing passed in %s of %s: %+v.", s.Test, s.Contestant, s.Figures)
		}
	}
}
