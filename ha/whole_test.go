package ha_test

import (
	"slices"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// An owner that was thought dead for a moment begins to tell everything anew. When
// it dies before it has done so, the copies of before are followed (I4).
func TestOwnerDiesWhileItTellsEverythingAnew(t *testing.T) { // F5
	g := gather(t, 2)
	g.establish()
	g.deaf = ha.MembersOf(0)
	g.pass(time.Second)
	g.deaf = 0
	g.lose = func(f ha.Frame) bool {
		return f.From == 0 && slices.ContainsFunc(f.Records, func(r ha.Record) bool { _, is := r.(ha.Synced); return is })
	}
	g.pass(time.Second)
	if p := g.nodes[1].Peers()[0]; !p.Alive || p.Complete || p.Armed {
		t.Fatalf("The owner is not back and half synced: %+v.", p)
	}
	g.take(1)
	g.deaf = ha.MembersOf(0)
	g.pass(time.Second)
	if got := orders(g.take(1), 0); !slices.Equal(got, []ha.OrderKind{ha.Arm}) {
		t.Errorf("After the death the survivor ordered %v, not to arm.", got)
	}
	g.step(1, ha.Activated{Tunnel: tunnel, Group: 0})
	if st, _ := g.nodes[1].Tunnel(tunnel); !st.Owned {
		t.Error("The first packet did not make the tunnel the survivor's.")
	}
}

// What a new configuration does not concern stays in the dataplane.
func TestReloadKeepsTheCopiesOfOtherConnections(t *testing.T) { // F6
	g := gather(t, 2)
	g.establish()
	for _, classes := range []map[string]uint64{{"dialup": 1, "branch": 5}, {"dialup": 1, "branch": 6}, {"dialup": 1}} {
		for m := range ipsec.MemberID(2) {
			g.step(m, ha.Configure{Classes: classes})
		}
		g.pass(time.Second)
		for _, rd := range g.take(1) {
			for _, o := range rd.Orders {
				if o.Kind == ha.Discard {
					t.Errorf("With %v the standby discarded %v.", classes, o.IDs)
				}
			}
		}
	}
	for m := range ipsec.MemberID(2) {
		g.step(m, ha.Configure{Classes: map[string]uint64{"dialup": 2}})
	}
	g.pass(time.Second)
	if got := g.take(1); !slices.ContainsFunc(got, func(rd ha.Ready) bool {
		return slices.ContainsFunc(rd.Orders, func(o ha.Order) bool { return o.Kind == ha.Discard })
	}) {
		t.Error("A standby kept its copy although the connection has changed.")
	}
}

// The goodbye of a member may overtake its last news: it is not followed on copies
// that are older than what its peers know.
func TestGoodbyeWaitsForTheLastNews(t *testing.T) { // B2
	g := gather(t, 2)
	g.establish()
	var late []ha.Frame
	g.lose = func(f ha.Frame) bool {
		if f.From == 0 && len(f.Records) > 0 {
			late = append(late, f)
			return true
		}
		return false
	}
	g.step(0, ha.StoreIKE{Tunnel: tunnel, IKE: ha.IKE{Class: "dialup", State: ipsec.NewKey([]byte("ike 2"))}, Heard: true})
	g.step(0, ha.Leave{})
	g.pass(60 * time.Millisecond)
	if got := orders(g.take(1), 0); got != nil {
		t.Errorf("Before it had the last news the survivor ordered %v.", got)
	}
	g.lose = nil
	for _, f := range late {
		g.step(1, ha.Received{Frame: f})
	}
	g.pass(60 * time.Millisecond)
	if got := orders(g.take(1), 0); !slices.Equal(got, []ha.OrderKind{ha.Arm}) {
		t.Errorf("After the last news the survivor ordered %v, not to arm.", got)
	}
	g.step(1, ha.Activated{Tunnel: tunnel, Group: 0})
	if got := g.state(1); got != "ike 2" {
		t.Errorf("The survivor goes on with %q.", got)
	}
}

// A member that dies while another joins, and has given it everything, is followed
// when that one has joined.
func TestOwnerDiesWhileAnotherJoins(t *testing.T) { // F5
	g := gather(t, 3)
	g.establish()
	n, err := ha.New(ha.Config{Member: 1, Members: ha.MembersOf(0, 1, 2)}, ha.HardState{Disk: 2, Life: 1, Count: 5})
	if err != nil {
		t.Fatal(err)
	}
	g.deaf = ha.MembersOf(2) // for which the joining one waits
	g.nodes[1] = n
	g.step(1, ha.Configure{Classes: map[string]uint64{"dialup": 1}})
	g.pass(time.Second)
	if n.Role() != ha.Syncing || !n.Peers()[0].Complete {
		t.Fatalf("The joining member is %v, and has %+v.", n.Role(), n.Peers()[0])
	}
	g.deaf = ha.MembersOf(0, 2)
	g.pass(3 * time.Second)
	g.step(1, ha.Activated{Tunnel: tunnel, Group: 0})
	if st, _ := n.Tunnel(tunnel); !st.Owned {
		t.Errorf("The tunnel is not the survivor's: %+v, %+v.", st, n.Peers()[0])
	}
}

// A dataplane of which it is not known how it makes its nonces sends nothing on what
// it takes over: that gets new keys (I1).
func TestUnknownNoncesAreNeverUsed(t *testing.T) { // B1
	g := gather(t, 2, func(c *ha.Config) {
		if c.Member == 1 {
			c.Nonces = ha.UnknownNonces
		}
	})
	g.establish()
	g.deaf = ha.MembersOf(0)
	g.pass(time.Second)
	g.step(1, ha.Activated{Tunnel: tunnel, Group: 0})
	g.pass(time.Second)
	var rekeys []ha.Rekey
	for _, rd := range g.take(1) {
		rekeys = append(rekeys, rd.Rekey...)
		for _, o := range rd.Orders {
			for _, c := range o.Changes {
				if c.Sequence != nil && c.Sequence.Next <= c.Sequence.Ceiling {
					t.Errorf("An order lets %v send numbers %d to %d.", c.ID, c.Sequence.Next, c.Sequence.Ceiling)
				}
			}
		}
	}
	if len(rekeys) != 1 || rekeys[0].Why != ha.NoNonces {
		t.Errorf("The takeover asked for new keys %v, not once for the want of nonces.", rekeys)
	}
}

// What was installed before the dataplane told how it makes its nonces begins anew
// in it.
func TestDataplaneTellsOfItsNonces(t *testing.T) { // B1
	g := gather(t, 2, func(c *ha.Config) { c.Nonces = ha.UnknownNonces })
	g.establish()
	g.step(1, ha.Keeps{Nonces: ha.SequenceNonces})
	var seq []ipsec.Sequence
	for _, rd := range g.take(1) {
		for _, o := range rd.Orders {
			for _, sa := range o.SAs {
				if sa.Direction == ipsec.Outbound {
					seq = append(seq, sa.Sequence)
				}
			}
		}
	}
	slice := uint64(ipsec.LeaseSize / ipsec.MaxMembers)
	want := ipsec.Sequence{Next: ipsec.LeaseSize + slice + 1, Ceiling: ipsec.LeaseSize + 2*slice}
	if len(seq) != 1 || seq[0].Next != want.Next || seq[0].Ceiling != want.Ceiling {
		t.Errorf("The outbound SA was put back with %+v, not with member 1's slice, %+v.", seq, want)
	}
}
