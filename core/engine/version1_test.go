package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/mem"
)

// speakV1 makes a connection one of IKEv1.
func speakV1(c *Connection) {
	c.V1 = &ike.IKEv1{}
	c.Children[0].Proposals[0].Transforms = c.Children[0].Proposals[0].Transforms[:1] // ESN is IKEv2's
}

func aggressively(c *Connection) { c.V1.Aggressive = true }

func newV1Pair(t *testing.T, change ...func(*Connection)) *pair {
	p := &pair{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	change = append([]func(*Connection){speakV1}, change...)
	p.server = p.gateway("server", 1, changed(dialupServer(), change))
	p.client = p.gateway("client", 2, changed(dialupClient(), change))
	return p
}

func TestIKEv1TunnelIsOneAsAnyOther(t *testing.T) { // C3
	for name, change := range map[string][]func(*Connection){"main": nil, "aggressive": {aggressively}} {
		t.Run(name, func(t *testing.T) {
			p := newV1Pair(t, change...)
			client, server := p.dial()
			if server.Name != "vpn1_0" || server.Version != 1 || client.Name != "office" || client.Version != 1 {
				t.Errorf("the tunnel is %q of version %d at the server and %q of version %d at the client, want vpn1_0 and office of version 1",
					server.Name, server.Version, client.Name, client.Version)
			}
			if !p.server.routes[clientNet] || len(p.server.routes) != 1 {
				t.Errorf("the server routes %v into tunnels, want %v alone", p.server.routes, clientNet)
			}
			p.server.wantSAs(2)

			p.client.step(Rekey{Name: "office"})
			p.deliver()
			p.pass(time.Minute)
			if after := p.server.only(); after.Children[0].In.SA.ID == server.Children[0].In.SA.ID {
				t.Error("the pair was not rekeyed")
			}
			p.server.wantSAs(2)

			p.client.step(Down{Name: "office"})
			p.deliver()
			if len(p.server.routes) != 0 {
				t.Errorf("the server still routes %v after the delete", p.server.routes)
			}
			p.server.wantSAs(0)
			p.client.wantSAs(0)
		})
	}
}

func TestPhase1ThatThePeerBeginsAnewKeepsTheTunnel(t *testing.T) {
	p := newV1Pair(t)
	_, before := p.dial()
	p.client.step(Rekey{Name: "office", IKE: true})
	p.deliver()
	p.pass(2 * time.Minute) // the old ISAKMP SA lingers
	after := p.server.only()
	if after.ID != before.ID || after.Serial != before.Serial || after.Children[0].In.SA.ID != before.Children[0].In.SA.ID {
		t.Errorf("the tunnel was %v and is %v, want the same with another ISAKMP SA", trait(before), trait(after))
	}
	if after.IKE.SPIi == before.IKE.SPIi {
		t.Error("the ISAKMP SA is the old one")
	}
	if n := len(p.client.shard.Tunnels(p.now)); n != 1 {
		t.Errorf("the client has %d tunnels, want 1", n)
	}
}

// TestTunnelThatWaitsForTheDataplaneTakesItsNewPhase1 has the peer rekey phase 1
// while the tunnel is busy with a pair.
func TestTunnelThatWaitsForTheDataplaneTakesItsNewPhase1(t *testing.T) {
	p := newV1Pair(t)
	_, before := p.dial()
	p.server.hold = true
	p.client.step(Rekey{Name: "office"})
	p.deliver()
	p.client.step(Rekey{Name: "office", IKE: true})
	p.deliver()
	p.server.release()
	p.deliver()
	p.pass(2 * time.Minute)
	after := p.server.only()
	if after.ID != before.ID || after.IKE.SPIi == before.IKE.SPIi || after.Children[0].In.SA.ID == before.Children[0].In.SA.ID {
		t.Errorf("the tunnel was %v and is %v, want it with another ISAKMP SA and another pair", trait(before), trait(after))
	}
}

func TestBothVersionsAtOneAddress(t *testing.T) {
	p := newPair(t)
	old := dialupServer()
	speakV1(old)
	old.Name, old.Children[0].Name = "old", "old"
	p.server = p.gateway("server", 1, old, dialupServer())
	if _, server := p.dial(); server.Name != "vpn1_0" || server.Version != 2 {
		t.Errorf("a client of IKEv2 got %q of version %d, want vpn1_0 of version 2", server.Name, server.Version)
	}
	client := dialupClient()
	speakV1(client)
	p.client = p.gateway("client", 3, client)
	p.client.step(Reload{p.client.shard.policy.Policy})
	p.deliver()
	if client := p.client.only(); client.Version != 1 || client.Name != "office" {
		t.Errorf("the client of IKEv1 has %q of version %d, want office of version 1", client.Name, client.Version)
	}
}

func TestVersionThatNoConnectionSpeaksIsCounted(t *testing.T) {
	p := newPair(t)
	client := dialupClient()
	speakV1(client)
	p.client = p.gateway("client", 2, client)
	p.client.step(Reload{p.client.shard.policy.Policy})
	p.deliver()
	if n := p.server.shard.Stats().IKE.Drops[ike.DropVersion]; n != 1 {
		t.Errorf("%d messages were dropped for their version, want 1", n)
	}
	if n := len(p.server.shard.Tunnels(p.now)); n != 0 {
		t.Errorf("the server has %d tunnels, want none", n)
	}
}

// TestEitherCookieFindsTheTunnel gives a message to the shard that its responder's
// cookie names. It is the shard of the initiator's that may have the tunnel, and
// after it another member.
func TestEitherCookieFindsTheTunnel(t *testing.T) {
	c := dialupServer()
	speakV1(c)
	s := NewShard(ShardOptions{
		Index: 0, Count: 2, Member: 3, Policy: NewPolicy(c), Names: NewMemberNameTable(3), Replicated: true,
		Env: ike.Env{Boot: 1}, Log: slog.New(slog.DiscardHandler),
	})
	initiator, responder := ipsec.IKESPI(0x3000_0000_0000_0001), ipsec.IKESPI(0x5000_0000_0000_0002)
	dg := ike.Datagram{
		Local: netip.AddrPortFrom(serverAddr, 500), Remote: netip.AddrPortFrom(clientAddr, 500),
		Payload: v1Message(initiator, responder),
	}
	if own, _ := OwnSPI(dg.Payload); own != responder {
		t.Errorf("a message of IKEv1 is for %v, want the responder's cookie %v", own, responder)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rd := s.Step(now, Packets{Datagrams: []ike.Datagram{dg}})
	if len(rd.Misplaced) != 1 || rd.Misplaced[0].Shard != 1 || len(rd.Foreign) != 0 {
		t.Fatalf("the message goes to %+v and %+v, want shard 1", rd.Misplaced, rd.Foreign)
	}
	rd = s.Step(now, rd.Misplaced[0].Packets)
	if len(rd.Misplaced) != 0 || len(rd.Foreign) != 1 || rd.Foreign[0].SPI != responder || rd.Foreign[0].Other != initiator {
		t.Errorf("then it goes to %+v and %+v, want one for other members with both cookies", rd.Misplaced, rd.Foreign)
	}
}

// rekeysPhase1At has the client rekey its phase 1, and wants another one where m has the
// tunnel, with the pair that it had before.
func (g *group) rekeysPhase1At(m *member, before TunnelStatus) {
	g.t.Helper()
	replaced := g.client.only().IKE.SPIi
	g.client.step(Rekey{Name: "office", IKE: true})
	g.deliver()
	g.pass(2 * time.Minute) // the old ISAKMP SA lingers
	after := m.only()
	if after.ID != before.ID || after.IKE.SPIi == replaced || after.Children[0].In.SA.ID != before.Children[0].In.SA.ID {
		g.t.Errorf("the tunnel was %v and is %v, want another ISAKMP SA than %v with the same pair", trait(before), trait(after), replaced)
	}
}

// TestPhase1IsRekeyedWhereItsTunnelIs has the router bring the client's new phase 1 to
// another member than the one that has its tunnel.
func TestPhase1IsRekeyedWhereItsTunnelIs(t *testing.T) { // F9, C3
	for name, change := range map[string][]func(*Connection){
		"main": {speakV1}, "aggressive": {speakV1, aggressively},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, 2, change...)
			g.dial()
			a, b := g.members[0], g.members[1]
			before := a.only()
			g.router = 1
			g.rekeysPhase1At(a, before)
			if n := len(b.tunnels()); n != 0 {
				t.Errorf("the other member has %d tunnels of its own, want none", n)
			}

			// Its owner is gone, and the router brings another one to the survivor.
			a.dead = true
			g.pass(2 * time.Second)
			g.rekeysPhase1At(b, before)
		})
	}
}

