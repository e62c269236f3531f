//go:build dpdk

package dpdk_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/dpdk"
)

// torn is how many packets TestFragmentsThatNeverBecomeWhole begins, as many as the
// loop takes from a port at once. A packet has at most tornPieces pieces, as DPDK is
// built.
const (
	torn       = 64
	tornPieces = 8
)

// The outer addresses: packet sockets join fragments of IPv4 themselves.
var (
	local6 = netip.MustParseAddr("2001:db8::1")
	peer6  = netip.MustParseAddr("2001:db8::2")
)

// TestFragmentsThatNeverBecomeWhole has many packets wait for the rest of them, and
// then one piece too many of each arrive in one burst, so that the burst gives up
// several hundred buffers: more than DPDK notes for one caller. None may be lost or
// freed twice, which Close tells.
func TestFragmentsThatNeverBecomeWhole(t *testing.T) {
	e := dpdk.New(dpdk.Options{Version: "test", EAL: process})
	w := newWire(t, e)
	if _, err := w.Configure(t.Context(), offload.Config{Boot: 1, Addresses: []netip.Addr{w.local, local6}, Settings: w.settings}); err != nil {
		t.Fatalf("The dataplane cannot be configured: %v.", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(w.close(), e.Close()); err != nil {
			t.Errorf("The dataplane did not end cleanly: %v.", err)
		}
	})
	w.peer.Sysctl("net/ipv6/neigh/wan/mcast_solicit", "100") // seconds that it waits for an address
	run(t, w.peer, "ip", "address", "add", peer6.String()+"/64", "dev", "wan", "nodad")
	w.knowGateway(t)
	for piece := range tornPieces {
		w.tear(t, piece)
		netlab.Eventually(t, patience, fmt.Sprintf("piece %d of each packet was taken", piece), func() error {
			return taken(t.Context(), e, (piece+1)*torn)
		})
	}
	run(t, w.peer, "ip", "neighbour", "delete", local6.String(), "dev", "wan")
	w.tear(t, tornPieces)
	w.knowGateway(t)
	netlab.Eventually(t, patience, "all pieces were taken", func() error {
		return taken(t.Context(), e, (tornPieces+1)*torn)
	})
}

// tear sends the peer's piece of each packet: the first, the last, or one between.
func (w *wire) tear(t *testing.T, piece int) {
	t.Helper()
	at := uint16(16*piece | 1) // more follow
	if piece == 1 {
		at = 32 * tornPieces
	}
	b := make([]byte, 40, 56)
	b[0], b[5], b[6], b[7] = 0x60, 16, 44, 64
	copy(b[8:], peer6.AsSlice())
	copy(b[24:], local6.AsSlice())
	b = binary.BigEndian.AppendUint16(b, 50<<8)
	b = binary.BigEndian.AppendUint16(b, at)
	b = append(b, make([]byte, 12)...)
	err := w.peer.Do(func() error {
		s, err := net.ListenIP("ip6:255", &net.IPAddr{IP: peer6.AsSlice()}) // headers come from us
		if err != nil {
			return err
		}
		defer func() { _ = s.Close() }() // all is sent
		for id := 1; err == nil && id <= torn; id++ {
			binary.BigEndian.PutUint32(b[44:], uint32(id))
			_, err = s.WriteToIP(b, &net.IPAddr{IP: local6.AsSlice()})
		}
		return err
	})
	if err != nil {
		t.Fatalf("Piece %d of the packets cannot be sent: %v.", piece, err)
	}
}

// knowGateway tells the peer the gateway's hardware address. What it could not send
// until then leaves at once.
func (w *wire) knowGateway(t *testing.T) {
	t.Helper()
	run(t, w.peer, "ip", "neighbour", "replace", local6.String(), "lladdr", w.gateway.Interface("wire").MAC().String(), "dev", "wan", "nud", "permanent")
}

// taken wants workers to have taken so many packets.
func taken(ctx context.Context, e *dpdk.Engine, n int) error {
	stats, err := e.Stats(ctx)
	for _, s := range stats {
		if s.Name == "worker0" && s.Value >= uint64(n) {
			return err
		}
	}
	return errors.Join(err, fmt.Errorf("statistics are %v, want %d at worker0", stats, n))
}
