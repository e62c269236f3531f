package ha_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// byWayOfAThird makes member 1 own the tunnel with a pair that only member 2 was given
// by its owner, who comes back after that.
func (g *group) byWayOfAThird() {
	g.t.Helper()
	g.step(0, ha.StoreIKE{Tunnel: tunnel, IKE: ha.IKE{Class: "dialup", State: ipsec.NewKey([]byte("ike 1"))}, Heard: true})
	g.deaf = ha.MembersOf(1)
	g.pass(500 * time.Millisecond)
	in, out := pair()
	g.step(0, ha.StoreChild{Tunnel: tunnel, In: in, Out: out})
	g.takesFrom(1, 0)
}

// takesFrom makes m take the tunnel over from a member that is not heard for a while.
func (g *group) takesFrom(m, from ipsec.MemberID) {
	g.t.Helper()
	g.deaf = ha.MembersOf(from)
	g.pass(500 * time.Millisecond)
	g.step(m, ha.Activated{Tunnel: tunnel, Group: from})
	g.pass(500 * time.Millisecond)
	g.deaf = 0
	g.pass(time.Second)
	for i := range ipsec.MemberID(len(g.nodes)) {
		if owner, ok := g.owner(i); !ok || owner != m {
			g.t.Fatalf("Member %d sees the owner %d (%t), want member %d.", i, owner, ok, m)
		}
	}
}

// TestSpentPairNeedsNewKeysAsOftenAsItAsks: its numbers never move backwards in the
// dataplane, so those that the others would give up are of no use. The peer may not
// have known the pair yet when new keys were asked for first.
func TestSpentPairNeedsNewKeysAsOftenAsItAsks(t *testing.T) { // I2, B5
	for want, takes := range map[ha.Worn]func(*group){
		ha.NotEntrusted: (*group).byWayOfAThird,
		ha.NoNonces: func(g *group) {
			g.establish()
			g.step(1, ha.Keeps{Nonces: ha.UnknownNonces})
			g.takesFrom(1, 0)
		},
	} {
		g := gather(t, 3)
		takes(g)
		if _, why, _ := g.asked(1); len(why) != 1 || why[0] != want {
			t.Errorf("The new owner should ask for new keys because %v, it asks because of %v.", want, why)
		}
		_, out := pair()
		before := g.nodes[1].Stats().Raised
		g.step(1, ha.LeaseLow{SA: out.ID})
		g.pass(time.Second)
		if _, why, _ := g.asked(1); len(why) != 1 || why[0] != want {
			t.Errorf("Without a number to send it should ask again because %v, it asks because of %v.", want, why)
		}
		if n := g.nodes[1].Stats().Raised - before; n != 0 {
			t.Errorf("It raised the ceiling %d times, although its dataplane is at the end of its numbers.", n)
		}
	}
}

// TestSpentPairThatComesBackIsSpent: another member has owned the tunnel meanwhile,
// and entrusted us with the pair, but our dataplane is where it was.
func TestSpentPairThatComesBackIsSpent(t *testing.T) { // I2, B5
	g := gather(t, 3)
	g.byWayOfAThird()
	g.takesFrom(2, 1)
	g.take(1)
	g.takesFrom(1, 2)
	if _, why, _ := g.asked(1); len(why) != 1 || why[0] != ha.NotEntrusted {
		t.Errorf("The member should ask for new keys again, it asks because of %v.", why)
	}
}

// TestSpentPairIsPutBackWithNumbers: a dataplane that has lost the pair begins with
// the numbers that a standby has.
func TestSpentPairIsPutBackWithNumbers(t *testing.T) { // B6, I2
	g := gather(t, 3)
	g.byWayOfAThird()
	g.takesFrom(2, 1)
	g.step(1, ha.Inventory{})
	g.take(1)
	g.takesFrom(1, 2)
	if sends, why, _ := g.asked(1); len(why) != 0 || len(sends) == 0 {
		t.Errorf("The member should send on a pair that was put back: %v is sent, new keys are asked for because of %v.", sends, why)
	}
}