// TestPhase1IsRekeyedInItsTunnelsShard gives the first message of a phase 1 to one
// shard, when the peer's tunnel is another one's, another member's, or has ended.
func TestPhase1IsRekeyedInItsTunnelsShard(t *testing.T) {
	c := dialupServer()
	speakV1(c)
	addresses := NewMemberAddressTable(3)
	s := NewShard(ShardOptions{
		Index: 0, Count: 2, Member: 3, Policy: NewPolicy(c), Names: NewMemberNameTable(3), Addresses: addresses, Replicated: true,
		Env: ike.Env{Boot: 1}, Log: slog.New(slog.DiscardHandler),
	})
	const tunnel = ipsec.TunnelID(0x3000_0000_0000_0001)
	from := netip.AddrPortFrom(clientAddr, 4500)
	first := v1Message(0x1234, 0)
	first[18], first[19] = 2, 0 // main mode, in clear
	dg := ike.Datagram{Local: netip.AddrPortFrom(serverAddr, 4500), Remote: from, Payload: first}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

	addresses.Locate(tunnel, from, netip.AddrPort{})
	rd := s.Step(now, Packets{Datagrams: []ike.Datagram{dg}})
	if len(rd.Misplaced) != 1 || rd.Misplaced[0].Shard != 1 {
		t.Fatalf("the message goes to %+v, want shard 1", rd.Misplaced)
	}
	rd = s.Step(now, rd.Misplaced[0].Packets)
	if len(rd.Misplaced) != 0 || len(rd.Foreign) != 1 || rd.Foreign[0].Tunnel != tunnel {
		t.Fatalf("then it goes to %+v and %+v, want one for the owner of %v", rd.Misplaced, rd.Foreign, tunnel)
	}
	rd = s.Step(now, Packets{Datagrams: []ike.Datagram{dg}, Relayed: true, Again: true})
	if len(rd.Misplaced)+len(rd.Foreign) != 0 {
		t.Errorf("what another member has sent here goes on to %+v and %+v", rd.Misplaced, rd.Foreign)
	}
	addresses.Release(tunnel)
	rd = s.Step(now, Packets{Datagrams: []ike.Datagram{dg}})
	if len(rd.Misplaced)+len(rd.Foreign) != 0 {
		t.Errorf("without a tunnel it goes to %+v and %+v, want it to stay", rd.Misplaced, rd.Foreign)
	}
}

