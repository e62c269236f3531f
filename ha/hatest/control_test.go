package hatest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/ha/hatest"
)

// Each control breaks one assumption. Checks that find nothing then would prove
// nothing in TestSeeds.
func TestControlsAreFound(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault hatest.Fault
		want  string // an invariant
	}{
		{"a dataplane that does not stop at its ceiling", hatest.NoLease, "I2"},
		{"an epoch that is not on disk", hatest.NoPersist, "I3"},
		{"removals that nobody remembers", hatest.NoTombstones, "I8"},
		{"answers that do not wait for standbys", hatest.NoCommit, "I6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			failed, _ := play(400, func(seed uint64) hatest.Config {
				cfg := config(seed)
				cfg.Fault = c.fault
				return cfg
			})
			for _, f := range failed {
				if strings.Contains(f.what, c.want) {
					return
				}
			}
			t.Errorf("With %s, 400 runs have not one breach of %s.", c.name, c.want)
		})
	}
}

// An arming that is forgotten lets the next life use the same numbers again.
func TestForgottenArmingReusesNumbers(t *testing.T) { // B1
	failed, _ := play(1500, func(seed uint64) hatest.Config {
		cfg := config(seed)
		cfg.Fault = hatest.NoArmed
		return cfg
	})
	for _, f := range failed {
		if strings.Contains(f.what, "I1") {
			return
		}
	}
	t.Errorf("1500 runs without HardState.Armed have not one reuse.")
}

// The same seed is the same run, to the last line of its trace.
func TestRunsRepeat(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		var traces [2]strings.Builder
		for i := range traces {
			cfg := config(seed)
			cfg.Run, cfg.Settle = 3*time.Second, 2*time.Second
			cfg.Trace = func(line string) { traces[i].WriteString(line + "\n") }
			_ = hatest.New(cfg).Run()
		}
		if traces[0].String() != traces[1].String() {
			t.Errorf("Seed %d makes two different runs.", seed)
		}
	}
}
