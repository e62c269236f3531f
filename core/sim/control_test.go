//go:build !race

package sim_test

import (
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/sim"
)

// Each control breaks one assumption. Checks that find nothing then would prove
// nothing in TestSeeds.
func TestControlsAreFound(t *testing.T) {
	units := map[sim.Fault]int{sim.NoElection: 1}
	for _, c := range []struct {
		name    string
		fault   sim.Fault
		dialect sim.Dialect
		want    string // an invariant, or what it says
	}{
		{"a dataplane that does not stop at its ceiling", sim.NoLease, sim.IKEv2, "I2"},
		{"a dataplane that runs over its ceilings unsaid", sim.Undeclared, sim.IKEv2, "I2"},
		{"an epoch that is not on disk", sim.NoPersist, sim.IKEv2, "I3"},
		{"removals that nobody remembers", sim.NoTombstones, sim.IKEv2, "I8"},
		{"answers that do not wait for standbys", sim.NoCommit, sim.IKEv2, "I6"},
		{"a dataplane that sends as a standby", sim.StandbySends, sim.IKEv2, "I7"},
		{"removals of IKEv1 that nobody remembers", sim.NoTombstones, sim.IKEv1, "I8"},
		{"answers of IKEv1 that do not wait for standbys", sim.NoCommit, sim.IKEv1, "I6"},
		{"a standby of IKEv1 that is not at its last number", sim.NoMaximum, sim.MaxSeq, "I2"},
		{"an election that does not hear of primaries", sim.NoElection, sim.IKEv2, "both primary"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := uint64(1); seed <= defaultSeeds; seed++ {
				err := sim.New(sim.Config{Seed: seed, Dialect: c.dialect, Fault: c.fault, Mixed: c.fault == sim.Undeclared, Units: units[c.fault]}).Run()
				if err != nil && strings.Contains(err.Error(), c.want) {
					t.Logf("Seed %d: %v.", seed, err)
					return
				}
			}
			t.Errorf("With %s, %d runs have not one breach of %s.", c.name, defaultSeeds, c.want)
		})
	}
}

// The same seed is the same run, to the last line of its trace.
func TestRunsRepeat(t *testing.T) {
	const short = 3 * time.Second
	for _, cfg := range []sim.Config{
		{Seed: 1, Run: short},
		{Seed: 2, Run: short},
		{Seed: 3, Run: short},
		{Seed: 4, Run: short, Dialect: sim.IKEv1},
		{Seed: 19},           // a tunnel comes back from a journal
		{Seed: 13, Units: 1}, // several SAs are missing at a time
	} {
		var traces [2]strings.Builder
		for i := range traces {
			cfg.Trace = func(line string) { traces[i].WriteString(line + "\n") }
			_ = sim.New(cfg).Run()
		}
		if traces[0].String() != traces[1].String() {
			t.Errorf("Seed %d makes two different runs.", cfg.Seed)
		}
	}
}
