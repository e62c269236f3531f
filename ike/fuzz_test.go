package ike_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
	"github.com/evergate/evergate/ike/wire"
)

// conversation is every datagram of a set-up, a rekey of each kind and a close.
func conversation(tb iketest.TB) [][]byte {
	p := iketest.New(tb)
	var all [][]byte
	talk := func() {
		for len(p.InFlight()) > 0 {
			all = append(all, bytes.Clone(p.InFlight()[0].Datagram.Payload))
			p.Next()
		}
	}
	p.A.Initiate()
	talk()
	rekeyChild(p.A)
	talk()
	p.B.Do(ike.RekeyIKE{})
	talk()
	p.A.Do(ike.Close{})
	talk()
	return all
}

// FuzzDatagram gives a live gateway what anybody can send. Nothing in it may
// change a tunnel: whoever sends it has no keys.
func FuzzDatagram(f *testing.F) {
	for _, b := range conversation(f) {
		f.Add(b, false)
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, ours bool) {
		p := iketest.Establish(t, iketest.Seed(2)) // other keys than the corpus has
		rekeyChild(p.B)                            // B waits for an answer
		p.DropAll()
		before := p.B.Tunnel
		if s := before.Status(p.Now); ours && len(b) >= wire.HeaderLen {
			b = bytes.Clone(b)
			copy(b, wire.IKESPIBytes(s.SPIi))
			copy(b[8:], wire.IKESPIBytes(s.SPIr))
		}
		raw(p, bytes.Clone(b))
		p.DropAll()
		raw(p, bytes.Clone(b))
		p.DropAll()
		p.Pass(time.Minute)
		p.B.Tunnel = before
		p.WantPairs(1)
	})
}

// FuzzAuthentic gives a live gateway what a peer with the right keys may say.
// It may lose its tunnel, but no more.
func FuzzAuthentic(f *testing.F) {
	f.Add(uint8(wire.CreateChildSA), uint8(wire.PayloadSA), []byte{0, 0, 0, 8, 0, 0, 0, 0})
	f.Add(uint8(wire.Informational), uint8(wire.PayloadDelete), []byte{0, 0, 0, 8, 1, 0, 0, 0})
	f.Add(uint8(wire.Informational), uint8(wire.PayloadDelete), []byte{0, 0, 0, 12, 3, 4, 0, 1, 0, 0, 1, 0})
	f.Add(uint8(wire.Informational), uint8(wire.PayloadNotify), []byte{0, 0, 0, 8, 0, 0, 0, 24})
	f.Add(uint8(wire.IKEAuth), uint8(wire.PayloadIDi), []byte{0, 0, 0, 9, 2, 0, 0, 0, 'a'})
	f.Fuzz(func(t *testing.T, exchange, first uint8, contents []byte) {
		if len(contents) < 4 || len(contents) > 1<<12 {
			return
		}
		p := iketest.Establish(t, iketest.Both(func(c *ike.Connection) { c.NoFragmentation = true }))
		d, err := ike.SayAnything(p.A.Tunnel, p.Now, wire.ExchangeType(exchange), wire.PayloadType(first), contents)
		if err != nil {
			return
		}
		raw(p, d.Payload)
		p.Pass(time.Minute)
	})
}

// FuzzRestore gives Restore what no tunnel ever wrote.
func FuzzRestore(f *testing.F) {
	p := iketest.Establish(f)
	f.Add(p.A.Tunnel.Snapshot(p.Now))
	rekeyChild(p.A)
	f.Add(p.A.Tunnel.Snapshot(p.Now))
	p.Next()
	f.Add(p.B.Snapshot)
	f.Fuzz(func(_ *testing.T, b []byte) {
		s, err := ike.Restore(p.B.Env, p.B.Policy, b, p.Now)
		if err != nil {
			return
		}
		s.Step(p.Now, ike.Takeover{})
		for range 4 {
			s.Step(p.Now.Add(time.Hour), ike.Timeout{})
		}
		s.Status(p.Now)
		s.Snapshot(p.Now)
		s.SAs(p.Now)
	})
}
