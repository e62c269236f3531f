package ike_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
)

func TestNAT(t *testing.T) { // RFC 7296 section 2.23
	p := iketest.Establish(t, iketest.BehindNAT())
	a, b := p.A.Tunnel.Status(p.Now), p.B.Tunnel.Status(p.Now)
	if !a.NATLocal || a.NATRemote || b.NATLocal || !b.NATRemote {
		t.Errorf("A finds NAT at (%t, %t), B at (%t, %t), want it at A", a.NATLocal, a.NATRemote, b.NATLocal, b.NATRemote)
	}
	if a.Local.Port() != 4500 || a.Remote.Port() != 4500 || b.Local.Port() != 4500 {
		t.Errorf("A talks from %v to %v, want port 4500", a.Local, a.Remote)
	}
	if b.Remote.Addr() != iketest.NATIP {
		t.Errorf("B sees A at %v, want the NAT's address", b.Remote)
	}
	in, _ := p.B.Child()
	if in.Encap == nil || *in.Encap != (ipsec.Encap{LocalPort: 4500, RemotePort: b.Remote.Port()}) {
		t.Errorf("B's SA is encapsulated as %v, want ports 4500 and %d", in.Encap, b.Remote.Port())
	}
	p.WantPairs(1)
}

func TestNATTModes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		a, b  ike.NATT
		nat   bool
		encap bool
	}{
		{"no NAT", ike.NATTDetect, ike.NATTDetect, false, false},
		{"A forces it", ike.NATTForced, ike.NATTDetect, false, true},
		{"B forces it", ike.NATTDetect, ike.NATTForced, false, true},
		{"both force it", ike.NATTForced, ike.NATTForced, false, true},
		{"A has it off", ike.NATTOff, ike.NATTDetect, false, false},
		{"B has it off", ike.NATTDetect, ike.NATTOff, false, false},
		{"off behind a NAT", ike.NATTOff, ike.NATTOff, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := iketest.Establish(t, func(c *iketest.Config) { c.A.NATT, c.B.NATT, c.NAT = tt.a, tt.b, tt.nat })
			for _, e := range []*iketest.End{p.A, p.B} {
				in, _ := e.Child()
				if (in.Encap != nil) != tt.encap {
					t.Errorf("%s's SA is encapsulated as %v, want encapsulation: %t", e.Name, in.Encap, tt.encap)
				}
			}
		})
	}
}

func TestKeepalive(t *testing.T) { // RFC 3948 section 4
	p := iketest.Establish(t, iketest.BehindNAT())
	p.Pass(65 * time.Second)
	if p.A.Keepalives != 3 || p.B.Keepalives != 0 {
		t.Errorf("A sent %d keepalives and B %d in 65 s, want 3 and none", p.A.Keepalives, p.B.Keepalives)
	}
	for range 10 {
		p.A.Do(ike.Activity{Out: p.Now})
		p.Pass(10 * time.Second)
	}
	if p.A.Keepalives != 3 {
		t.Errorf("A sent %d keepalives although ESP went out all the time", p.A.Keepalives-3)
	}
}

// TestRebind: the NAT in front of A forgets its mapping. B follows what A sends.
func TestRebind(t *testing.T) {
	p := iketest.Establish(t, iketest.BehindNAT())
	before := p.B.Tunnel.Status(p.Now).Remote
	stale, _ := p.B.Child()
	p.Rebind()
	rekeyChild(p.A)
	p.Deliver()
	after := p.B.Tunnel.Status(p.Now).Remote
	if after == before || len(p.B.Moves) != 1 {
		t.Fatalf("B still talks to %v after A has come from elsewhere, and moved %d times", after, len(p.B.Moves))
	}
	if m := p.B.Moves[0]; m.Remote != after || m.Encap == nil || m.Encap.RemotePort != after.Port() {
		t.Errorf("B's dataplane is told %+v, want %v", m, after)
	}
	for _, sa := range p.B.Tunnel.SAs(p.Now) {
		if sa.Encap.RemotePort != after.Port() {
			t.Errorf("B describes %v with port %d, want %d", sa.ID, sa.Encap.RemotePort, after.Port())
		}
		if sa.ID == stale.ID && sa.Generation <= stale.Generation {
			t.Errorf("the description of %v changed, but its generation is still %d", sa.ID, sa.Generation)
		}
	}
}

func TestPeerMoved(t *testing.T) {
	p := iketest.Establish(t, iketest.BehindNAT())
	p.Rebind()
	outside, _ := p.Outside()
	p.B.Do(ike.PeerMoved{Remote: outside})
	if got := p.B.Tunnel.Status(p.Now).Remote; got != outside {
		t.Errorf("B talks to %v, ESP came from %v", got, outside)
	}
	rekeyChild(p.B)
	p.Pass(time.Minute)
	p.WantPairs(1)
}

