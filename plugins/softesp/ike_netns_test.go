package softesp_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/ikesock"
)

// TestIKEOnPort4500ReachesTheDaemon and the daemon's answers and keepalives leave
// from that port, in both families. ESP and keepalives do not get there.
func TestIKEOnPort4500ReachesTheDaemon(t *testing.T) {
	a, b := newGateways(t, nil)
	path := filepath.Join(t.TempDir(), "ike.sock")
	daemon, err := ikesock.Listen(path)
	if err != nil {
		t.Fatalf("The daemon cannot listen: %v.", err)
	}
	defer daemon.Close()
	a.config.IKESocket = path
	if err := a.ns.Do(func() error { _, err := a.engine.Configure(t.Context(), a.config); return err }); err != nil {
		t.Fatalf("The engine cannot be configured with the daemon's socket: %v.", err)
	}
	closeEngine(t, b)
	b.ping(a.outer[1].String(), 1)
	for family := range a.outer {
		t.Run([]string{"IPv4", "IPv6"}[family], func(t *testing.T) {
			peer := b.listenUDP(netip.AddrPortFrom(b.outer[family], 4500))
			defer peer.Close()
			local := netip.AddrPortFrom(a.outer[family], 4500)
			message := bytes.Repeat([]byte("ike"), 700) // longer than a packet
			for _, d := range [][]byte{{0xff}, append([]byte{0, 0, 0, 0}, message...)} {
				if _, err := peer.WriteToUDPAddrPort(d, local); err != nil {
					t.Fatalf("The peer cannot send: %v.", err)
				}
			}
			got := make([]ikesock.Datagram, 4)
			n, err := daemon.ReadBatch(got)
			if err != nil || n != 1 || !bytes.Equal(got[0].Payload, message) || got[0].Local != local || got[0].Remote != netip.AddrPortFrom(b.outer[family], 4500) {
				t.Fatalf("The daemon should get the message without its marker, got %d datagrams, %v: %.80v.", n, err, got[0])
			}
			answers := []ikesock.Datagram{
				{Local: got[0].Local, Remote: got[0].Remote, Payload: message},
				{Local: got[0].Local, Remote: got[0].Remote, Keepalive: true},
			}
			if n := daemon.WriteBatch(answers); n != 2 {
				t.Fatalf("The daemon's answers should be taken, got %d.", n)
			}
			for _, want := range [][]byte{append([]byte{0, 0, 0, 0}, message...), {0xff}} {
				if got, from := receive(t, peer); !bytes.Equal(got, want) || from != local {
					t.Errorf("The peer should get %d octets from %v, got %d from %v.", len(want), local, len(got), from)
				}
			}
		})
	}
	if err := wantStats(a.engine, map[string]uint64{"ike": 2, "keepalives": 2}); err != nil {
		t.Error(err)
	}
}

// TestWithoutADaemonIKEIsDroppedAndCounted, and a new daemon is dialled by
// Configure.
func TestWithoutADaemonIKEIsDroppedAndCounted(t *testing.T) {
	a, b := newGateways(t, nil)
	closeEngine(t, b)
	peer := b.listenUDP(netip.AddrPortFrom(b.outer[0], 4500))
	defer peer.Close()
	if _, err := peer.WriteToUDPAddrPort([]byte("\x00\x00\x00\x00hello"), netip.AddrPortFrom(a.outer[0], 4500)); err != nil {
		t.Fatalf("The peer cannot send: %v.", err)
	}
	netlab.Eventually(t, patience, "the message is counted as dropped", func() error {
		return wantStats(a.engine, map[string]uint64{"ike-dropped": 1})
	})
	a.config.IKESocket = filepath.Join(t.TempDir(), "nobody.sock")
	if _, err := a.engine.Configure(t.Context(), a.config); err == nil {
		t.Error("Configure should fail when the daemon's socket is not there.")
	}
}

// TestPeerThatMovesIsReported: authentic packets from another port are reported
// once, forged and old ones are not; the SA goes on sending where it did.
func TestPeerThatMovesIsReported(t *testing.T) {
	a, b := newGateways(t, nil)
	atA, _ := tunnelSpec{udp: true}.pair(a, b)
	a.install(offload.Active, atA[:]...)
	closeEngine(t, b)
	events := watch(t, a.engine)
	elsewhere := b.listenUDP(netip.AddrPortFrom(b.outer[0], 50001))
	defer elsewhere.Close()
	to := netip.AddrPortFrom(a.outer[0], 4500)
	throw := func(p []byte) {
		if _, err := elsewhere.WriteToUDPAddrPort(p, to); err != nil {
			t.Fatalf("The peer cannot send: %v.", err)
		}
	}
	throw(flip(sealed(t, atA[0], 10), 30))
	throw(sealed(t, atA[0], 11))
	throw(sealed(t, atA[0], 12))
	want(events, "the peer's new port", func(e offload.PeerMoved) bool {
		return e.ID == atA[0].ID && e.Remote == netip.AddrPortFrom(b.outer[0], 50001)
	})
	netlab.Eventually(t, patience, "both packets are counted", func() error {
		if c := a.counters(atA[0].ID); c.Packets != 2 || c.Drops.Authentication != 1 {
			return fmt.Errorf("got %+v", c)
		}
		return nil
	})
	none[offload.PeerMoved](events, "The peer moved once")

	// The core answers with the new endpoint; packets go there then.
	moved := offload.Endpoint{Local: a.outer[0], Remote: b.outer[0], Encap: &ipsec.Encap{LocalPort: 4500, RemotePort: 50001}}
	if _, err := a.engine.Update(t.Context(), epoch, offload.Change{ID: atA[1].ID, Endpoint: &moved}); err != nil {
		t.Fatalf("Update failed: %v.", err)
	}
	a.pingOnce(netlab.Ping{To: b.inner[0].String(), Count: 1, Wait: 100 * time.Millisecond})
	if got, _ := receive(t, elsewhere); !bytes.HasPrefix(got, []byte{0x20, 0, 0x10, 0}) {
		t.Errorf("ESP of the outbound SA should arrive at the new port, got %x.", got)
	}
}

// sealed makes the peer's packet for an inbound SA, around a ping.
func sealed(t *testing.T, sa ipsec.SA, seq uint64) []byte {
	t.Helper()
	w := &wire{t: t}
	inner := udpPacket(netip.AddrPortFrom(sa.Selectors.Remote[0].Min, 1), netip.AddrPortFrom(sa.Selectors.Local[0].Min, 9), nil)
	return w.sealAround(sa, seq, inner, 4)
}

// closeEngine leaves the host to the test's own sockets.
func closeEngine(t *testing.T, g *gateway) {
	t.Helper()
	if err := g.engine.Close(); err != nil {
		t.Fatalf("The engine did not close cleanly: %v.", err)
	}
}

func (g *gateway) listenUDP(at netip.AddrPort) *net.UDPConn {
	g.t.Helper()
	conn, err := g.ns.ListenUDP(at.String())
	if err != nil {
		g.t.Fatalf("A socket on %v cannot be opened: %v.", at, err)
	}
	return conn
}

func receive(t *testing.T, conn *net.UDPConn) ([]byte, netip.AddrPort) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatalf("The deadline cannot be set: %v.", err)
	}
	b := make([]byte, 1<<16)
	n, from, err := conn.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatalf("A datagram should arrive: %v.", err)
	}
	return b[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}
