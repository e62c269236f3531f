package engine

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/offload"
)

// loseEvents drops what the dataplane has noticed and lets the member take stock.
func (m *member) loseEvents() {
	m.plane.Drain()
	m.takeStock()
}

// resetPlane replaces the dataplane by an empty one.
func (m *member) resetPlane(boot uint32) {
	m.g.t.Helper()
	m.stepReplica(Node{ha.Plane{Up: false}})
	m.plane.Reset()
	m.configure(boot)
	m.loseEvents()
	m.g.deliver()
}

func (m *member) takeStock() { m.stepReplica(Inventoried{m.inventory()}) }

func TestStandbySAsComeBackAfterAReset(t *testing.T) { // B6
	g := newGroup(t, 2)
	before := g.dial()
	a, b := g.members[0], g.members[1]
	in, out := a.tunnels()[0].Children[0].In.SA.ID, a.tunnels()[0].Children[0].Out.SA.ID
	b.resetPlane(2)
	if r := b.roles(); r[offload.Standby] != 2 {
		t.Fatalf("after the reset the standby's dataplane holds %v, want two SAs that stand by", r)
	}
	if !b.routes[clientNet] {
		t.Error("after the reset packets for the client should still be routed into the standby's dataplane") // F9
	}
	g.pass(time.Second)
	a.dead = true
	g.pass(500 * time.Millisecond)
	b.resetPlane(3) // this time it was armed
	g.router = 1
	if err := b.plane.Inbound(in, 1); err != nil {
		t.Fatalf("the client's packet is refused: %v", err)
	}
	pkt, err := b.plane.Outbound(out)
	if err != nil || pkt.Seq <= 2*ipsec.LeaseSize {
		t.Errorf("the survivor sends number %#x (%v), want one above what the dataplane before may have sent, %#x", pkt.Seq, err, 2*ipsec.LeaseSize)
	}
	g.deliver()
	g.pass(time.Second)
	if ts := b.tunnels(); len(ts) != 1 || ts[0].IKE.SPIi != before.IKE.SPIi {
		t.Errorf("the survivor has %+v, want the client's tunnel", ts)
	}
}

func TestOwnersSAsComeBackAfterAReset(t *testing.T) { // B6, I2
	g := newGroup(t, 2)
	g.dial()
	a, b := g.members[0], g.members[1]
	out := a.tunnels()[0].Children[0].Out.SA.ID
	a.resetPlane(2)
	g.pass(time.Second)
	pkt, err := a.plane.Outbound(out)
	if err != nil {
		g.deliver() // it asks for more numbers
		g.pass(time.Second)
		pkt, err = a.plane.Outbound(out)
	}
	if err != nil || pkt.Seq <= ipsec.LeaseSize {
		t.Errorf("the owner sends number %#x (%v), want one above the lease that was used, %#x", pkt.Seq, err, ipsec.LeaseSize)
	}
	if n := len(b.tunnels()); n != 0 {
		t.Errorf("the other member owns %d tunnels, want none: no packet went there", n)
	}
}

func TestLostEventsCostNoStandby(t *testing.T) { // B5
	g := newGroup(t, 2)
	g.dial()
	b := g.members[1]
	b.loseEvents()
	g.deliver()
	if r := b.roles(); r[offload.Standby] != 2 {
		t.Errorf("the standby's dataplane holds %v, want two SAs that stand by", r)
	}
}

func TestTakeoverIsSeenAlthoughItsEventWasLost(t *testing.T) { // F5
	g := newGroup(t, 2)
	g.dial()
	a, b := g.members[0], g.members[1]
	in := a.tunnels()[0].Children[0].In.SA.ID
	a.dead = true
	g.pass(500 * time.Millisecond)
	if err := b.plane.Inbound(in, 1); err != nil {
		t.Fatal(err)
	}
	b.loseEvents()
	g.deliver()
	g.pass(time.Second)
	if n := len(b.tunnels()); n != 1 {
		t.Errorf("the survivor owns %d tunnels, want the one that started in its dataplane", n)
	}
}

func TestTunnelIsTakenFromAMemberWithoutDataplane(t *testing.T) { // F5
	g := newGroup(t, 2)
	g.dial()
	a, b := g.members[0], g.members[1]
	in := a.tunnels()[0].Children[0].In.SA.ID
	a.stepReplica(Node{ha.Plane{Up: false}})
	g.deliver()
	g.pass(200 * time.Millisecond)
	if err := b.plane.Inbound(in, 1); err != nil {
		t.Fatal(err)
	}
	g.deliver()
	g.pass(time.Second)
	a.resetPlane(2)
	g.pass(time.Second)
	if n, m := len(a.tunnels()), len(b.tunnels()); n != 0 || m != 1 {
		t.Errorf("the members own %d and %d tunnels, want 0 and 1", n, m)
	}
	if r := a.roles(); r[offload.Standby] != 2 {
		t.Errorf("the dataplane that came back holds %v, want two SAs that stand by", r)
	}
}

// freezeInATakeover has the second member claim the client's tunnel with a dataplane
// that does not answer.
func (g *group) freezeInATakeover() {
	g.t.Helper()
	a, b := g.members[0], g.members[1]
	a.dead, b.frozen = true, true
	g.pass(ha.DefaultAdoptAfter + 10*time.Second)
	if st := b.replica.node.Stats(); st.Claims != 1 || len(b.tunnels()) != 0 {
		g.t.Fatalf("the survivor claimed %d tunnels and runs %d, want one claimed that waits for the dataplane", st.Claims, len(b.tunnels()))
	}
}

func TestClaimedSAsComeBackAfterAReset(t *testing.T) { // F5, B6
	g := newGroup(t, 2)
	g.dial()
	b := g.members[1]
	g.freezeInATakeover()
	b.resetPlane(2) // what was ordered before finds nothing here
	b.thaw()
	g.deliver()
	if r := b.roles(); r[offload.Active] != 2 {
		t.Errorf("the dataplane that came meanwhile holds %v, want the two SAs of the tunnel, active", r)
	}
	if n := len(b.tunnels()); n != 1 {
		t.Errorf("the survivor runs %d tunnels, want the one that it claimed", n)
	}
}

func TestLostEventsCostNoSAsThatWereClaimed(t *testing.T) { // F5, B5
	g := newGroup(t, 2)
	g.dial()
	b := g.members[1]
	g.freezeInATakeover()
	b.loseEvents() // no shard knows the tunnel yet
	b.thaw()
	g.deliver()
	if r := b.roles(); r[offload.Active] != 2 || len(b.tunnels()) != 1 {
		t.Errorf("the dataplane holds %v and %d tunnels run, want two active SAs of one", r, len(b.tunnels()))
	}
}