// TestReplayDoesNotMovePeer: an old message, sent again from another address, is
// authentic but not fresh.
func TestReplayDoesNotMovePeer(t *testing.T) {
	p := iketest.Establish(t, iketest.BehindNAT())
	rekeyChild(p.A)
	replay := p.InFlight()[0]
	replay.Datagram.Payload = append([]byte(nil), replay.Datagram.Payload...)
	p.Deliver()
	before := p.B.Tunnel.Status(p.Now).Remote
	replay.Datagram.Remote = netip.AddrPortFrom(replay.Datagram.Remote.Addr().Next(), 4711)
	p.Release([]iketest.Flight{replay})
	p.Deliver()
	if got := p.B.Tunnel.Status(p.Now).Remote; got != before {
		t.Errorf("a replay moved A from %v to %v", before, got)
	}
}

// TestAddressWithoutNAT: where there is no NAT, an address does not change.
func TestAddressWithoutNAT(t *testing.T) {
	p := iketest.Establish(t)
	rekeyChild(p.A)
	f := p.Hold()[0]
	f.Datagram.Remote = netip.AddrPortFrom(f.Datagram.Remote.Addr().Next(), 500)
	p.Release([]iketest.Flight{f})
	p.Next()
	if got := p.B.Tunnel.Status(p.Now).Remote.Addr(); got != iketest.AddrA {
		t.Errorf("B took %v for A's new address", got)
	}
	p.B.Do(ike.PeerMoved{Remote: f.Datagram.Remote})
	if got := p.B.Tunnel.Status(p.Now).Remote.Addr(); got != iketest.AddrA {
		t.Errorf("B took %v for A's new address", got)
	}
}

func TestFragmentation(t *testing.T) { // RFC 7383
	long := func(c *ike.Connection) { c.LocalID = ike.Identity{Type: ike.IDKeyID, Data: string(make([]byte, 2000))} }
	t.Run("agreed on", func(t *testing.T) {
		p := iketest.New(t, iketest.Both(long), iketest.Twins(ike.Resume))
		p.A.Initiate()
		p.Next()
		p.Next()
		n := len(p.InFlight())
		if n < 4 {
			t.Fatalf("A's IKE_AUTH is %d datagrams, want fragments", n)
		}
		for _, f := range p.InFlight() {
			if l := len(f.Datagram.Payload) + 20 + 8; l > 576 {
				t.Errorf("a fragment makes a packet of %d octets, want at most 576", l)
			}
		}
		for i := n - 1; i > 0; i-- { // in reverse
			p.DuplicateAt(i)
			p.NextAt(i)
		}
		p.Deliver()
		p.WantUp()
		if p.B.Stats.FragmentsIn < uint64(n) {
			t.Errorf("B counted %d fragments, want %d", p.B.Stats.FragmentsIn, n)
		}
	})
	t.Run("one is lost", func(t *testing.T) {
		p := iketest.New(t, iketest.Both(long))
		p.A.Initiate()
		p.Next()
		p.Next()
		p.DropAt(2)
		p.Deliver()
		if p.B.Tunnel.Established() {
			t.Fatal("B is up although it lacks a fragment")
		}
		p.Pass(5 * time.Second)
		p.WantUp()
	})
	t.Run("a repeated request brings one response", func(t *testing.T) {
		p := iketest.New(t, iketest.Both(long))
		p.A.Initiate()
		p.Next()
		p.Next()
		again := copyFlights(p.InFlight())
		for range again {
			p.Next()
		}
		answer := len(p.Hold())
		p.Release(again)
		for range again {
			p.Next()
		}
		if n := len(p.InFlight()); n != answer {
			t.Errorf("a repeated request of %d fragments brings %d datagrams, want the %d of one response", len(again), n, answer)
		}
		p.Pass(10 * time.Second)
		p.WantUp()
	})
	t.Run("one end has it off", func(t *testing.T) {
		p := iketest.Establish(t, iketest.Both(long), func(c *iketest.Config) { c.B.NoFragmentation = true })
		if p.A.Stats.FragmentsOut > 0 {
			t.Error("A sent fragments, B cannot join them")
		}
	})
}

func copyFlights(in []iketest.Flight) []iketest.Flight {
	out := make([]iketest.Flight, len(in))
	for i, f := range in {
		f.Datagram.Payload = append([]byte(nil), f.Datagram.Payload...)
		out[i] = f
	}
	return out
}
