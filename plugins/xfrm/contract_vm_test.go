package xfrm_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/offloadtest"
	"github.com/evergate/evergate/plugins/softesp/esptest"
	"github.com/evergate/evergate/plugins/xfrm"
)

// patience is how long tests wait for what must come.
const patience = time.Minute

// suiteSAs is how many SAs the suite fills the kernel with: an emulated processor
// takes some milliseconds for each.
const suiteSAs = 80

// The inner side of the gateway, in the local network of the suite's SAs.
var (
	suiteInner = netip.MustParseAddr("198.18.0.1")
	suitePort  = uint16(9)
)

// TestXFRMKeepsTheContract runs the conformance suite, with real packets: each
// dataplane lives in a host of its own, next to a host that plays the peer.
func TestXFRMKeepsTheContract(t *testing.T) { // B8
	number := 0
	offloadtest.Run(t, func(context.Context) (*offloadtest.Harness, error) {
		number++
		e, err := xfrm.New(xfrm.Options{Version: "test", MaxSAs: suiteSAs})
		if err != nil {
			return nil, err
		}
		w := newWire(t, number, e)
		return &offloadtest.Harness{
			Engine: w, Local: w.local, Remote: w.remote, Traffic: w, Links: w,
			Close: func() error { w.close(); return e.Close() },
		}, nil
	})
}

// wire is an engine between two sockets: one that the plaintext leaves from and
// arrives at, and one that plays the peer.
type wire struct {
	*xfrm.Engine
	gateway, peer *netlab.Namespace
	local, remote netip.Addr
	plain         *net.UDPConn
	esp           *net.IPConn
}

func newWire(t *testing.T, number int, e *xfrm.Engine) *wire {
	t.Helper()
	lab := netlab.New(t)
	w := &wire{Engine: e, local: netip.MustParseAddr("192.0.2.1"), remote: netip.MustParseAddr("192.0.2.2")}
	w.gateway, w.peer = lab.Namespace(fmt.Sprintf("gateway%d", number)), lab.Namespace(fmt.Sprintf("peer%d", number))
	lab.Link(w.gateway.Port("wan", "192.0.2.1/24"), w.peer.Port("wan", "192.0.2.2/24"))
	w.gateway.Loopback(suiteInner.String() + "/32")
	w.gateway.Forward()
	return w
}

// Configure is the engine's, inside the gateway's host; afterwards the inner
// network is routed to it.
func (w *wire) Configure(ctx context.Context, c offload.Config) (info offload.Info, err error) {
	err = w.gateway.Do(func() error {
		info, err = w.Engine.Configure(ctx, c)
		return err
	})
	if err == nil && w.plain == nil {
		err = w.open(info.PlaintextInterface)
	}
	return info, err
}

// open opens the sockets; device leads to the suite's clients.
func (w *wire) open(device string) error {
	if device != "" {
		err := w.gateway.Do(func() error {
			link, err := netlink.LinkByName(device)
			if err != nil {
				return err
			}
			clients := &net.IPNet{IP: net.IPv4(198, 19, 0, 0), Mask: net.CIDRMask(16, 32)}
			return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: clients, Scope: netlink.SCOPE_LINK})
		})
		if err != nil {
			return fmt.Errorf("route the suite's clients: %w", err)
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

func (w *wire) close() {
	if w.plain != nil {
		_ = w.plain.Close()
	}
	if w.esp != nil {
		_ = w.esp.Close()
	}
}

// dealt waits until the SA has dealt with one packet more than before, and tells
// whether it passed. Packets are played one by one: the kernel tells of the end of
// an SA while later packets are on their way already.
func (w *wire) dealt(ctx context.Context, id ipsec.SAID, before *offload.Counters) (passed bool, err error) {
	var after offload.Counters
	err = netlab.Poll(ctx, patience, func() (err error) {
		if after, err = w.count(ctx, id); err != nil {
			return err
		}
		if dealtWith(after) == dealtWith(*before) {
			return fmt.Errorf("%v has not dealt with a packet", id)
		}
		return nil
	})
	passed = after.Packets > before.Packets
	*before = after
	return passed, err
}

func dealtWith(c offload.Counters) uint64 {
	d := c.Drops
	return c.Packets + d.Replayed + d.Authentication + d.Lifetime + d.Ceiling + d.Standby
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
	before, err := w.count(ctx, sa.ID)
	if err != nil {
		return nil, err
	}
	to := netip.AddrPortFrom(sa.Selectors.Remote[0].Min, suitePort)
	var sent []offloadtest.Sent
	for range n {
		if _, err := w.plain.WriteToUDPAddrPort([]byte("inner"), to); err != nil {
			return nil, err
		}
		passed, err := w.dealt(ctx, sa.ID, &before)
		if err != nil {
			return nil, err
		}
		if passed {
			s, err := w.arrived(sa)
			if err != nil {
				return nil, err
			}
			sent = append(sent, s)
		}
	}
	return sent, nil
}

// arrived reads one ESP packet at the peer.
func (w *wire) arrived(sa ipsec.SA) (offloadtest.Sent, error) {
	b := make([]byte, 2048)
	if err := w.esp.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return offloadtest.Sent{}, err
	}
	n, _, err := w.esp.ReadFromIP(b)
	if err != nil {
		return offloadtest.Sent{}, fmt.Errorf("read ESP from the wire: %w", err)
	}
	p, err := esptest.KeysOf(sa).Open(b[:n], 0)
	return offloadtest.Sent{SPI: sa.ID.SPI, Seq: p.Seq, IV: p.IV}, err
}

// Deliver implements offloadtest.Traffic.
func (w *wire) Deliver(ctx context.Context, sa ipsec.SA, seqs ...uint64) (int, error) {
	before, err := w.count(ctx, sa.ID)
	if err != nil {
		return 0, err
	}
	inner := udpPacket(netip.AddrPortFrom(sa.Selectors.Remote[0].Min, 1000), netip.AddrPortFrom(suiteInner, suitePort), []byte("inner"))
	total := 0
	for _, seq := range seqs {
		b, err := esptest.KeysOf(sa).Seal(esptest.Packet{SPI: sa.ID.SPI, Seq: seq, Payload: inner, Next: 4})
		if err != nil {
			return total, err
		}
		if _, err := w.esp.WriteToIP(b, &net.IPAddr{IP: w.local.AsSlice()}); err != nil {
			return total, err
		}
		passed, err := w.dealt(ctx, sa.ID, &before)
		if err != nil {
			return total, err
		}
		if !passed {
			continue
		}
		if err := w.plain.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return total, err
		}
		if _, err := w.plain.Read(b); err != nil {
			return total, fmt.Errorf("after %d packets behind the tunnel: %w", total, err)
		}
		total++
	}
	return total, nil
}

// udpPacket builds an IPv4 UDP packet.
func udpPacket(from, to netip.AddrPort, payload []byte) []byte {
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

func ipCommand(args ...string) *exec.Cmd { return exec.Command("ip", args...) }

func nftCommand(args ...string) *exec.Cmd { return exec.Command("nft", args...) }
