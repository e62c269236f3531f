package ha_test

import (
	"slices"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// owner is who owns the tunnel as a member sees it.
func (g *group) owner(m ipsec.MemberID) (ipsec.MemberID, bool) {
	st, ok := g.nodes[m].Tunnel(tunnel)
	return st.Owner, ok
}

// TestMemberWithoutDataplaneClaimsNothing: neither a packet that it saw before
// its dataplane died, nor an event that was late, nor the lack of any packet
// makes it the owner. Who has a dataplane is.
func TestMemberWithoutDataplaneClaimsNothing(t *testing.T) { // F5, F12
	for what, in := range map[string]ha.Input{
		"a stray packet": ha.Stray{Tunnel: tunnel}, "a late event": ha.Activated{Tunnel: tunnel, Group: 0}, "no packet": ha.Timeout{},
	} {
		g := gather(t, 3)
		g.establish()
		g.step(1, ha.Stray{Tunnel: tunnel})
		g.step(1, ha.Plane{Up: false})
		g.deaf = ha.MembersOf(0)
		g.pass(500 * time.Millisecond)
		g.step(1, in)
		g.pass(time.Second)
		if owner, ok := g.owner(1); !ok || owner != 0 {
			t.Errorf("%s: Member 1 has no dataplane, and thinks that %d owns the tunnel (%t), want the dead member.", what, owner, ok)
		}
		g.pass(ha.DefaultAdoptAfter + 10*time.Second)
		for m := ipsec.MemberID(1); m < 3; m++ {
			if owner, ok := g.owner(m); !ok || owner != 2 {
				t.Errorf("%s: Member %d sees the owner %d (%t), want member 2, which has a dataplane.", what, m, owner, ok)
			}
		}
	}
}

// TestLastMemberWaitsForItsDataplane: it gives up nothing meanwhile, and adopts
// what it holds afterwards.
func TestLastMemberWaitsForItsDataplane(t *testing.T) { // F5, B6
	g := gather(t, 2)
	g.establish()
	g.step(1, ha.Plane{Up: false})
	g.deaf = ha.MembersOf(0)
	g.pass(time.Minute)
	if owner, ok := g.owner(1); !ok || owner != 0 {
		t.Fatalf("Without a dataplane for a minute the last member sees the owner %d, and has the tunnel: %t. Want it kept as it was.", owner, ok)
	}
	in, out := pair()
	g.step(1, ha.Inventory{SAs: map[ipsec.SAID]bool{in.ID: true, out.ID: true}})
	g.pass(ha.DefaultAdoptAfter)
	if owner, ok := g.owner(1); !ok || owner != 1 {
		t.Errorf("With its dataplane again the last member sees the owner %d, and has the tunnel: %t. Want it its own.", owner, ok)
	}
}

// TestFrozenOwnerDoesNotTakeItsTunnelBack: what waited in its dataplane while it
// was away is no sign that the peer speaks to it now.
func TestFrozenOwnerDoesNotTakeItsTunnelBack(t *testing.T) { // F23, B5, I8
	g := gather(t, 3)
	g.establish()
	in, _ := pair()
	heard := func(m ipsec.MemberID, highest uint64) {
		g.step(m, ha.Count{SAs: []ha.Counted{{ID: in.ID, Sequence: ipsec.Sequence{Highest: highest}}}})
	}
	heard(0, 10)
	// Member 0 freezes: nothing reaches it, and its own clock does not run.
	g.deaf = ha.MembersOf(0)
	frozen := g.nodes[0]
	awake := g.nodes
	g.nodes = map[ipsec.MemberID]*ha.Node{1: awake[1], 2: awake[2]}
	pass := func(d time.Duration) {
		for end := g.now.Add(d); g.now.Before(end); g.now = g.now.Add(10 * time.Millisecond) {
			g.step(1, ha.Timeout{})
			g.step(2, ha.Timeout{})
		}
	}
	pass(time.Second)
	g.step(1, ha.Activated{Tunnel: tunnel, Group: 0})
	heard(1, 20)
	pass(5 * time.Second)

	g.nodes[0] = frozen
	heard(0, 15) // the first thing that it does
	g.deaf = 0
	g.pass(10 * time.Second)
	for m := range ipsec.MemberID(3) {
		if owner, ok := g.owner(m); !ok || owner != 1 {
			t.Errorf("Member %d sees the owner %d (%t), want member 1, which the peer speaks to.", m, owner, ok)
		}
	}
	if n := g.nodes[0].Stats().Reclaims; n != 0 {
		t.Errorf("Member 0 took the tunnel back %d times when it woke up.", n)
	}
}

// TestOwnerWithoutDataplaneDoesNotTakeItsTunnelBack: it has heard the client more
// recently than the member that took its tunnel over, but can do nothing for it now.
func TestOwnerWithoutDataplaneDoesNotTakeItsTunnelBack(t *testing.T) { // F5, F23, B5
	for what, c := range map[string]struct {
		up    bool
		owner ipsec.MemberID
	}{"with": {true, 0}, "without": {false, 1}} {
		g := gather(t, 2, func(cfg *ha.Config) { cfg.AdoptAfter = time.Second })
		g.establish()
		g.step(0, ha.Plane{Up: c.up})
		g.deaf = ha.MembersOf(0)
		g.pass(2 * time.Second) // it is adopted, without a packet
		g.deaf = 0
		g.pass(2 * time.Second)
		if got := g.owners(); !slices.Equal(got, []ipsec.MemberID{c.owner}) {
			t.Errorf("An owner %s a dataplane was not heard for a while: the tunnel is owned by %v, want member %d.", what, got, c.owner)
		}
	}
}
