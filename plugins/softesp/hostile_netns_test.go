package softesp_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/softesp"
	"github.com/evergate/evergate/plugins/softesp/esptest"
)

// startWire makes an engine with its plaintext and peer sockets open.
func startWire(t *testing.T) *wire {
	t.Helper()
	e, err := softesp.New(softesp.Options{Version: "test"})
	if err != nil {
		t.Fatalf("The engine cannot be made: %v.", err)
	}
	w := newWire(t, 1, e)
	t.Cleanup(func() {
		w.close()
		if err := e.Close(); err != nil {
			t.Errorf("The engine did not close cleanly: %v.", err)
		}
	})
	if _, err := w.Configure(t.Context(), offload.Config{Boot: 1, Addresses: []netip.Addr{w.local}}); err != nil {
		t.Fatalf("The engine cannot be configured: %v.", err)
	}
	return w
}

// sa makes an SA between gateway and peer as those of the conformance suite are.
func (w *wire) sa(d ipsec.Direction) ipsec.SA {
	spi := ipsec.NewSPI(0, 0x7000+uint32(d))
	sa := ipsec.SA{
		ID: ipsec.SAID{SPI: spi, Dst: w.local, Proto: ipsec.ESP}, Direction: d, Tunnel: 1,
		Group: ipsec.MemberID(group), Generation: 1, Algorithms: gcm128,
		Encryption: testKey(spi, 1, gcm128),
		Local:      w.local, Remote: w.remote,
		Selectors: ipsec.Selectors{Local: hosts(suiteInner), Remote: hosts(suiteClient)},
	}
	if d == ipsec.Outbound {
		sa.ID.Dst = w.remote
	}
	return sa
}

var suiteClient = netip.MustParseAddr("198.19.0.1")

func (w *wire) install(role offload.Role, sas ...ipsec.SA) {
	w.t.Helper()
	placed, err := w.Install(w.t.Context(), epoch, role, sas...)
	if err != nil {
		w.t.Fatalf("Install failed: %v.", err)
	}
	for _, p := range placed {
		if p.Err != nil {
			w.t.Fatalf("The SA %v was refused: %v.", p.ID, p.Err)
		}
	}
}

func (w *wire) counters(sa ipsec.SA) offload.Counters {
	w.t.Helper()
	c, err := w.count(w.t.Context(), sa.ID)
	if err != nil {
		w.t.Fatalf("The counters cannot be read: %v.", err)
	}
	return c
}

// seal makes the peer's packet with number seq around a datagram.
func (w *wire) seal(sa ipsec.SA, seq uint64) []byte {
	inner := udpPacket(netip.AddrPortFrom(suiteClient, 1000), netip.AddrPortFrom(suiteInner, suitePort), []byte("inner"))
	return w.sealAround(sa, seq, inner, 4)
}

func (w *wire) sealAround(sa ipsec.SA, seq uint64, payload []byte, next byte) []byte {
	w.t.Helper()
	b, err := esptest.KeysOf(sa).Seal(esptest.Packet{SPI: sa.ID.SPI, Seq: seq, Payload: payload, Next: next})
	if err != nil {
		w.t.Fatalf("The peer cannot seal: %v.", err)
	}
	return b
}

// deliverRaw sends ESP packets from the peer and waits until the SA has dealt
// with them.
func (w *wire) deliverRaw(sa ipsec.SA, packets ...[]byte) {
	w.t.Helper()
	before := w.counters(sa)
	for _, p := range packets {
		w.throw(p)
	}
	if _, err := w.settled(w.t.Context(), sa.ID, before, len(packets)); err != nil {
		w.t.Fatalf("The packets should be dealt with: %v.", err)
	}
}

// throw sends octets of protocol 50 from the peer.
func (w *wire) throw(p []byte) {
	w.t.Helper()
	if _, err := w.esp.WriteToIP(p, &net.IPAddr{IP: w.local.AsSlice()}); err != nil {
		w.t.Fatalf("The peer cannot send: %v.", err)
	}
}

