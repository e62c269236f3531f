//go:build dpdk

package dpdk_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/offloadtest"
	"github.com/evergate/evergate/plugins/dpdk"
	"github.com/evergate/evergate/plugins/softesp/esptest"
)

// The inner side of the gateway, in the local network of the suite's SAs.
var (
	suiteInner = netip.MustParseAddr("198.18.0.1")
	suitePort  = uint16(9)
)

// TestDPDKKeepsTheContract runs the conformance suite, with real packets: each
// dataplane lives in a host of its own, next to a host that plays the peer.
func TestDPDKKeepsTheContract(t *testing.T) { // B8
	t.Parallel()
	offloadtest.Run(t, func(context.Context) (*offloadtest.Harness, error) {
		e := dpdk.New(dpdk.Options{Version: "test", EAL: process})
		w := newWire(t, e)
		return w.harness(e.Close), nil
	})
}

// TestCardsKeepTheContract runs the conformance suite on SAs whose cipher is the card
// of their port.
func TestCardsKeepTheContract(t *testing.T) { // B8
	t.Parallel()
	offloadtest.Run(t, func(context.Context) (*offloadtest.Harness, error) {
		e := dpdk.New(dpdk.Options{Version: "test", EAL: process})
		w := newWire(t, e)
		w.playCard()
		return w.harness(e.Close), nil
	})
}

// wire is an engine between two sockets: one that the plaintext leaves from and
// arrives at, and one that plays the peer.
type wire struct {
	offload.Engine
	settings      map[string]string
	gateway, peer *netlab.Namespace
	peerMAC       net.HardwareAddr
	local, remote netip.Addr
	plain         *net.UDPConn
	esp           *net.IPConn
}

func newWire(t *testing.T, e offload.Engine) *wire {
	t.Helper()
	lab := netlab.New(t)
	w := &wire{Engine: e, local: netip.MustParseAddr("192.0.2.1"), remote: netip.MustParseAddr("192.0.2.2")}
	w.gateway, w.peer = lab.Namespace("gateway"), lab.Namespace("peer")
	w.settings, w.peerMAC = cable(t, lab, w.gateway, w.peer, "192.0.2.2/24")
	w.gateway.Loopback(suiteInner.String() + "/32")
	return w
}

// playCard makes the wire's port encrypt.
func (w *wire) playCard() {
	w.settings["npu-emulation"], _, _ = strings.Cut(w.settings["ports"], ",")
}

func (w *wire) harness(closeEngine func() error) *offloadtest.Harness {
	return &offloadtest.Harness{
		Engine: w, Config: offload.Config{Settings: w.settings},
		Local: w.local, Remote: w.remote, Traffic: w, Links: w,
		Close: func() error { return errors.Join(w.close(), closeEngine()) },
	}
}

// Configure is the engine's, inside the gateway's host; the first time, the port's
// host interface gets its address, and the inner network is routed to the engine.
func (w *wire) Configure(ctx context.Context, c offload.Config) (info offload.Info, err error) {
	err = w.gateway.Do(func() error {
		info, err = w.Engine.Configure(ctx, c)
		return err
	})
	if err == nil && w.plain == nil {
		err = w.open()
	}
	return info, err
}

func (w *wire) open() error {
	for _, args := range [][]string{
		{"address", "add", w.local.String() + "/24", "dev", "wan"},
		{"neighbour", "add", w.remote.String(), "lladdr", w.peerMAC.String(), "dev", "wan"},
		{"route", "add", "198.19.0.0/16", "dev", "evg0"},
	} {
		if out, err := w.gateway.Output(exec.Command("ip", args...)); err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
	}
	err := w.gateway.Do(func() (err error) {
		w.plain, err = net.ListenUDP("udp4", &net.UDPAddr{IP: suiteInner.AsSlice(), Port: int(suitePort)})
		return err
	})
	if err != nil {
		return err
	}
	return w.peer.Do(func() (err error) {
		w.esp, err = net.ListenIP("ip4:50", &net.IPAddr{IP: w.remote.AsSlice()})
		return err
	})
}

func (w *wire) close() error {
	if w.plain == nil {
		return nil
	}
	return errors.Join(w.plain.Close(), w.esp.Close())
}

// settled waits until SAs have dealt with n packets more than before, and returns
// how many of them the first one passed.
func (w *wire) settled(ctx context.Context, before offload.Counters, n int) (offload.Counters, error) {
	var now offload.Counters
	err := netlab.Poll(ctx, patience, func() (err error) {
		if now, err = w.count(ctx, before.ID); err != nil {
			return err
		}
		if got := dealtWith(now) - dealtWith(before); got < uint64(n) {
			return fmt.Errorf("%v has dealt with %d of %d packets", before.ID, got, n)
		}
		return nil
	})
	if err != nil {
		return now, err
	}
	// Deleting nothing waits for the packets under way, and so for their events.
	_, err = w.Delete(ctx, 0)
	return now, err
}

func dealtWith(c offload.Counters) uint64 {
	d := c.Drops
	return c.Packets + c.Relayed + d.Replayed + d.Authentication + d.Malformed + d.Selector + d.Lifetime + d.Ceiling + d.Standby + d.TooBig + d.Queue
}

