package ha_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// hand has member 0 give the tunnel to a successor whose dataplane has not answered
// yet, so nobody has heard of it, and returns who that is.
func (g *group) hand() (heir ipsec.MemberID) {
	g.t.Helper()
	g.pass(500 * time.Millisecond)
	g.busy = ha.MembersOf(1, 2)
	g.step(0, ha.Leave{Step: ha.Handover})
	owners := g.owners()
	if len(owners) != 2 || owners[0] != 0 {
		g.t.Fatalf("A successor should have the tunnel and member 0 not know of it, it is owned by %v.", owners)
	}
	return owners[1]
}

// carried answers all orders of a member, whose dataplane does not wait any more.
func (g *group) carried(m ipsec.MemberID) {
	g.busy = g.busy.Without(m)
	g.step(m, ha.Carried{Serial: g.step(m, ha.Timeout{}).Serial})
}

// restored are the tunnels that a member was asked to bring to life since the last time.
func (g *group) restored(m ipsec.MemberID) (out []ha.Restored) {
	for _, rd := range g.take(m) {
		out = append(out, rd.Restore...)
	}
	return out
}

// TestHandedTunnelComesToLifeAfterItIsTakenBack: its new owner, whose dataplane has not
// answered yet, is not heard for a while, another member takes the tunnel over, and the
// owner, which has heard the peer since, takes it back. It did not come to life after that: its claim
// waited to be announced under an epoch that was over.
func TestHandedTunnelComesToLifeAfterItIsTakenBack(t *testing.T) { // F9, F12, I8
	g := gather(t, 3, func(cfg *ha.Config) { cfg.AntiEntropy, cfg.AdoptAfter = time.Second, time.Second })
	g.establish()
	heir := g.hand()
	other := 3 - heir
	g.carried(other)
	_, out := pair()
	g.step(0, ha.LeaseLow{SA: out.ID}) // the answer tells who owns it now, without a claim
	g.pass(2 * time.Second)            // all have it from the new owner by now
	g.deaf = ha.MembersOf(heir)
	g.pass(2 * time.Second)
	g.deaf = 0
	g.pass(time.Second)
	if claims, n := g.nodes[other].Stats().Claims, g.nodes[heir].Stats().Reclaims; claims != 1 || n != 1 {
		t.Fatalf("Member %d claimed the tunnel %d times, and member %d took it back %d times, want once each.", other, claims, heir, n)
	}
	g.carried(heir)
	g.pass(time.Second)
	if n := len(g.restored(heir)); n != 1 {
		t.Errorf("The tunnel should come to life once at member %d, which owns it, and did so %d times.", heir, n)
	}
	if got := g.owners(); len(got) != 1 || got[0] != heir {
		t.Errorf("The tunnel should be member %d's, it is owned by %v.", heir, got)
	}
}

// TestHandedTunnelComesToLifeInAnotherDataplane: the one that it waited for is gone, and
// the engine, which puts back what the new one lacks, must know of it.
func TestHandedTunnelComesToLifeInAnotherDataplane(t *testing.T) { // F9, B6
	g := gather(t, 3)
	g.establish()
	heir := g.hand()
	g.step(heir, ha.Plane{Up: false})
	g.step(heir, ha.Inventory{})
	if n := len(g.restored(heir)); n != 1 {
		t.Errorf("The tunnel should come to life with the new dataplane, and did so %d times.", n)
	}
	g.carried(heir)
	g.pass(time.Second)
	if n := len(g.restored(heir)); n != 0 {
		t.Errorf("The tunnel came to life %d times more.", n)
	}
	if got := g.owners(); len(got) != 1 || got[0] != heir {
		t.Errorf("The tunnel should be member %d's, it is owned by %v.", heir, got)
	}
}
