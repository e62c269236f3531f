package ha_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// outlived starts two members, of which the first goes on with a tunnel of its last life:
// its journal knows it, and its dataplane has the pair, the outbound SA at seq. The last
// life of the other one had armed what armed says.
func outlived(t *testing.T, armed ha.Members, seq ipsec.Sequence) *group {
	t.Helper()
	g := &group{
		t: t, now: time.Unix(1000, 0), nodes: make(map[ipsec.MemberID]*ha.Node), rd: make(map[ipsec.MemberID][]ha.Ready),
		refer: func(ipsec.MemberID) []ipsec.SAID { return nil },
	}
	for id, hard := range []ha.HardState{{Disk: 1, Life: 1, Count: 1}, {Disk: 2, Life: 1, Count: 2, Armed: armed}} {
		n, err := ha.New(ha.Config{Member: ipsec.MemberID(id), Members: ha.MembersOf(0, 1)}, hard)
		if err != nil {
			t.Fatalf("Member %d was not made: %v.", id, err)
		}
		g.nodes[ipsec.MemberID(id)] = n
	}
	g.inherits(ha.NewEpoch(1, 0), seq)
	for id := range ipsec.MemberID(2) {
		g.step(id, ha.Configure{Classes: map[string]uint64{"dialup": 1}})
	}
	g.pass(2 * time.Second)
	return g
}

// inherits tells a new life of member 0 what its last one has left: the journal has the
// tunnel as it was at epoch e, and the dataplane the pair, the outbound SA at seq.
func (g *group) inherits(e ha.Epoch, seq ipsec.Sequence) {
	in, out := pair()
	g.step(0, ha.Plane{Up: true, Left: map[ipsec.SAID]ha.Left{
		in.ID: {Tunnel: tunnel}, out.ID: {Tunnel: tunnel, Sequence: seq},
	}})
	g.step(0, ha.Remembered{Return: ha.Return{
		Tunnel: tunnel, Version: ha.Version{Epoch: e, Change: 2}, Title: ha.Title{Past: ha.MembersOf(0)},
		IKE:      ha.IKE{Class: "dialup", State: ipsec.NewKey([]byte("ike 1"))},
		Children: []ha.Child{{In: in, Out: out, Holders: ha.MembersOf(0, 1), Bound: ipsec.LeaseSize}},
	}})
}

// TestTunnelOfTheLastLifeIsJudged: while our daemon was away, another member took the
// tunnel over, sent with the numbers above ours, and died with all memory of it. Our
// journal knows nothing of that. The pair goes on with the numbers that its dataplane
// has, takes no others, and gets new keys.
func TestTunnelOfTheLastLifeIsJudged(t *testing.T) { // B6, I1, I2
	in, out := pair()
	for _, was := range []struct {
		what  string
		armed ha.Members // by the other member's last life
		keys  int
	}{
		{"had not taken it over", 0, 0},
		{"may have taken it over", ha.MembersOf(0), 1},
	} {
		t.Run("the other member "+was.what, func(t *testing.T) {
			g := outlived(t, was.armed, ipsec.Sequence{Next: 35, Ceiling: ipsec.LeaseSize})
			if st, _ := g.nodes[0].Tunnel(tunnel); !st.Owned || len(st.Children) != 1 {
				t.Fatalf("Member 0 should go on with its tunnel, it has %+v.", st)
			}
			g.step(0, ha.LeaseLow{SA: out.ID})
			g.pass(time.Second)
			asked, raised := map[ipsec.SAID]bool{}, 0
			for _, rd := range g.take(0) {
				for _, r := range rd.Rekey {
					asked[r.Child] = r.Why == ha.HolderForgot
				}
				for _, o := range rd.Orders {
					for _, ch := range o.Changes {
						if ch.ID == out.ID && ch.Sequence != nil && ch.Sequence.Ceiling > ipsec.LeaseSize {
							raised++
						}
					}
				}
			}
			if len(asked) != was.keys || was.keys > 0 && !asked[in.ID] {
				t.Errorf("New keys were asked for %v, want it for %d pairs because a member may have forgotten what it sent.", asked, was.keys)
			}
			if wants := 1 - was.keys; raised != wants {
				t.Errorf("The dataplane was given more numbers %d times, want %d.", raised, wants)
			}
		})
	}
}

// TestSpentPairOfTheLastLifeIsSpent: its dataplane was put at the end of the numbers, and
// is there still. It gets none, and new keys as often as it asks.
func TestSpentPairOfTheLastLifeIsSpent(t *testing.T) { // B6, I2
	const last = 1<<32 - 1
	in, out := pair()
	g := outlived(t, 0, ipsec.Sequence{Next: last, Ceiling: last - 1})
	for i := range 2 {
		g.step(0, ha.LeaseLow{SA: out.ID})
		g.pass(time.Second)
		sends, why, _ := g.asked(0)
		if len(sends) != 0 {
			t.Errorf("Request %d: a pair without numbers was given %v.", i, sends)
		}
		if len(why) == 0 || why[0] != ha.Exhausted {
			t.Errorf("Request %d: new keys for %v were asked for because %v, want %v.", i, in.ID, why, ha.Exhausted)
		}
	}
}

// TestTunnelOfTheLastLifeMayHaveEnded: while our daemon was away, another member took the
// tunnel over, sent with the numbers above ours, and ended it. Whether it is
// there when we go on with the tunnel or meets us later, it is asked before we send above
// ours; and it grants nothing, and tells us of the end.
func TestTunnelOfTheLastLifeMayHaveEnded(t *testing.T) { // B6, I1, I2, I8
	for what, c := range map[string]struct{ final, parted bool }{
		"there, and the peer does not know of the end": {},
		"there, and the peer knows of the end":         {final: true},
		"met later":                                    {final: true, parted: true},
	} {
		g := gather(t, 2)
		g.establish()
		epoch, _ := g.nodes[0].EpochOf(tunnel)
		g.deaf = ha.MembersOf(0)
		g.pass(500 * time.Millisecond)
		g.step(1, ha.Activated{Tunnel: tunnel, Group: 0})
		g.step(1, ha.Delete{Tunnel: tunnel, Final: c.final})

		n, err := ha.New(ha.Config{Member: 0, Members: ha.MembersOf(0, 1)}, ha.HardState{Disk: 1, Life: 1, Count: epoch.Count()})
		if err != nil {
			t.Fatalf("The next life was not made: %v.", err)
		}
		g.nodes[0] = n
		g.take(0)
		g.inherits(epoch, ipsec.Sequence{Next: ipsec.LeaseSize, Ceiling: ipsec.LeaseSize})
		g.step(0, ha.Configure{Classes: map[string]uint64{"dialup": 1}})
		if c.parted {
			g.pass(2 * time.Second)
		}
		g.deaf = 0
		g.pass(2 * time.Second)

		if resumed := g.nodes[0].Stats().Resumed; resumed != 1 {
			t.Fatalf("The other one is %s: member 0 went on with %d tunnels, so this shows nothing.", what, resumed)
		}
		if sends, _, _ := g.asked(0); len(sends) != 0 {
			t.Errorf("The other one is %s: member 0 was given %v, of which it may have used some.", what, sends)
		}
		if owners := g.owners(); len(owners) != 0 {
			t.Errorf("The other one is %s: the tunnel came back, and is owned by %v.", what, owners)
		}
	}
}
