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
