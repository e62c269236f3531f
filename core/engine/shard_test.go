package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/mem"
)

func TestDialupInstanceIsNamedRoutedAndForgotten(t *testing.T) { // F1, C10, C12, C13
	p := newPair(t)
	client, server := p.dial()
	if server.Name != "vpn1_0" || client.Name != "office" {
		t.Errorf("the tunnel is %q at the server and %q at the client, want vpn1_0 and office", server.Name, client.Name)
	}
	if !p.server.routes[clientNet] || len(p.server.routes) != 1 {
		t.Errorf("the server routes %v into tunnels, want %v alone", p.server.routes, clientNet)
	}
	p.server.wantSAs(2)

	p.client.step(Down{Name: "office"})
	p.deliver()
	if len(p.server.routes) != 0 {
		t.Errorf("the server still routes %v after the delete", p.server.routes)
	}
	p.server.wantSAs(0)
	p.client.wantSAs(0)
}

func TestPeerHearsOfAnSAOnlyOnceItWorks(t *testing.T) {
	p := newPair(t)
	p.server.onSend = func(ike.Datagram) {
		// Only the IKE_AUTH response leaves an established tunnel here.
		if ts := p.server.shard.Tunnels(p.now); ts[0].Name != "" {
			if n := len(p.server.inventory()); n != 2 {
				t.Errorf("the response leaves with %d SAs in the dataplane, want 2", n)
			}
			if !p.server.routes[clientNet] {
				t.Error("the response leaves before the route is there")
			}
		}
	}
	p.dial()
}

func TestTunnelWaitsForTheDataplaneAndOthersGoOn(t *testing.T) {
	p := newPair(t)
	p.server.hold = true
	p.client.step(Reload{p.client.shard.policy.Policy})
	p.deliver()
	if n := len(p.server.held); n != 1 {
		t.Fatalf("%d operations wait for the dataplane, want one Install", n)
	}
	// The client hears nothing and repeats itself: the tunnel stays where it is.
	p.pass(2 * time.Second)
	if n := len(p.server.held); n != 1 {
		t.Errorf("retransmissions made it %d operations", n)
	}
	another := dialupClient()
	another.LocalID = ike.Identity{Type: ike.IDFQDN, Data: "another.example"}
	other := p.gateway("other client", 3, another)
	p.client, other = other, p.client
	p.client.step(Reload{p.client.shard.policy.Policy})
	p.deliver()
	if n := len(p.server.held); n != 2 {
		t.Errorf("a second client brought it to %d operations, want 2: the first one's wait must not stop it", n)
	}
	p.client = other
	p.server.release()
	p.deliver()
	p.server.wantSAs(4)
}

func TestRefusedSAEndsTheNegotiationAndNothingElse(t *testing.T) { // B7
	p := newPair(t)
	p.server.plane.Inject(mem.CallInstall, mem.Fail(offload.ErrExhausted))
	p.client.step(Reload{p.client.shard.policy.Policy})
	p.deliver()
	p.server.wantSAs(0)
	p.client.wantSAs(0)
	if len(p.server.routes) != 0 {
		t.Errorf("routes %v are there without an SA", p.server.routes)
	}
	if p.server.shard.stats.Refused != 1 {
		t.Errorf("%d refusals were counted, want 1", p.server.shard.stats.Refused)
	}
	p.pass(5 * time.Second) // the client asks again
	p.server.wantSAs(2)
	p.client.wantSAs(2)
}

func TestDataplaneThatLostItsStateGetsItBack(t *testing.T) { // B6
	p := newPair(t)
	before, _ := p.dial()
	in, out := p.server.only().Children[0].In.SA.ID, p.server.only().Children[0].Out.SA.ID
	for seq := uint64(1); seq <= 5; seq++ {
		if err := p.server.plane.Inbound(in, seq); err != nil {
			t.Fatal(err)
		}
		if _, err := p.server.plane.Outbound(out); err != nil {
			t.Fatal(err)
		}
	}
	p.server.step(Checkpoint{p.server.inventory()})
	p.server.plane.Reset()
	p.server.configure(2)
	p.server.step(Inventory{p.server.inventory()})
	p.deliver()
	p.server.wantSAs(2)
	if after := p.client.only(); after.IKE.SPIi != before.IKE.SPIi || after.Children[0].In.SA.ID != before.Children[0].In.SA.ID {
		t.Error("the client has another IKE SA or other SAs than before")
	}
	pkt, err := p.server.plane.Outbound(out)
	if err != nil || pkt.Seq != ipsec.LeaseSize+1 {
		t.Errorf("the new dataplane sends number %d (%v), want %d: above all that the old one may have used", pkt.Seq, err, ipsec.LeaseSize+1)
	}
	if err := p.server.plane.Inbound(in, 5); !errors.Is(err, mem.ErrReplayed) {
		t.Errorf("a packet from before the checkpoint is accepted again: %v", err)
	}
	if err := p.server.plane.Inbound(in, 6); err != nil {
		t.Errorf("the next packet is refused: %v", err)
	}
	if got := p.server.only().Children[0].In.Packets; got != 5 {
		t.Errorf("%d packets are counted over both dataplanes, want 5", got)
	}
}