func (w *wire) count(ctx context.Context, id ipsec.SAID) (offload.Counters, error) {
	for c, err := range w.Export(ctx, offload.AllGroups) {
		if err != nil || c.ID == id {
			return c, err
		}
	}
	return offload.Counters{}, fmt.Errorf("%v is not installed", id)
}

// Send implements offloadtest.Traffic.
func (w *wire) Send(ctx context.Context, sa ipsec.SA, n int) ([]offloadtest.Sent, error) {
	return w.SendOver(ctx, sa, n)
}

// SendOver implements offloadtest.Links.
func (w *wire) SendOver(ctx context.Context, sa ipsec.SA, n int, links ...ipsec.SA) ([]offloadtest.Sent, error) {
	before, err := w.count(ctx, sa.ID)
	if err != nil {
		return nil, err
	}
	to := netip.AddrPortFrom(sa.Selectors.Remote[0].Min, suitePort)
	for range n {
		if _, err := w.plain.WriteToUDPAddrPort([]byte("inner"), to); err != nil {
			return nil, err
		}
	}
	now, err := w.settled(ctx, before, n)
	if err != nil {
		return nil, err
	}
	return w.read(int(now.Packets-before.Packets+now.Relayed-before.Relayed), append(links, sa))
}

// read takes n ESP packets from the wire.
func (w *wire) read(n int, sas []ipsec.SA) ([]offloadtest.Sent, error) {
	var sent []offloadtest.Sent
	b := make([]byte, 2048)
	for len(sent) < n {
		if err := w.esp.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return nil, err
		}
		got, _, err := w.esp.ReadFromIP(b)
		if err != nil {
			return nil, fmt.Errorf("after %d of %d packets on the wire: %w", len(sent), n, err)
		}
		s, err := identify(b[:got], sas)
		if err != nil {
			return nil, err
		}
		sent = append(sent, s)
	}
	return sent, nil
}

func identify(packet []byte, sas []ipsec.SA) (offloadtest.Sent, error) {
	for _, sa := range sas {
		if len(packet) < 8 || ipsec.SPI(binary.BigEndian.Uint32(packet)) != sa.ID.SPI {
			continue
		}
		p, err := esptest.KeysOf(sa).Open(packet, 0)
		return offloadtest.Sent{SPI: sa.ID.SPI, Seq: p.Seq, IV: p.IV}, err
	}
	return offloadtest.Sent{}, errors.New("an ESP packet of no SA that should send")
}

// Deliver implements offloadtest.Traffic.
func (w *wire) Deliver(ctx context.Context, sa ipsec.SA, seqs ...uint64) (int, error) {
	before, err := w.count(ctx, sa.ID)
	if err != nil {
		return 0, err
	}
	inner := udpPacket(netip.AddrPortFrom(sa.Selectors.Remote[0].Min, 1000), netip.AddrPortFrom(suiteInner, suitePort))
	if err := w.inject(sa, inner, seqs); err != nil {
		return 0, err
	}
	now, err := w.settled(ctx, before, len(seqs))
	if err != nil {
		return 0, err
	}
	passed := int(now.Packets - before.Packets)
	b := make([]byte, 64)
	for i := range passed {
		if err := w.plain.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return 0, err
		}
		if _, err := w.plain.Read(b); err != nil {
			return 0, fmt.Errorf("after %d of %d packets behind the tunnel: %w", i, passed, err)
		}
	}
	return passed, nil
}

// inject sends ESP packets as the peer.
func (w *wire) inject(sa ipsec.SA, inner []byte, seqs []uint64) error {
	for _, seq := range seqs {
		b, err := esptest.KeysOf(sa).Seal(esptest.Packet{SPI: sa.ID.SPI, Seq: seq, Payload: inner, Next: 4})
		if err != nil {
			return err
		}
		if _, err := w.esp.WriteToIP(b, &net.IPAddr{IP: w.local.AsSlice()}); err != nil {
			return err
		}
	}
	return nil
}

// DeliverOver implements offloadtest.Links.
func (w *wire) DeliverOver(ctx context.Context, link ipsec.SA, seqs []uint64, sa ipsec.SA, links ...ipsec.SA) ([]offloadtest.Sent, error) {
	before, err := w.count(ctx, link.ID)
	if err != nil {
		return nil, err
	}
	inner := udpPacket(netip.AddrPortFrom(suiteInner, suitePort), netip.AddrPortFrom(sa.Selectors.Remote[0].Min, suitePort))
	if err := w.inject(link, inner, seqs); err != nil {
		return nil, err
	}
	now, err := w.settled(ctx, before, len(seqs))
	if err != nil {
		return nil, err
	}
	return w.read(int(now.Packets-before.Packets), append(links, sa))
}

// udpPacket builds an IPv4 UDP packet.
func udpPacket(from, to netip.AddrPort) []byte { return udpPacketOf(from, to, []byte("inner")) }

// udpPacketOf is udpPacket with a payload.
func udpPacketOf(from, to netip.AddrPort, payload []byte) []byte {
	b := make([]byte, 28, 28+len(payload))
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], uint16(28+len(payload)))
	b[8], b[9] = 64, 17
	copy(b[12:], from.Addr().AsSlice())
	copy(b[16:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(b[20:], from.Port())
	binary.BigEndian.PutUint16(b[22:], to.Port())
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(payload)))
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum>>16+sum))
	return append(b, payload...) // a UDP checksum of zero is none
}