func TestPeersAreFoundWhereTheyAre(t *testing.T) {
	a := NewAddressTable()
	here, there := netip.AddrPortFrom(clientAddr, 500), netip.AddrPortFrom(clientAddr, 4500)
	elsewhere, nowhere := netip.AddrPortFrom(clientAddr, 501), netip.AddrPort{}
	want := func(at netip.AddrPort, want ipsec.TunnelID) {
		t.Helper()
		if got, ok := a.TunnelAt(at); got != want || ok != (want != 0) {
			t.Errorf("at %v there is the peer of %v (%v), want %v", at, got, ok, want)
		}
	}
	want(here, 0)
	a.Locate(1, here, nowhere)
	a.Locate(1, here, nowhere)
	want(elsewhere, 1) // the only one of its address
	a.Locate(2, here, elsewhere)
	want(here, 2)
	want(there, 0) // it may be either
	want(elsewhere, 2)
	a.Locate(2, there, elsewhere)
	want(here, 1)
	want(there, 2)
	want(elsewhere, 2)
	a.Locate(1, elsewhere, nowhere)
	want(elsewhere, 1) // who is there goes before who was
	a.Release(1)
	a.Release(2)
	want(here, 0)
	want(there, 0)
	want(elsewhere, 0)
	if n := len(a.at) + len(a.present) + len(a.callers) + len(a.hosts); n != 0 {
		t.Errorf("of tunnels that have ended there is %v", a)
	}
}