func TestStraySAsAreDeletedOnReconcile(t *testing.T) {
	p := newPair(t)
	p.dial()
	stray := p.server.only().Children[0].In.SA
	stray.ID.SPI++
	if _, err := p.server.plane.Install(t.Context(), offload.NewEpoch(1, 0), offload.Active, stray); err != nil {
		t.Fatal(err)
	}
	p.server.step(Inventory{p.server.inventory()})
	p.server.wantSAs(2)
}

func TestLeaseIsRaisedAndTheLastOneLeadsToNewKeys(t *testing.T) {
	p := newPair(t)
	p.dial()
	out := p.server.only().Children[0].Out.SA
	next := out.Sequence.Ceiling
	for range 20 {
		p.server.step(PlaneEvent{offload.LeaseLow{ID: out.ID, Next: next}})
		p.deliver()
		p.pass(10 * time.Second) // a replaced inbound SA lingers
		s := p.server.only().Children[0].Out.SA
		if s.ID != out.ID {
			if next < 1<<32-2*ipsec.LeaseSize {
				t.Errorf("new keys were made at number %#x already", next)
			}
			return
		}
		if s.Sequence.Ceiling <= next {
			t.Fatalf("the ceiling is %#x after the dataplane asked for more than %#x", s.Sequence.Ceiling, next)
		}
		next = s.Sequence.Ceiling
	}
	t.Error("the numbers ran out and no new keys were made")
}

func TestReloadClosesOnlyWhatChanged(t *testing.T) {
	p := newPair(t)
	p.dial()
	same, other := dialupServer(), dialupServer()
	other.Connection = connection("vpn2", serverAddr, clientAddr, same.Children[0].Selectors)
	p.server.step(Reload{NewPolicy(same, other)})
	p.deliver()
	p.server.wantSAs(2)
	changed := dialupServer()
	changed.Hash = "another"
	p.server.step(Reload{NewPolicy(changed)})
	p.deliver()
	p.server.wantSAs(0)
}

func TestClientThatLosesItsTunnelDialsAgain(t *testing.T) {
	p := newPair(t)
	first, _ := p.dial()
	p.server.step(Down{Name: "vpn1_0"})
	p.deliver()
	p.client.wantSAs(0)
	p.pass(2 * time.Second)
	if again := p.client.only(); again.ID == first.ID {
		t.Error("the client still has the tunnel that the server closed")
	}
}

// TestTunnelThatIsClosingIsNotAMissedOne: what waits for the answer to its Delete has
// no SAs any more, and is dialed again once, when it is over.
func TestTunnelThatIsClosingIsNotAMissedOne(t *testing.T) {
	p := newPair(t)
	first, _ := p.dial()
	s := p.client.shard
	s.step(p.now, s.tunnels[first.ID], ike.Close{Reason: "a better one is wanted"})
	p.client.out = append(p.client.out, s.rd.Send...)
	p.client.call(s.rd.Plane)
	p.deliver()
	if n := len(s.Tunnels(p.now)); n != 0 {
		t.Fatalf("the client has %d tunnels after it has closed its only one", n)
	}
	if d := s.dial["office"]; d.wait != 2*firstRedial {
		t.Errorf("after one end the next wait is %v, want %v", d.wait, 2*firstRedial)
	}
	p.pass(firstRedial)
	if again := p.client.only(); again.ID == first.ID {
		t.Error("the client has the tunnel that it closed")
	}
}

func TestTunnelThatTheOperatorTookDownStaysDown(t *testing.T) {
	p := newPair(t)
	p.dial()
	p.client.step(Down{Name: "office"})
	p.deliver()
	p.pass(5 * time.Minute)
	p.client.wantSAs(0)
	p.client.step(Up{Name: "office"})
	p.deliver()
	p.client.wantSAs(2)
}

func TestPacketWithoutAnSABringsItUp(t *testing.T) {
	p := newPair(t)
	c := dialupClient()
	c.AutoNegotiate = nil
	p.client.step(Reload{NewPolicy(c)})
	p.client.plane.Acquire(ipsec.SelectorOf(clientNet), ipsec.SelectorOf(serverNet))
	p.deliver()
	p.client.wantSAs(2)
}

