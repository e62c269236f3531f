package engine

import (
	"net/netip"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/offload"
)

// newUnit is two members that are one gateway; the first one is its primary.
func newUnit(t *testing.T) *group {
	t.Helper()
	g := assemble(&group{unit: true}, t, 2, dialupClient())
	g.wantPrimary(0)
	return g
}

func (g *group) wantPrimary(want int) {
	g.t.Helper()
	for i, m := range g.members {
		st, _ := m.replica.node.UnitStatus(g.now)
		if !m.dead && (!st.Settled || st.Primary != g.members[want].id || m.shard.resting != (i != want)) {
			g.t.Fatalf("member %s takes %d for the primary (settled: %v), and rests: %v; want %d", m.name, st.Primary, st.Settled, m.shard.resting, g.members[want].id)
		}
	}
}

// saysNothing fails the test when a member says something to the client from now on.
func (m *member) saysNothing(why string) {
	m.heard = func([]byte) { m.g.t.Errorf("%s: member %s sends to the client", why, m.name) }
}

func TestSubordinateAnswersNobody(t *testing.T) {
	g := newUnit(t)
	a, b := g.members[0], g.members[1]
	b.saysNothing("a subordinate")
	g.router = 1
	g.client.step(Reload{g.client.shard.policy.Policy})
	g.deliver()
	g.pass(time.Second)
	if st := b.shard.Stats(); st.Rested == 0 || len(b.tunnels()) != 0 {
		t.Errorf("the subordinate passed over %d messages and has %d tunnels, want some and none", st.Rested, len(b.tunnels()))
	}
	g.router = 0
	g.pass(time.Minute) // the client tries again
	if n := len(a.tunnels()); n != 1 {
		t.Fatalf("the primary has %d tunnels, want the client's", n)
	}
	g.router = 1
	g.client.step(Rekey{Name: "office"}) // to the subordinate, which leads it to the owner
	g.deliver()
	g.pass(10 * time.Second)
	if b.replica.Stats().RelayedTo == 0 || len(g.client.only().Children) != 1 {
		t.Errorf("the client's message was not led to the primary: %+v", b.replica.Stats())
	}
}

// TestPrimaryThatStepsBackSaysNoMore: it neither speaks to peers from then on, nor sends
// their traffic once the next primary has claimed it; until then it does.
func TestPrimaryThatStepsBackSaysNoMore(t *testing.T) { // I7
	g := newUnit(t)
	before := g.dial()
	a, b := g.members[0], g.members[1]
	out := a.tunnels()[0].Children[0].Out.SA.ID
	a.saysNothing("after it stepped back")
	a.stepReplica(Node{ha.Yield{On: true}})
	if _, err := a.plane.Outbound(out); err != nil {
		t.Errorf("its dataplane does not go on until the next primary has claimed the tunnel: %v", err)
	}
	g.client.step(Rekey{Name: "office"}) // still comes to the old primary
	g.deliver()
	g.router = 1
	g.pass(time.Second)
	g.wantPrimary(1)
	if _, err := a.plane.Outbound(out); err == nil {
		t.Error("the old primary's dataplane sends still")
	}
	if n, m := len(a.tunnels()), len(b.tunnels()); n != 0 || m != 1 {
		t.Errorf("the tunnel is at the old primary %d times and at the new one %d times", n, m)
	}
	g.pass(30 * time.Second) // the client repeats its request
	after := g.client.only()
	if after.ID != before.ID || len(after.Children) != 1 || after.Children[0].In.SA.ID == before.Children[0].In.SA.ID {
		t.Errorf("the new primary did not answer what the old one left unanswered: %+v", after)
	}
}

// caller is a unit's connection that it keeps up, answers the peer that waits.
func caller() *Connection {
	c := dialupServer()
	c.Connection.Remote, c.Dialup, c.AutoNegotiate = clientAddr, false, []string{"lan"}
	return c
}

func TestOnlyThePrimaryCalls(t *testing.T) {
	waits := dialupClient()
	waits.AutoNegotiate = nil
	g := assemble(&group{unit: true, serves: caller}, t, 2, waits)
	g.wantPrimary(0)
	a, b := g.members[0], g.members[1]
	for _, m := range g.members {
		m.step(Reload{m.shard.policy.Policy})
	}
	b.saysNothing("a subordinate")
	g.deliver()
	g.pass(5 * time.Second)
	called := g.client.only()
	if b.step(Up{Name: "vpn1"}); len(b.tunnels()) != 0 {
		t.Error("the operator made the subordinate call")
	}

	b.heard = nil
	a.dead = true
	g.router = 1
	g.pass(10 * time.Second)
	g.wantPrimary(1)
	if after := g.client.only(); after.ID != called.ID {
		t.Errorf("the new primary called again: %+v", after)
	}
	g.client.step(Down{Name: "office"})
	g.deliver()
	g.pass(10 * time.Second)
	if again := g.client.only(); again.ID == called.ID || len(again.Children) != 1 {
		t.Errorf("the new primary did not call again when the tunnel was lost: %+v", again)
	}
}

