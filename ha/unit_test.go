package ha_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// joined makes all members one unit.
func joined(change ...func(*ha.Unit)) func(*ha.Config) {
	return func(c *ha.Config) {
		c.Unit = &ha.Unit{Priority: 128, Serial: fmt.Sprintf("EG%02d", c.Member)}
		for _, f := range change {
			f(c.Unit)
		}
	}
}

func overriding(u *ha.Unit) { u.Override = true }

// wantPrimary checks that all members agree on one primary.
func (g *group) wantPrimary(why string, want ipsec.MemberID) {
	g.t.Helper()
	for i := range len(g.nodes) {
		m := ipsec.MemberID(i)
		if g.deaf.Has(m) {
			continue
		}
		st, ok := g.nodes[m].UnitStatus(g.now)
		if !ok || !st.Settled || st.Primary != want {
			g.t.Errorf("%s: member %d takes %d for the primary (settled: %v), not %d.", why, m, st.Primary, st.Settled, want)
		}
	}
}

// orders returns the kinds of the orders of a member for a group since the last
// time, in order.
func orders(rds []ha.Ready, group ipsec.MemberID) []ha.OrderKind {
	var out []ha.OrderKind
	for _, rd := range rds {
		for _, o := range rd.Orders {
			if o.Group == group && o.Kind != ha.Install && o.Kind != ha.Update && o.Kind != ha.Discard {
				out = append(out, o.Kind)
			}
		}
	}
	return out
}

func lastHealth(rds []ha.Ready) (h ha.Health) {
	for _, rd := range rds {
		if rd.Health != nil {
			h = *rd.Health
		}
	}
	return h
}

func TestSerialDecidesWhenNothingElseDoes(t *testing.T) {
	g := gather(t, 3, joined())
	g.pass(time.Second)
	g.wantPrimary("Three equal members", 2)
	for m, want := range map[ipsec.MemberID]ha.Health{0: {Why: "subordinate"}, 1: {Why: "subordinate"}, 2: {Fit: true}} {
		if got := lastHealth(g.take(m)); got != want {
			t.Errorf("Member %d tells the network %+v, not %+v.", m, got, want)
		}
	}
}

func TestPriorityDecidesAmongEqualAges(t *testing.T) {
	g := gather(t, 3, joined(), func(c *ha.Config) { c.Unit.Priority = 200 - uint8(c.Member) })
	g.pass(time.Second)
	g.wantPrimary("The highest priority is that of member 0", 0)
}

func TestDeathOfThePrimaryPromotesAllAtOnce(t *testing.T) { // C1, C2, C7
	g := gather(t, 3, joined(), func(c *ha.Config) { c.Unit.Priority = 200 - uint8(c.Member) })
	g.pass(time.Second)
	g.establish()
	g.deaf = ha.MembersOf(0)
	g.pass(time.Second)
	g.wantPrimary("After the death of member 0", 1)
	at1, at2 := g.take(1), g.take(2)
	if got := orders(at1, 0); !slices.Equal(got, []ha.OrderKind{ha.Promote}) {
		t.Errorf("The new primary ordered %v for the dead member's group, not one Promote.", got)
	}
	if got := orders(at2, 0); got != nil {
		t.Errorf("The other subordinate ordered %v for the dead member's group.", got)
	}
	restored := 0
	for _, rd := range at1 {
		restored += len(rd.Restore)
	}
	if st, _ := g.nodes[1].Tunnel(tunnel); !st.Owned || restored != 1 {
		t.Errorf("The new primary owns the tunnel: %v, and brought %d to life.", st.Owned, restored)
	}
	if st, _ := g.nodes[2].Tunnel(tunnel); st.Owner != 1 {
		t.Errorf("The other subordinate takes %d for the owner.", st.Owner)
	}
}