func TestRekeyKeepsTheRoute(t *testing.T) {
	p := newPair(t)
	_, before := p.dial()
	p.client.step(Rekey{Name: "office"})
	p.deliver()
	p.pass(10 * time.Second) // the replaced inbound SA lingers
	after := p.server.only()
	if after.Children[0].In.SA.ID == before.Children[0].In.SA.ID {
		t.Error("the server has the same SA after the rekey")
	}
	if !p.server.routes[clientNet] {
		t.Error("the route went with the old SA")
	}
	p.client.step(Rekey{Name: "office", IKE: true})
	p.deliver()
	if s := p.server.only(); s.IKE.SPIi == before.IKE.SPIi || s.Name != before.Name {
		t.Errorf("after the rekey of the IKE SA %v the tunnel is %s with %v", before.IKE.SPIi, s.Name, s.IKE.SPIi)
	}
}

func TestClientThatCameBackReplacesItsOldTunnel(t *testing.T) {
	p := newPair(t)
	_, first := p.dial()
	p.client = p.gateway("client after a crash", 9, dialupClient())
	_, second := p.dial()
	if second.ID == first.ID {
		t.Error("the server still has the tunnel of before the crash")
	}
	p.server.wantSAs(2)
}

func TestDataplaneThatLiesIsNotBelieved(t *testing.T) {
	lies := map[string]func([]offload.Placement) []offload.Placement{
		"answers nothing": func([]offload.Placement) []offload.Placement { return nil },
		"answers for one": func(p []offload.Placement) []offload.Placement { return p[:1] },
		"answers twice":   func(p []offload.Placement) []offload.Placement { return append(p, p...) },
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			p.server.plane.Inject(mem.CallInstall, mem.Lie(lie))
			p.client.step(Reload{p.client.shard.policy.Policy})
			p.deliver()
			p.server.wantSAs(0)
			p.client.wantSAs(0)
			p.pass(5 * time.Second)
			p.server.wantSAs(2)
		})
	}
}

func TestTakeoversOfATunnelAreCountedPastOldSnapshots(t *testing.T) { // B1
	s := newPair(t).server.shard
	const a, b = ipsec.TunnelID(1), ipsec.TunnelID(2)
	for i, c := range []struct {
		id         ipsec.TunnelID
		seen, want uint32
	}{{a, 0, 1}, {a, 0, 2}, {b, 0, 1}, {a, 7, 8}, {a, 3, 9}} {
		if got := s.countTakeover(c.id, c.seen); got != c.want {
			t.Errorf("takeover %d, of tunnel %v whose snapshot says %d, is number %d, want %d", i, c.id, c.seen, got, c.want)
		}
	}
}

// TestTakeoversOfATunnelThatEndedAreCountedOn: it ended here, but another member had it
// already, and gives it to us again with the keys that we have used.
func TestTakeoversOfATunnelThatEndedAreCountedOn(t *testing.T) { // B1
	p := newPair(t)
	_, server := p.dial()
	s := p.server.shard
	first := s.countTakeover(server.ID, 0)
	p.client.step(Down{Name: "office"})
	p.deliver()
	p.server.wantSAs(0)
	if again := s.countTakeover(server.ID, 0); again != first+1 {
		t.Errorf("after takeover %d the tunnel ended and came again as takeover %d", first, again)
	}
	s.takeovers.end(p.now.Add(ha.DefaultTombstoneLife), 1)
	s.takeovers.end(p.now.Add(ha.DefaultTombstoneLife+time.Second), 1)
	if n := len(s.takeovers.counts) + len(s.takeovers.ended); n != 0 {
		t.Errorf("%d entries are left of tunnels that cannot come back", n)
	}
}

// TestRefusedChildIsAskedForAgain: the peer refuses the only child of a tunnel that is
// up. It is asked for again, each time after twice as long, and comes up in the end.
func TestRefusedChildIsAskedForAgain(t *testing.T) {
	p := newPair(t)
	refuse := func() { p.server.plane.Inject(mem.CallInstall, mem.Fail(offload.ErrExhausted)) }
	refuse()
	p.client.step(Reload{p.client.shard.policy.Policy})
	p.deliver()
	first := p.client.shard.Tunnels(p.now)
	if len(first) != 1 || len(first[0].Children) != 0 {
		t.Fatalf("the client has %+v, want one tunnel without a child", first)
	}
	for wait := firstRedial; wait < lastRedial; wait *= 2 {
		if d := p.client.shard.dial["office"]; d.at.Sub(p.now) != wait {
			t.Fatalf("the client asks again in %v, want %v", d.at.Sub(p.now), wait)
		}
		refuse()
		p.pass(wait)
	}
	p.pass(lastRedial)
	if now := p.client.only(); now.ID != first[0].ID {
		t.Error("the client has another tunnel, want its child in the one that was up")
	}
}