// TestPhase1FromPort500IsRekeyedWhereItsTunnelIs: a client behind a NAT begins its new
// phase 1 on port 500, while its tunnel is on port 4500, and the router brings that to
// another member. The NAT knows the port of its first call still, or not.
func TestPhase1FromPort500IsRekeyedWhereItsTunnelIs(t *testing.T) { // F9, C3
	for name, again := range map[string]uint16{"the same port outside": 10500, "another port outside": 10777} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, 2, speakV1)
			g.nat = &dialupNAT{port500: 10500, inside: make(map[uint16]ports)}
			g.dial()
			a, b := g.members[0], g.members[1]
			before := a.only()
			if at := before.IKE.Remote; at.Port() != 14500 {
				t.Fatalf("the client's tunnel is at %v, want its port 4500 behind the NAT", at)
			}
			g.router, g.nat.port500, g.nat.from500 = 1, again, true
			g.rekeysPhase1At(a, before)
			if n := len(b.tunnels()); n != 0 {
				t.Errorf("the other member has %d tunnels of its own, want none", n)
			}

			// The survivor learned where the client had called from.
			a.dead = true
			g.pass(2 * time.Second)
			g.rekeysPhase1At(b, before)
		})
	}
}

// v1Message is the header of an encrypted message of quick mode.
func v1Message(initiator, responder ipsec.IKESPI) []byte {
	b := make([]byte, 28)
	binary.BigEndian.PutUint64(b, uint64(initiator))
	binary.BigEndian.PutUint64(b[8:], uint64(responder))
	b[16], b[17], b[18], b[19] = 8, 0x10, 32, 1
	b[23], b[27] = 1, 28
	return b
}

func TestIKEv1TunnelIsTakenOver(t *testing.T) { // C5, C8, C9, F5
	for name, change := range map[string][]func(*Connection){
		"main": {speakV1}, "aggressive": {speakV1, aggressively},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, 2, change...)
			g.dial()
			before := g.members[0].only()
			g.members[0].dead = true
			g.router = 1
			g.pass(500 * time.Millisecond)
			b := g.members[1]
			pair := before.Children[0]
			if err := b.plane.Inbound(g.client.only().Children[0].Out.SA.ID, 1); err != nil {
				t.Fatalf("the survivor does not decrypt: %v", err)
			}
			g.deliver()
			g.pass(time.Second)
			after := b.only()
			if after.ID != before.ID || after.IKE.SPIi != before.IKE.SPIi || after.Version != 1 || after.Name != before.Name {
				t.Errorf("the tunnel was %v and is %v, want the same", trait(before), trait(after))
			}
			if got := fmt.Sprint(after.Children[0].In.SA.ID, after.Children[0].Out.SA.ID); got != fmt.Sprint(pair.In.SA.ID, pair.Out.SA.ID) {
				t.Errorf("the pair is %v, want %v and %v", got, pair.In.SA.ID, pair.Out.SA.ID)
			}
			// Its ISAKMP SA works: the client makes new keys on it, and a new one.
			g.client.step(Rekey{Name: "office"})
			g.deliver()
			g.client.step(Rekey{Name: "office", IKE: true})
			g.deliver()
			g.pass(2 * time.Minute)
			last := b.only()
			if last.IKE.SPIi == before.IKE.SPIi || last.Children[0].In.SA.ID == pair.In.SA.ID || last.ID != before.ID {
				t.Errorf("the tunnel was %v and is %v, want another ISAKMP SA and another pair", trait(before), trait(last))
			}
		})
	}
}