// TestUnitWithoutPickupBeginsAnew: what subordinates do not hold ends with the primary,
// there at once, and the next one calls the peer anew.
func TestUnitWithoutPickupBeginsAnew(t *testing.T) {
	waits := dialupClient()
	waits.AutoNegotiate = nil
	g := assemble(&group{unit: true, serves: caller}, t, 2, waits)
	g.wantPrimary(0)
	a, b := g.members[0], g.members[1]
	for _, m := range g.members {
		m.shard.policy.Connection("vpn1").Sync = false
		m.stepReplica(Reconfigured{Policy: m.shard.policy.Policy})
		m.step(Reload{m.shard.policy.Policy})
	}
	g.deliver()
	g.pass(5 * time.Second)
	first := a.tunnels()
	if len(first) != 1 || len(b.inventory()) != 0 {
		t.Fatalf("the primary has %d tunnels and the subordinate %d SAs, want one and none", len(first), len(b.inventory()))
	}
	g.router = 1
	a.stepReplica(Node{ha.Yield{On: true}})
	a.saysNothing("after it stepped back")
	g.pass(10 * time.Second)
	g.wantPrimary(1)
	if n, m := len(a.tunnels()), len(a.inventory()); n != 0 || m != 0 {
		t.Errorf("the old primary has %d tunnels and %d SAs still", n, m)
	}
	if again := b.tunnels(); len(again) != 1 || again[0].ID == first[0].ID || len(again[0].Children) != 1 {
		t.Errorf("the new primary did not call anew: %+v", again)
	}
}

func TestPathMTUIsForgottenOnDemand(t *testing.T) { // C14-C16
	for _, forget := range []bool{false, true} {
		g := newUnit(t)
		a, b := g.members[0], g.members[1]
		a.replica.forgetMTU, b.replica.forgetMTU = forget, forget
		g.dial()
		pair := a.tunnels()[0].Children[0]
		out := pair.Out.SA.ID
		a.stepReplica(Noticed{offload.MTUChanged{ID: out, MTU: 1400}})
		g.deliver()
		want := map[bool]uint16{false: 1400, true: cold(pair.Out.SA)}[forget]
		if got := b.pathMTU(out); got != want {
			t.Errorf("forget %v: a standby has the path MTU %d, want %d", forget, got, want)
		}
		a.dead = true
		g.router = 1
		g.pass(time.Second)
		g.wantPrimary(1)
		if want := map[bool]uint16{false: 1400}[forget]; b.pathMTU(out) != want {
			t.Errorf("forget %v: a tunnel at work has the path MTU %d, want %d", forget, b.pathMTU(out), want)
		}
	}
}

func (m *member) pathMTU(id ipsec.SAID) uint16 {
	for _, c := range m.inventory() {
		if c.ID == id {
			return c.PathMTU
		}
	}
	m.g.t.Fatalf("member %s does not have SA %v", m.name, id)
	return 0
}

func TestColdPathHasRoomForTheDefault(t *testing.T) { // C14: "the default MTU of 1024"
	for _, a := range []ipsec.Algorithms{
		{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA1_96},
		{Encryption: ipsec.EncrAESGCM16, KeyBits: 128},
	} {
		for _, sa := range []ipsec.SA{
			{Algorithms: a, Remote: netip.MustParseAddr("192.0.2.1")},
			{Algorithms: a, Remote: netip.MustParseAddr("2001:db8::1"), Encap: &ipsec.Encap{}},
		} {
			header := 20
			if sa.Remote.Is6() {
				header = 40 + 8
			}
			room := int(cold(sa)) - header - 8 - a.IVLen() - a.ICVLen()
			block := max(4, a.BlockLen())
			if inner := room - room%block - 2; inner < 1024 || inner >= 1024+block {
				t.Errorf("%v to %v: the largest inner packet has %d octets, want 1024, or what fills the block", a, sa.Remote, inner)
			}
		}
	}
}

// TestPairThatASubordinateMayNotHoldGetsNewKeys: a member that comes back from a life
// that may have sent on a pair must not hold it, so the primary makes a new one; if it
// dies before that is done, so does the next primary.
func TestPairThatASubordinateMayNotHoldGetsNewKeys(t *testing.T) { // I1, B7
	for _, answered := range []bool{false, true} {
		g := newUnit(t)
		g.dial()
		a, b := g.members[0], g.members[1]
		died, spoke := g.now, time.Hour
		lost := g.client.only().Children[0].In.SA.ID
		g.gone = true // so that the rekeying does not come to its end
		again := g.member(b.id, ha.MembersOf(a.id, b.id))
		hard := b.saved
		hard.Armed = hard.Armed.With(a.id)
		node, err := ha.New(ha.Config{Group: 1, Member: b.id, Members: ha.MembersOf(a.id, b.id), Unit: &ha.Unit{Serial: "2"}}, hard)
		if err != nil {
			t.Fatal(err)
		}
		again.replica = NewReplica(node, b.id, b.shard.policy.Policy, nil, b.replica.log)
		g.members[1] = again
		again.stepReplica(Reconfigured{Policy: b.shard.policy.Policy})
		g.pass(3 * time.Second)
		if st, ok := node.Tunnel(a.tunnels()[0].ID); !ok || len(st.Children) != 0 {
			t.Fatalf("the subordinate's copy is %v, %+v; want one without the pair", ok, st)
		}
		g.gone = false
		die := func([]byte) { a.dead, g.router, died = true, 1, g.now }
		again.heard = func([]byte) { spoke = min(spoke, g.now.Sub(died)) }
		if answered {
			a.heard = die // it asks again, and does not hear the answer
		} else {
			die(nil)
		}
		g.pass(30 * time.Second)
		g.wantPrimary(1)
		if spoke > time.Second {
			t.Errorf("the client answered the old primary: %v; the new one spoke to it after %v", answered, spoke)
		}
		if after := g.client.only(); after.Children[0].In.SA.ID == lost || len(again.tunnels()) != 1 || len(again.tunnels()[0].Children) != 1 {
			t.Errorf("the client answered the old primary: %v; it has %+v, and the new primary %+v", answered, after.Children, again.tunnels())
		}
	}
}
