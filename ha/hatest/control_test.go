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
			for seed := uint64(1); seed <= 400; seed++ {
				cfg := config(seed)
				cfg.Fault = c.fault
				if err := hatest.New(cfg).Run(); err != nil && strings.Contains(err.Error(), c.want) {
					return
				}
			}
			t.Errorf("With %s, 400 runs have not one breach of %s.", c.name, c.want)
		})
	}
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