// trait is what tells a tunnel from others.
func trait(s TunnelStatus) string {
	return fmt.Sprintf("%s of version %d, %v, phase 1 %v, pair %v", s.Name, s.Version, s.ID, s.IKE.SPIi, s.Children[0].In.SA.ID)
}

// TestLastSequenceNumberMakesTheNewOwnerRekey is FortiOS's way with IKEv1: the
// outbound SAs of standbys are at their last number.
func TestLastSequenceNumberMakesTheNewOwnerRekey(t *testing.T) { // C4, C5, C6
	g := newGroup(t, 2, speakV1, func(c *Connection) { c.MaxSeq = true })
	g.dial()
	a, b := g.members[0], g.members[1]
	before := a.only()
	in, out := before.Children[0].In.SA.ID, before.Children[0].Out.SA.ID
	const last = 1<<32 - 1
	for _, c := range a.inventory() {
		if c.ID == out && (c.Sequence.Next != 1 || c.Sequence.Ceiling != last) {
			t.Errorf("the owner may send from %d to %d, want all numbers, from 1 to %d", c.Sequence.Next, c.Sequence.Ceiling, uint64(last))
		}
	}
	for _, c := range b.inventory() {
		if c.ID == out && c.Sequence.Next != last {
			t.Errorf("the standby's outbound SA is at number %d, want the last one, %d", c.Sequence.Next, uint64(last))
		}
	}
	a.dead = true
	g.router = 1
	g.pass(500 * time.Millisecond)
	if err := b.plane.Inbound(in, 1); err != nil {
		t.Fatalf("the survivor does not decrypt: %v", err)
	}
	g.deliver()
	g.pass(time.Second)
	if now := b.only(); now.Children[0].In.SA.ID != in {
		t.Error("the pair was rekeyed before anything was to be sent on it")
	}
	if pkt, err := b.plane.Outbound(out); !errors.Is(err, mem.ErrHeld) {
		t.Errorf("the survivor's first packet left with number %d of the old pair, or was lost (%v), want it to wait", pkt.Seq, err)
	}
	g.deliver()
	g.pass(2 * time.Minute) // the old pair lingers
	after := b.only()
	if after.ID != before.ID || after.IKE.SPIi != before.IKE.SPIi || after.Children[0].In.SA.ID == in {
		t.Errorf("the tunnel was %v and is %v, want another pair of the same phase 1", trait(before), trait(after))
	}
	if waited := b.plane.Released(); len(waited) != 1 || waited[0].By != after.Children[0].Out.SA.ID || waited[0].Seq != 1 {
		t.Errorf("the packet that waited left as %+v, want it as the first of the new pair", waited)
	}
	if pkt, err := b.plane.Outbound(after.Children[0].Out.SA.ID); err != nil || pkt.Seq != 2 {
		t.Errorf("the next packet on the new pair has number %d (%v), want 2", pkt.Seq, err)
	}
}

// TestRekeyingsOfOverflowsArePaced has a pair come to its end when another one has.
func TestRekeyingsOfOverflowsArePaced(t *testing.T) { // C6
	g := newGroup(t, 1, speakV1, func(c *Connection) { c.MaxSeq = true })
	g.dial()
	m := g.members[0]
	in, out := m.only().Children[0].In.SA.ID, m.only().Children[0].Out.SA.ID
	s := m.shard
	s.rekeys.slot(g.now) // another tunnel's
	m.step(PlaneEvent{offload.LeaseLow{ID: out, Exhausted: true}})
	m.step(Checkpoint{[]offload.Counters{{Placement: offload.Placement{ID: out}, Idle: -1, Drops: offload.Drops{Ceiling: 1}}}})
	if want := g.now.Add(time.Second / rekeysPerSecond); len(s.overflows) != 1 || !s.NextTimeout().Equal(want) {
		t.Errorf("%d rekeyings wait until %v, want one until %v", len(s.overflows), s.NextTimeout(), want)
	}
	g.pass(time.Minute)
	if m.only().Children[0].In.SA.ID == in {
		t.Error("the pair was not rekeyed in its turn")
	}
}
