package sim_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/sim"
	"github.com/evergate/evergate/ha"
)

// unitConfig joins members into one unit, or two of every fourth run; every fifth has
// clients of IKEv1.
func unitConfig(seed uint64) sim.Config {
	cfg := configOf(seed)
	cfg.Units, cfg.Override = 1+int(seed%4/3), seed%8 > 4
	if seed%5 == 0 {
		cfg.Dialect = sim.IKEv1
	}
	return cfg
}

// TestUnitSeeds plays gateways of two or three members, alone and as members of a group,
// in trouble: beside all that TestSeeds has, links fail and operators step in.
func TestUnitSeeds(t *testing.T) { // C1, C2, C7, B1, B2
	sum := playSeeds(t, *seeds/5, unitConfig)
	wantTold(t, map[string]uint64{
		"election": sum.Reigns, "primary that took over all at once": sum.Promoted, "primary that was told to step back": sum.Yields,
		"crash": sum.Crashes, "message that waited for others": sum.Promises, "client that had to go on without dialing": sum.Kept,
	})
}

// TestFoundUnitSeeds repeats runs that once broke an invariant.
func TestFoundUnitSeeds(t *testing.T) { // I1, I2
	for _, seed := range []uint64{
		// A member came back to its dataplane, which runs over its ceilings by some packets,
		// and took the ceilings that this had been told, which are lower by as many, for
		// where it had stopped.
		96,
		// A subordinate ended a tunnel that the primary had taken back, as its client asked for
		// that, became primary, and sent in the same tunnel with the nonces that it had used.
		20112,
		// A tunnel that had ended came back with another member's later claim: which was held
		// against a member that knew of the end.
		30012,
		// The next owner spoke on an ISAKMP SA that was the rival of the current one.
		30160,
		// A member that was away went on with a tunnel which another one had taken over and
		// removed, and was granted the numbers that this one had used.
		50086,
	} {
		if err := sim.New(unitConfig(seed)).Run(); err != nil {
			t.Errorf("Seed %d: %v.", seed, err)
		}
	}
}

// calmUnit starts a unit of two, or more units, whose clients are up.
func calmUnit(t *testing.T, units int, override bool) *sim.Cluster {
	t.Helper()
	return calmly(t, sim.Config{Seed: 1, Members: 2 * units, Clients: 8, Units: units, Override: override, Lease: 1 << 20})
}

func wantPrimaries(t *testing.T, c *sim.Cluster, when string, want ...ipsec.MemberID) {
	t.Helper()
	if got := c.Primaries(); got != ha.MembersOf(want...) {
		t.Errorf("%s the primaries are %v, want %v.", when, got, ha.MembersOf(want...))
	}
}

// The primary of two that start together is the one of the higher priority: 1.
func TestUnitOutlivesItsPrimary(t *testing.T) { // C1, C2
	for what, tt := range map[string]struct {
		happens func(c *sim.Cluster)
		healed  ipsec.MemberID // primary when all is well
	}{
		"that dies":       {func(c *sim.Cluster) { c.Crash(1) }, 0},
		"that stops":      {func(c *sim.Cluster) { c.Stop(1) }, 0},
		"without a link":  {func(c *sim.Cluster) { c.Links(1, 1) }, 0},
		"that steps back": {func(c *sim.Cluster) { c.Yield(1, true) }, 0},
		// It is primary still when it goes on, and has been for longer.
		"that hangs": {func(c *sim.Cluster) { c.Freeze(1, true, false) }, 1},
	} {
		t.Run(what, func(t *testing.T) {
			c := calmUnit(t, 1, false)
			wantPrimaries(t, c, "At first", 1)
			tt.happens(c)
			c.Play(3 * time.Second)
			wantPrimaries(t, c, "After a primary "+what, 0)
			wantUntouched(t, c, 8)
			wantPrimaries(t, c, "When all is well", tt.healed)
		})
	}
}

// TestPlannedFailoversLoseNothing has the operator, and a link, move a unit to and fro.
func TestPlannedFailoversLoseNothing(t *testing.T) { // C1, I7
	c := calmUnit(t, 1, false)
	before := c.Sum()
	for _, step := range []struct {
		what string
		do   func()
		next ipsec.MemberID
	}{
		{"After the operator's move", func() { c.Yield(1, true) }, 0},
		{"After the failure of a link", func() { c.Links(0, 1) }, 1},
		{"After the operator's next move", func() { c.Links(0, 0); c.Yield(1, true) }, 0},
	} {
		step.do()
		c.Play(4 * time.Second)
		wantPrimaries(t, c, step.what, step.next)
	}
	after := c.Sum()
	if up, down := after.UpLost-before.UpLost, after.DownLost-before.DownLost; up+down > 0 {
		t.Errorf("%d packets of clients and %d for them were lost.", up, down)
	}
	wantUntouched(t, c, 8)
}

func TestHigherPriorityTakesOver(t *testing.T) {
	c := calmUnit(t, 1, true)
	c.Crash(1)
	c.Play(3 * time.Second)
	wantPrimaries(t, c, "After the death of 1", 0)
	c.Boot(1, true)
	c.Play(5 * time.Second)
	wantPrimaries(t, c, "With override, after the return of 1,", 1)
	wantUntouched(t, c, 8)
}

// TestMateTakesOverInAGroupOfUnits: FGCP over FGSP.
func TestMateTakesOverInAGroupOfUnits(t *testing.T) { // F13, F23, C1
	c := calmUnit(t, 2, false)
	wantPrimaries(t, c, "At first", 2, 3)
	c.Crash(2)
	c.Play(3 * time.Second)
	wantPrimaries(t, c, "After a death the mate takes over:", 0, 3)
	c.Crash(0)
	c.Play(4 * time.Second)
	wantPrimaries(t, c, "After the death of a whole unit the other one does:", 3)
	wantUntouched(t, c, 8)
}
