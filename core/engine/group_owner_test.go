package engine

import (
	"net/netip"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
)

// takeOver lets the second member take the client's tunnel from the first one.
func (g *group) takeOver() {
	g.t.Helper()
	a, b := g.members[0], g.members[1]
	in := a.tunnels()[0].Children[0].In.SA.ID
	a.dead, g.router = true, 1
	g.pass(500 * time.Millisecond)
	if err := b.plane.Inbound(in, 1<<20); err != nil {
		g.t.Fatalf("the client's packet is refused: %v", err)
	}
	g.deliver()
	g.pass(time.Second)
	if n := len(b.tunnels()); n != 1 {
		g.t.Fatalf("the second member owns %d tunnels, want the client's", n)
	}
}

func TestMessagesFindTheOwnerAfterARekeyingAndATakeover(t *testing.T) { // F9
	g := newGroup(t, 3)
	g.dial()
	g.client.step(Rekey{Name: "office", IKE: true})
	g.deliver()
	g.pass(time.Second)
	g.takeOver()
	before := g.client.only().Children[0].In.SA.ID
	g.router = 2 // a member that never owned the tunnel
	g.client.step(Rekey{Name: "office"})
	g.deliver()
	g.pass(10 * time.Second)
	if after := g.client.only().Children[0].In.SA.ID; after == before {
		t.Error("the client's message did not find the new owner by the new SPI")
	}
}

func TestRoutesGoWhenATunnelWasRemovedMeanwhile(t *testing.T) { // C13
	g := newGroup(t, 2)
	g.dial()
	g.takeOver()
	g.client.step(Down{Name: "office"})
	g.deliver()
	g.pass(time.Second)
	a := g.members[0]
	a.dead = false // it was only cut off, and takes the tunnel for its own
	g.pass(5 * time.Second)
	if len(a.routes) != 0 || len(a.inventory()) != 0 {
		t.Errorf("the former owner still has routes %v and %d SAs of a tunnel that is no more", a.routes, len(a.inventory()))
	}
}

func TestFormerOwnerIsSilent(t *testing.T) { // B5
	g := newGroup(t, 2)
	g.dial()
	g.takeOver()
	a, b := g.members[0], g.members[1]
	id := b.tunnels()[0].ID
	a.dead = false
	g.pass(5 * time.Second)
	a.out = nil
	late := ike.Datagram{Local: netip.AddrPortFrom(serverAddr, 500), Remote: netip.AddrPortFrom(clientAddr, 500), Payload: []byte("late")}
	a.stepReplica(Published{Publication{Tunnel: id, Send: []ike.Datagram{late}}})
	if len(a.out) != 0 {
		t.Errorf("the former owner sends %d messages that its shard had made before it knew, want none", len(a.out))
	}
}

func TestWhatWasNotTakenAnyMoreIsPutAway(t *testing.T) {
	g := newGroup(t, 2)
	g.dial()
	g.takeOver()
	a, b := g.members[0], g.members[1]
	id, kept := b.tunnels()[0].ID, b.tunnels()[0].Children[0].In.SA
	a.dead = false
	g.pass(5 * time.Second)
	stray := kept
	stray.ID.SPI++
	if _, err := a.plane.Install(t.Context(), offload.Epoch(a.replica.node.Epoch()), offload.Active, stray); err != nil {
		t.Fatal(err)
	}
	a.stepReplica(Published{Publication{Tunnel: id, Left: &Left{SAs: []ipsec.SAID{kept.ID, stray.ID}}}})
	if n := len(a.inventory()); n != 2 {
		t.Errorf("the former owner's dataplane holds %d SAs, want the two that stand by", n)
	}
}

func TestPairsComeBeforeTheStateThatSpeaksOfThem(t *testing.T) { // B2, I6
	g := newGroup(t, 2)
	g.dial()
	a := g.members[0]
	g.client.step(Rekey{Name: "office"})
	for _, dg := range g.client.out {
		a.step(Packets{Datagrams: []ike.Datagram{{Local: dg.Remote, Remote: dg.Local, Payload: dg.Payload}}})
	}
	var order []string
	for _, f := range a.frames {
		for _, r := range f.Records {
			switch r.(type) {
			case ha.PutIKE:
				order = append(order, "state")
			case ha.PutChild:
				order = append(order, "pair")
			}
		}
	}
	if len(order) < 2 || order[0] != "pair" || order[1] != "state" {
		t.Errorf("the other member hears %v, want the new pair and then the state", order)
	}
}

func TestTunnelComesToLifeBehindItsOrders(t *testing.T) {
	g := newGroup(t, 2)
	g.dial()
	a, b := g.members[0], g.members[1]
	id := a.tunnels()[0].ID
	a.dead = true
	g.pass(500 * time.Millisecond)
	rd := b.replica.Step(g.now, Noticed{offload.Activated{Tunnel: id, Group: 1}})
	for _, s := range rd.Shards {
		if _, ok := s.Input.(Restore); ok {
			t.Error("the tunnel comes to life before its dataplane has carried out the orders")
		}
	}
	if len(rd.Orders) == 0 {
		t.Fatal("the claim orders nothing of the dataplane")
	}
	rd = b.replica.Step(g.now, Node{ha.Carried{Serial: rd.Serial}})
	if len(rd.Shards) == 0 {
		t.Fatal("the tunnel does not come to life")
	}
	if _, ok := rd.Shards[0].Input.(Restore); !ok {
		t.Errorf("the shard gets %T first, want Restore", rd.Shards[0].Input)
	}
}

func TestTunnelThatIsLostBeforeItComesToLifeStaysAway(t *testing.T) { // B5
	g := newGroup(t, 2)
	g.dial()
	a, b := g.members[0], g.members[1]
	id := a.tunnels()[0].ID
	a.dead = true
	g.pass(500 * time.Millisecond)
	rd := b.replica.Step(g.now, Noticed{offload.Activated{Tunnel: id, Group: 1}})
	b.replica.onLost(id)
	for _, s := range b.replica.Step(g.now, Node{ha.Carried{Serial: rd.Serial}}).Shards {
		if _, ok := s.Input.(Restore); ok {
			t.Error("a tunnel that was lost meanwhile comes to life")
		}
	}
}
