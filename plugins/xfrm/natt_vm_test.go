package xfrm_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/softesp/esptest"
)

// TestESPInUDPArrivesWhoeverListens closes the daemon's socket and opens it again.
func TestESPInUDPArrivesWhoeverListens(t *testing.T) { // B6
	w := newLab(t, nil)
	in, _ := pairOf(w, 1)
	in.Encap = &ipsec.Encap{LocalPort: 4500, RemotePort: 40000}
	w.install(t, offload.Active, in)
	peer := w.atPeer(t, "udp4", "192.0.2.2:40000")
	gateway := &net.UDPAddr{IP: w.local.AsSlice(), Port: 4500}
	inner := udpPacket(netip.AddrPortFrom(in.Selectors.Remote[0].Min, 1000), netip.AddrPortFrom(suiteInner, suitePort), []byte("inner"))
	number := uint64(0)
	wantESP := func(when string) {
		t.Helper()
		number++
		b, err := esptest.KeysOf(in).Seal(esptest.Packet{SPI: in.ID.SPI, Seq: number, Next: 4, Payload: inner})
		if err == nil {
			_, err = peer.WriteTo(b, gateway)
		}
		if err != nil {
			t.Fatalf("The peer cannot send: %v.", err)
		}
		netlab.Eventually(t, patience, "ESP arrives "+when, func() error {
			if c, err := w.count(t.Context(), in.ID); err != nil || c.Sequence.Highest != number {
				return errors.Join(err, fmt.Errorf("the last number is %d, want %d", c.Sequence.Highest, number))
			}
			return nil
		})
	}
	wantIKE := func(daemon net.PacketConn) {
		t.Helper()
		message := "\x00\x00\x00\x00 IKE behind the non-ESP marker" // RFC 3948 section 2.2
		b := make([]byte, 100)
		_, err := peer.WriteTo([]byte(message), gateway)
		n := 0
		if err == nil {
			err = daemon.SetReadDeadline(time.Now().Add(patience))
		}
		if err == nil {
			n, _, err = daemon.ReadFrom(b)
		}
		if err != nil || string(b[:n]) != message {
			t.Errorf("IKE should come to the daemon's socket, %q did (%v).", b[:n], err)
		}
	}

	wantESP("before there is a daemon")
	daemon := w.listenNATT(t)
	wantESP("at the daemon")
	wantIKE(daemon)
	if err := daemon.Close(); err != nil {
		t.Fatalf("The daemon's socket cannot be closed: %v.", err)
	}
	wantESP("while the daemon is away")
	daemon = w.listenNATT(t)
	wantESP("at the next daemon")
	wantIKE(daemon)
	if c, err := w.count(context.WithoutCancel(t.Context()), in.ID); err != nil || c.Packets != number || c.Drops != (offload.Drops{}) {
		t.Errorf("Each of %d packets should have been taken once, the SA counts %d and %+v (%v).", number, c.Packets, c.Drops, err)
	}
}