func TestReturningMemberDoesNotPreempt(t *testing.T) {
	for _, override := range []bool{false, true} {
		g := gather(t, 2, joined(), func(c *ha.Config) {
			c.Unit.Priority, c.Unit.Override = 200-uint8(c.Member), override
		})
		g.pass(time.Second)
		g.establish()
		g.deaf = ha.MembersOf(0)
		g.pass(time.Second)
		g.wantPrimary("While member 0 is away", 1)
		// A new life of it, as its own would not have noticed its absence.
		n, err := ha.New(ha.Config{
			Member: 0, Members: ha.MembersOf(0, 1), Unit: &ha.Unit{Priority: 200, Override: override, Serial: "EG00"},
		}, ha.HardState{Disk: 1, Life: 1, Count: 5})
		if err != nil {
			t.Fatal(err)
		}
		g.nodes[0], g.deaf = n, 0
		g.step(0, ha.Configure{Classes: map[string]uint64{"dialup": 1}})
		g.pass(3 * time.Second)
		if override {
			g.wantPrimary("With override the higher priority comes back", 0)
		} else {
			g.wantPrimary("Without override who returns stands by", 1)
		}
		owner := map[bool]ipsec.MemberID{false: 1, true: 0}[override]
		if st, _ := g.nodes[owner].Tunnel(tunnel); !st.Owned {
			t.Errorf("With override %v the tunnel is not member %d's.", override, owner)
		}
	}
}

func TestFailedLinkMovesTheUnit(t *testing.T) {
	g := gather(t, 2, joined(overriding), func(c *ha.Config) { c.Unit.Priority = 200 - uint8(c.Member) })
	g.pass(time.Second)
	g.establish()
	g.step(0, ha.Monitored{Failed: 1})
	g.pass(time.Second)
	g.wantPrimary("A link of member 0 failed", 1)
	if kinds, stops := g.ordered(0); kinds[ha.Disarm] != 0 || stops == 0 {
		t.Errorf("Who steps back ordered %d times to fall silent as a whole, and %d times to stop the tunnel; want the latter, with the next primary's claim.", kinds[ha.Disarm], stops)
	}
	g.pass(2 * time.Second)
	if got := orders(g.take(0), 0); !slices.Equal(got, []ha.OrderKind{ha.Disarm}) {
		t.Errorf("In the end who steps back ordered %v for its own group, not to fall silent.", got)
	}
	if st, _ := g.nodes[1].Tunnel(tunnel); !st.Owned {
		t.Error("The new primary does not own the tunnel.")
	}
	g.step(1, ha.Monitored{Failed: 2})
	g.pass(time.Second)
	g.wantPrimary("Two links of member 1 failed, and one of member 0", 0)
}

func TestOperatorMovesTheUnitBackAndForth(t *testing.T) {
	g := gather(t, 2, joined(overriding), func(c *ha.Config) { c.Unit.Priority = 200 - uint8(c.Member) })
	g.pass(time.Second)
	g.establish()
	for round, from := range []ipsec.MemberID{0, 1, 0} {
		g.step(from, ha.Yield{On: true})
		g.pass(time.Second)
		g.wantPrimary(fmt.Sprintf("Round %d", round), 1-from)
		if st, _ := g.nodes[1-from].Tunnel(tunnel); !st.Owned {
			t.Errorf("Round %d: the tunnel did not go along.", round)
		}
	}
	g.step(0, ha.Yield{On: false})
	g.pass(time.Second)
	g.wantPrimary("Member 0 need not step back any longer, and overrides", 0)
}

