package v1_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest/v1test"
	"github.com/evergate/evergate/ike/v1"
	"github.com/evergate/evergate/ike/v1/wire"
)

// FuzzDatagram: whatever comes from whoever, at whatever moment of a negotiation,
// nothing breaks, and no tunnel that is up ends.
func FuzzDatagram(f *testing.F) {
	for _, options := range modes() {
		p := v1test.New(f, options[1:]...)
		p.A.Initiate()
		for n := uint8(0); len(p.InFlight()) > 0; n++ {
			f.Add(n, len(options) > 1, p.InFlight()[0].Datagram.Payload)
			p.Next()
		}
	}
	f.Fuzz(func(t *testing.T, after uint8, aggressive bool, payload []byte) {
		var options []v1test.Option
		if aggressive {
			options = append(options, v1test.Aggressive())
		}
		p := v1test.New(t, options...)
		p.A.Initiate()
		for range after {
			p.Next()
		}
		up := p.A.Tunnel.Established() && p.B.Tunnel != nil && p.B.Tunnel.Established()
		p.Release([]v1test.Flight{
			{To: p.B, Datagram: datagramToB(payload)},
			{To: p.A, Datagram: ike.Datagram{Local: addrPort(v1test.AddrA, 500), Remote: addrPort(v1test.AddrB, 500), Payload: bytes.Clone(payload)}},
		})
		p.Deliver()
		p.Pass(2 * time.Minute)
		if up && (p.A.Done || p.B.Done) {
			t.Fatalf("a datagram without keys has ended a tunnel: A %v, B %v", p.A.Why, p.B.Why)
		}
	})
}

// FuzzAuthentic: nor does anything break that comes from a peer with the keys.
func FuzzAuthentic(f *testing.F) {
	add := func(kind wire.ExchangeType, payloads ...wire.Payload) {
		first, rest, err := wire.AppendChain(nil, payloads)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(kind), uint8(first), rest)
	}
	esp := &wire.SA{Proposals: []wire.Proposal{{Number: 1, Protocol: wire.ProtocolESP, SPI: wire.SPIBytes(4096), Transforms: []wire.Transform{
		{Number: 1, ID: 12, Attributes: []wire.Attribute{wire.Number(4, 1), wire.Number(5, 5), wire.Number(6, 128), wire.Number(1, 1), wire.Number(2, 3600)}},
	}}}}
	any4 := &wire.ID{Kind: wire.IDIPv4Subnet, Data: make([]byte, 8)}
	add(wire.QuickMode, esp, &wire.Nonce{Data: make([]byte, 16)}, any4, any4)
	add(wire.QuickMode, esp, &wire.Nonce{Data: make([]byte, 16)}, &wire.KE{Data: make([]byte, 64)})
	add(wire.Informational, &wire.Delete{Protocol: wire.ProtocolESP, SPIs: [][]byte{wire.SPIBytes(1)}})
	add(wire.Informational, &wire.Notify{Protocol: wire.ProtocolISAKMP, Kind: wire.RUThere, Data: make([]byte, 4)})
	add(wire.Informational, &wire.Notify{Protocol: wire.ProtocolISAKMP, Kind: wire.ResponderLifetime, Data: []byte{0x80, 11, 0, 1, 0x80, 12, 0, 60}})
	add(wire.Informational, &wire.Notify{Protocol: wire.ProtocolESP, Kind: wire.NoProposalChosen})
	add(wire.Transaction, &wire.Config{Kind: wire.CFGRequest, Attributes: []wire.Attribute{{Type: wire.InternalIP4Address}}})
	add(wire.Transaction, &wire.Config{Kind: wire.CFGSet, Attributes: []wire.Attribute{{Type: wire.XAuthStatus, Short: true, Value: []byte{0, 1}}}})
	f.Fuzz(func(t *testing.T, kind, first uint8, rest []byte) {
		if len(rest) > 4096 {
			return
		}
		p := v1test.Establish(t, withAddress)
		rekeyChild(p.A)
		p.DropAll() // A waits for an answer
		for i, e := range []*v1test.End{p.A, p.B} {
			other := []*v1test.End{p.B, p.A}[i]
			d := ike.Datagram{Local: addrPort(v1test.AddrA, 500), Remote: addrPort(v1test.AddrB, 500)}
			if e == p.B {
				d.Local, d.Remote = d.Remote, d.Local
			}
			d.Payload = other.Tunnel.Forge(wire.ExchangeType(kind), 77, wire.PayloadType(first), rest)
			p.Release([]v1test.Flight{{To: e, Datagram: d}})
		}
		p.Deliver()
		p.Pass(3 * time.Minute)
	})
}

// FuzzRestore: what is restored goes on without breaking.
func FuzzRestore(f *testing.F) {
	for _, end := range []uint8{0, 1} {
		p := v1test.New(f)
		p.A.Initiate()
		for p.Next() {
			if e := []*v1test.End{p.A, p.B}[end]; e.Snapshot != nil {
				f.Add(e.Snapshot)
			}
		}
	}
	f.Fuzz(func(t *testing.T, snapshot []byte) {
		p := v1test.New(t)
		s, err := v1.Restore(p.B.Env, &v1test.Policy{Connections: []*ike.Connection{p.A.Policy.Connections[0], p.B.Policy.Connections[0]}}, snapshot, p.Now)
		if err != nil {
			return
		}
		again, err := v1.Restore(p.B.Env, p.B.Policy, s.Snapshot(p.Now), p.Now)
		if err == nil && !bytes.Equal(again.Snapshot(p.Now), s.Snapshot(p.Now)) {
			t.Fatal("a tunnel that is restored twice is another one")
		}
		now := p.Now
		for _, in := range []ike.Input{ike.Takeover{}, ike.Timeout{}, ike.RekeyIKE{}, ike.Initiate{}, ike.Timeout{}, ike.Close{}} {
			s.Step(now, in)
			s.Status(now)
			s.SAs(now)
			now = now.Add(time.Minute)
		}
	})
}
