package ha_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// ordered counts what the dataplane of a member was asked to do since the last
// time: how often of each kind, and how often to stop what it sends on the tunnel.
func (g *group) ordered(m ipsec.MemberID) (kinds map[ha.OrderKind]int, stops int) {
	kinds = make(map[ha.OrderKind]int)
	_, out := pair()
	for _, rd := range g.take(m) {
		for _, o := range rd.Orders {
			kinds[o.Kind]++
			for _, c := range o.Changes {
				if c.ID == out.ID && c.Active != nil && !*c.Active {
					stops++
				}
			}
		}
	}
	return kinds, stops
}

func (g *group) owners() (out []ipsec.MemberID) {
	for i := range len(g.nodes) {
		if st, _ := g.nodes[ipsec.MemberID(i)].Tunnel(tunnel); st.Owned {
			out = append(out, ipsec.MemberID(i))
		}
	}
	return out
}

// TestLeaverSendsUntilAllKnowItsSuccessor: the member that is neither goes on giving
// the leaver what is for the client until it hears the claim, and that is sent.
func TestLeaverSendsUntilAllKnowItsSuccessor(t *testing.T) { // F9, F5
	for _, late := range []ipsec.MemberID{1, 2} {
		g := gather(t, 3, func(cfg *ha.Config) { cfg.AckTimeout = time.Minute })
		g.establish()
		g.lose = func(f ha.Frame) bool {
			for _, r := range f.Records {
				if _, ok := r.(ha.Claim); ok && f.To == late {
					return true
				}
			}
			return false
		}
		g.step(0, ha.Leave{Step: ha.Handover})
		owners := g.owners()
		if len(owners) != 1 && len(owners) != 2 || owners[len(owners)-1] == 0 {
			t.Fatalf("The tunnel should be a successor's, it is owned by %v.", owners)
		}
		heir := owners[len(owners)-1]
		if heir == late {
			continue // the other round loses what its successor says
		}
		if _, stops := g.ordered(0); stops != 0 || g.nodes[0].Handing() != 1 {
			t.Errorf("Who leaves should send until all know, but was asked to stop %d times; %d tunnels are under way, want 1.", stops, g.nodes[0].Handing())
		}
		g.lose = nil
		g.pass(time.Second)
		if _, stops := g.ordered(0); stops == 0 || g.nodes[0].Handing() != 0 {
			t.Errorf("When all know, the leaver should stop; it was asked to %d times, and %d tunnels are under way.", stops, g.nodes[0].Handing())
		}
		g.step(0, ha.Leave{Step: ha.Goodbye})
		g.step(0, ha.Leave{})
		for m := range g.nodes {
			if kinds, _ := g.ordered(m); kinds[ha.Arm] != 0 {
				t.Errorf("Member %d should have nothing to arm for.", m)
			}
		}
		if got := g.owners(); len(got) != 1 || got[0] != heir {
			t.Errorf("The tunnel should stay with member %d, it is owned by %v.", heir, got)
		}
		if handed, taken := g.nodes[0].Stats().Handed, g.nodes[heir].Stats().Taken; handed != 1 || taken != 1 {
			t.Errorf("The leaver counts %d tunnels that it gave away, its successor %d that it took, want 1 and 1.", handed, taken)
		}
	}
}

// TestSuccessorGoesOnFromTheLastCopy: what the leaver has stored while it waits is
// known to its successor before that speaks to the peer, and no synchronization of
// Message IDs is asked for.
func TestSuccessorGoesOnFromTheLastCopy(t *testing.T) { // B2, I6
	g := gather(t, 2)
	g.establish()
	g.lose = func(f ha.Frame) bool { // what the leaver says
		return f.From == 0 && len(f.Records) > 0
	}
	g.step(0, ha.Leave{Step: ha.Handover})
	g.step(0, ha.StoreIKE{Tunnel: tunnel, IKE: ha.IKE{Class: "dialup", State: ipsec.NewKey([]byte("ike 2"))}})
	g.take(1)
	g.lose = nil
	g.pass(time.Second)
	var restored []ha.Restored
	for _, rd := range g.take(1) {
		restored = append(restored, rd.Restore...)
	}
	if len(restored) != 1 || string(restored[0].IKE.State.Reveal()) != "ike 2" || restored[0].Behind {
		t.Errorf("The successor should go on once, from the last copy and not behind it, got %+v.", restored)
	}
}

// TestLeaverFindsAnotherSuccessor when the first one dies before it has answered.
func TestLeaverFindsAnotherSuccessor(t *testing.T) { // F12
	g := gather(t, 3)
	g.establish()
	var heir ipsec.MemberID
	g.lose = func(f ha.Frame) bool {
		for _, r := range f.Records {
			if _, ok := r.(ha.Handoff); ok {
				heir = f.To
				return true
			}
		}
		return false
	}
	g.step(0, ha.Leave{Step: ha.Handover})
	g.lose, g.deaf = nil, ha.MembersOf(heir)
	g.pass(time.Second)
	if st, _ := g.nodes[3-heir].Tunnel(tunnel); !st.Owned || g.nodes[0].Handing() != 0 {
		t.Errorf("Member %d is dead, so member %d should own the tunnel; %d tunnels are under way.", heir, 3-heir, g.nodes[0].Handing())
	}
}

// TestTunnelWithoutSuccessorIsLeftToItsPackets: a member that lacks it is not asked.
func TestTunnelWithoutSuccessorIsLeftToItsPackets(t *testing.T) { // F12, I4
	g := gather(t, 2)
	in, _ := pair()
	g.refer = func(m ipsec.MemberID) []ipsec.SAID {
		if m == 1 {
			return []ipsec.SAID{in.ID}
		}
		return nil
	}
	g.establish()
	g.step(0, ha.Leave{Step: ha.Handover})
	if n := g.nodes[0].Handing(); n != 0 {
		t.Errorf("Nobody can take the tunnel, but %d are under way.", n)
	}
	g.step(0, ha.Leave{Step: ha.Goodbye})
	if kinds, _ := g.ordered(0); kinds[ha.Disarm] != 0 {
		t.Errorf("Who says goodbye goes on sending until the others do, but was asked to stop %d times.", kinds[ha.Disarm])
	}
	if kinds, _ := g.ordered(1); kinds[ha.Arm] != 1 {
		t.Errorf("The other member should arm once, it was asked to %d times.", kinds[ha.Arm])
	}
	g.step(0, ha.Leave{})
	g.step(0, ha.Leave{})
	if kinds, _ := g.ordered(0); kinds[ha.Disarm] != 1 {
		t.Errorf("Who has left should fall silent once, it was asked to %d times.", kinds[ha.Disarm])
	}
}

// TestMemberThatLeavesTooTakesNothing: of two that leave at once none takes what
// the other has.
func TestMemberThatLeavesTooTakesNothing(t *testing.T) { // F12
	g := gather(t, 2)
	g.establish()
	g.step(1, ha.Leave{Step: ha.Handover})
	g.step(0, ha.Leave{Step: ha.Handover})
	g.pass(time.Second)
	if got := g.owners(); len(got) != 1 || got[0] != 0 {
		t.Errorf("The tunnel should stay where it is, it is owned by %v.", got)
	}
}