// TestPrimaryGoesOnUntilTheNextOneHasClaimed: the one whose dataplane is at work, and
// who has told the other, may be routed to. Before that the other is.
func TestPrimaryGoesOnUntilTheNextOneHasClaimed(t *testing.T) { // I2, I8
	g := gather(t, 2, joined(), func(c *ha.Config) {
		c.Unit.Priority, c.AckTimeout = 200-uint8(c.Member), time.Minute
	})
	g.pass(time.Second)
	g.establish()
	g.lose = func(f ha.Frame) bool {
		for _, r := range f.Records {
			if _, claim := r.(ha.Claim); claim {
				return true
			}
		}
		return false
	}
	g.take(0)
	g.step(0, ha.Yield{On: true})
	g.pass(500 * time.Millisecond)
	old := g.take(0)
	for _, rd := range old {
		if len(rd.Orders) > 0 {
			t.Errorf("Before it has heard a claim the old primary should go on; it ordered %+v.", rd.Orders)
		}
	}
	if h := lastHealth(old); h.Fit || !h.Handing {
		t.Errorf("The old primary should say that it hands over, it says %+v.", h)
	}
	if h := lastHealth(g.take(1)); h.Fit {
		t.Errorf("The new primary should wait until the old one knows, it says %+v.", h)
	}
	g.lose = nil
	g.pass(time.Second)
	if _, stops := g.ordered(0); stops == 0 {
		t.Error("With the claim the old primary should stop.")
	}
	if h := lastHealth(g.take(1)); !h.Fit {
		t.Errorf("The new primary should be fit by now, it says %+v.", h)
	}
	g.pass(2 * time.Second)
	if h := lastHealth(g.take(0)); h.Handing || h.Why != "subordinate" {
		t.Errorf("Handing over should end, the old primary says %+v.", h)
	}
}

func TestOfTwoPrimariesTheLongerOneStays(t *testing.T) {
	g := gather(t, 2, joined(), func(c *ha.Config) { c.Unit.Priority = 200 - uint8(c.Member) })
	g.pass(time.Second)
	g.establish()
	g.deaf = ha.MembersOf(0, 1)
	g.pass(time.Second)
	for m, n := range g.nodes {
		if st, _ := n.UnitStatus(g.now); !st.Standing.Primary {
			t.Errorf("Alone, member %d is not primary.", m)
		}
	}
	g.deaf = 0
	g.pass(3 * time.Second)
	g.wantPrimary("After the network is whole again", 0)
	st0, _ := g.nodes[0].Tunnel(tunnel)
	st1, _ := g.nodes[1].Tunnel(tunnel)
	if !st0.Owned || st1.Owned {
		t.Errorf("The tunnel is owned: %v by the primary, %v by the subordinate.", st0.Owned, st1.Owned)
	}
}

func TestAnotherUnitTakesOverOnlyWhenAllOfOneAreDead(t *testing.T) { // FGCP over FGSP
	g := gather(t, 4, joined(), func(c *ha.Config) { c.Unit.ID, c.Unit.Priority = uint8(c.Member/2), 200-uint8(c.Member) })
	g.pass(time.Second)
	g.establish()
	g.deaf = ha.MembersOf(0)
	g.pass(time.Second)
	if st, _ := g.nodes[1].Tunnel(tunnel); !st.Owned {
		t.Error("The dead member's mate does not own the tunnel.")
	}
	if got := orders(g.take(2), 0); got != nil {
		t.Errorf("The primary of the other unit ordered %v for a group that has a mate.", got)
	}
	g.deaf = ha.MembersOf(0, 1)
	g.pass(time.Second)
	if got := orders(g.take(2), 1); !slices.Equal(got, []ha.OrderKind{ha.Arm}) {
		t.Errorf("When the whole unit was dead, the other unit's primary ordered %v, not to arm.", got)
	}
	if got := orders(g.take(3), 1); got != nil {
		t.Errorf("The other unit's subordinate ordered %v.", got)
	}
	g.step(2, ha.Activated{Tunnel: tunnel, Group: 1})
	if st, _ := g.nodes[2].Tunnel(tunnel); !st.Owned {
		t.Error("The first packet did not move the tunnel to the other unit.")
	}
}

func TestUnitIsChecked(t *testing.T) {
	for what, u := range map[string]ha.Unit{
		"no serial": {}, "a long serial": {Serial: string(make([]byte, 65))}, "a negative margin": {Serial: "x", AgeMargin: -1},
	} {
		if _, err := ha.New(ha.Config{NewDisk: 1, Unit: &u}, ha.HardState{}); err == nil {
			t.Errorf("A unit with %s was taken.", what)
		}
	}
}