// TestHostilePacketsAreDroppedAndCounted: each by its reason, and the tunnel goes
// on.
func TestHostilePacketsAreDroppedAndCounted(t *testing.T) { // B7
	w := startWire(t)
	in := w.sa(ipsec.Inbound)
	w.install(offload.Active, in)
	good := w.seal(in, 1)
	foreign := udpPacket(netip.MustParseAddrPort("203.0.113.9:1"), netip.AddrPortFrom(suiteInner, suitePort), nil)
	toForeign := udpPacket(netip.AddrPortFrom(suiteClient, 1), netip.MustParseAddrPort("203.0.113.9:1"), nil)
	ce := udpPacket(netip.AddrPortFrom(suiteClient, 1), netip.AddrPortFrom(suiteInner, suitePort), nil)
	for _, c := range []struct {
		name    string
		packets [][]byte
		want    offload.Drops
	}{
		{"replayed", [][]byte{good, good, good}, offload.Drops{Replayed: 2}},
		{"with one bit changed", [][]byte{flip(w.seal(in, 2), 20)}, offload.Drops{Authentication: 1}},
		{"cut short", [][]byte{w.seal(in, 3)[:40], w.seal(in, 3)[:20]}, offload.Drops{Authentication: 1, Malformed: 1}},
		{"of no whole words", [][]byte{append(w.seal(in, 1<<20), 0)}, offload.Drops{Malformed: 1}},
		{"with number zero", [][]byte{w.seal(in, 0)}, offload.Drops{Replayed: 1}},
		{"from outside the selectors", [][]byte{w.sealAround(in, 4, foreign, 4)}, offload.Drops{Selector: 1}},
		{"to outside the selectors", [][]byte{w.sealAround(in, 5, toForeign, 4)}, offload.Drops{Selector: 1}},
		{"around no IP packet", [][]byte{w.sealAround(in, 6, []byte{0x45, 1, 2}, 4)}, offload.Drops{Malformed: 1}},
		{"around the other IP version", [][]byte{w.sealAround(in, 7, ce, 41)}, offload.Drops{Malformed: 1}},
		{"around another protocol", [][]byte{w.sealAround(in, 8, ce, 17)}, offload.Drops{Malformed: 1}},
		{"a packet longer than its payload", [][]byte{w.sealAround(in, 9, ce[:27], 4)}, offload.Drops{Malformed: 1}},
	} {
		before := w.counters(in).Drops
		w.deliverRaw(in, c.packets...)
		if got := minus(w.counters(in).Drops, before); got != c.want {
			t.Errorf("A packet %s should count as %+v, got %+v.", c.name, c.want, got)
		}
	}
	if top := w.counters(in).Sequence.Highest; top != 9 {
		t.Errorf("Only authentic packets move the window, to 9, it is at %d.", top)
	}
	if n, err := w.Deliver(t.Context(), in, 100, 101); err != nil || n != 2 {
		t.Errorf("After all that the tunnel should go on, got %d packets and %v.", n, err)
	}
}

func flip(b []byte, at int) []byte {
	b[at] ^= 4
	return b
}

func minus(a, b offload.Drops) offload.Drops {
	return offload.Drops{
		Replayed: a.Replayed - b.Replayed, Authentication: a.Authentication - b.Authentication,
		Malformed: a.Malformed - b.Malformed, Selector: a.Selector - b.Selector,
		Lifetime: a.Lifetime - b.Lifetime, Ceiling: a.Ceiling - b.Ceiling,
		Standby: a.Standby - b.Standby, TooBig: a.TooBig - b.TooBig, Queue: a.Queue - b.Queue,
	}
}

// TestStrayPacketsAreCounted are those that no SA is to blame for: unknown, short
// and reflected ones.
func TestStrayPacketsAreCounted(t *testing.T) { // B7
	w := startWire(t)
	in, out := w.sa(ipsec.Inbound), w.sa(ipsec.Outbound)
	w.install(offload.Active, in, out)
	// What we sent comes back to us.
	sent, err := w.Send(t.Context(), out, 1)
	if err != nil || len(sent) != 1 {
		t.Fatalf("A packet should leave, got %v and %v.", sent, err)
	}
	reflected, err := esptest.KeysOf(out).Seal(esptest.Packet{SPI: out.ID.SPI, Seq: sent[0].Seq, IV: sent[0].IV, Payload: []byte("x"), Next: 4})
	if err != nil {
		t.Fatalf("The packet cannot be made again: %v.", err)
	}
	w.throw(reflected)
	w.throw(binary.BigEndian.AppendUint64(nil, 0xdead_0000_0001))
	w.throw([]byte{1, 2, 3})
	netlab.Eventually(t, patience, "the stray packets are counted", func() error {
		return wantStats(w.Engine, map[string]uint64{"unknown-spi": 2, "short": 1})
	})
}

// wantStats compares the counters that are not about a kernel's own chatter.
func wantStats(e *softesp.Engine, want map[string]uint64) error {
	stats, err := e.Stats(context.Background())
	if err != nil {
		return err
	}
	for _, s := range stats {
		if s.Name != "multicast" && s.Value != want[s.Name] {
			return fmt.Errorf("%s should be %d, it is %d", s.Name, want[s.Name], s.Value)
		}
	}
	return nil
}

// TestCongestionMarksComeThrough the tunnel, and drop what could not carry them
// (RFC 6040 section 4.2).
func TestCongestionMarksComeThrough(t *testing.T) {
	w := startWire(t)
	in := w.sa(ipsec.Inbound)
	w.install(offload.Active, in)
	w.markCongestion()
	tun := w.gateway.Interface("evg0").Capture("udp")
	marked := func(seq uint64, ecn byte) []byte {
		inner := udpPacket(netip.AddrPortFrom(suiteClient, 1000), netip.AddrPortFrom(suiteInner, suitePort), []byte("inner"))
		inner[1] = ecn
		inner[11] -= ecn // the header checksum follows, as it does not wrap here
		return w.sealAround(in, seq, inner, 4)
	}
	w.deliverRaw(in, marked(1, 0b00), marked(2, 0b01), marked(3, 0b10))
	if got := w.counters(in); got.Packets != 2 || got.Drops.Malformed != 1 {
		t.Errorf("Marked outside, the packet that knows no ECN should be dropped and two should pass, got %d and %+v.", got.Packets, got.Drops)
	}
	if n := tun.Count("ip.dsfield.ecn == 3"); n != 2 {
		t.Errorf("Two packets should come out marked, got %d.", n)
	}
}

// markCongestion makes all that the peer sends carry the mark.
func (w *wire) markCongestion() {
	w.t.Helper()
	raw, err := w.esp.SyscallConn()
	if err == nil {
		var set error
		err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, 0b11) })
		err = errors.Join(err, set)
	}
	if err != nil {
		w.t.Fatalf("The peer's traffic class cannot be set: %v.", err)
	}
}
