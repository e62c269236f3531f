//go:build dpdk

package dpdk_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/offloadtest"
	"github.com/evergate/evergate/plugins/dpdk"
	"github.com/evergate/evergate/plugins/softesp/esptest"
)

// churnTunnels is how many tunnels come and go, churnRounds how often something
// happens to one.
const (
	churnTunnels = 16
	churnRounds  = 400
)

// TestSAsComeAndGoUnderTraffic installs, replaces, demotes, moves and deletes SAs
// while packets for all of them arrive from both sides, at two workers and a port that
// encrypts for some. Nothing may be
// lost of what packets and sessions are made of, which Close tells; built with
// sanitizers, nothing may be used after it was freed.
func TestSAsComeAndGoUnderTraffic(t *testing.T) {
	e := dpdk.New(dpdk.Options{Version: "test", EAL: process})
	w := newWire(t, e)
	w.settings["workers"] = "2"
	w.settings["npu-slots"] = "6"
	w.playCard()
	h := &offloadtest.Harness{Engine: w, Local: w.local, Remote: w.remote}
	if _, err := w.Configure(t.Context(), offload.Config{Boot: 1, Addresses: []netip.Addr{w.local}, Settings: w.settings}); err != nil {
		t.Fatalf("The dataplane cannot be configured: %v.", err)
	}
	a := ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA2_256_128, ESN: true}
	var pairs [churnTunnels][2]ipsec.SA
	for i := range pairs {
		if i == churnTunnels/2 {
			a = ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 256}
		}
		pairs[i][0], pairs[i][1] = h.Pair(a, uint32(i+1), offload.Group(i%2))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var traffic sync.WaitGroup
	keys := slices.Clone(pairs[:]) // generations change meanwhile
	traffic.Go(func() { w.pour(ctx, keys) })
	churn(t, e, pairs[:])
	cancel()
	traffic.Wait()
	used := false
	for c, err := range w.Export(t.Context(), offload.AllGroups) {
		used = used || err == nil && c.Packets > 0
	}
	if !used {
		t.Error("Packets should have passed some SA.")
	}
	if err := w.close(); err != nil {
		t.Errorf("The sockets did not close: %v.", err)
	}
	if err := e.Close(); err != nil {
		t.Errorf("The dataplane did not end cleanly: %v.", err)
	}
}

// churn does one thing after the other to one tunnel or group or another.
func churn(t *testing.T, e *dpdk.Engine, pairs [][2]ipsec.SA) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	epoch := func(n int) offload.Epoch { return offload.NewEpoch(uint64(n+1), 1) }
	for n := range churnRounds {
		i := r.IntN(len(pairs))
		p, g := &pairs[i], offload.Group(i%2)
		var err error
		switch r.IntN(6) {
		case 0, 1:
			p[0].Generation++
			p[1].Generation++
			_, err = e.Install(t.Context(), epoch(n), offload.Role(1+r.IntN(2)), p[0], p[1])
		case 2:
			_, err = e.Delete(t.Context(), epoch(n), p[0].ID, p[1].ID)
		case 3:
			err = e.Promote(t.Context(), g, epoch(n))
		case 4:
			if err = e.Demote(t.Context(), g, epoch(n)); err == nil {
				err = e.Arm(t.Context(), g, epoch(n))
			}
		default:
			moved := offload.Endpoint{Local: p[1].Local, Remote: p[1].Remote, Encap: &ipsec.Encap{LocalPort: 4500, RemotePort: uint16(1024 + n)}}
			_, err = e.Update(t.Context(), epoch(n), offload.Change{ID: p[1].ID, Endpoint: &moved})
		}
		if err != nil {
			t.Fatalf("Round %d failed: %v.", n, err)
		}
	}
}

// pour sends packets for all tunnels from both sides until ctx ends.
func (w *wire) pour(ctx context.Context, pairs [][2]ipsec.SA) {
	for seq := uint64(1); ctx.Err() == nil; seq++ {
		for _, p := range pairs {
			to := netip.AddrPortFrom(p[1].Selectors.Remote[0].Min, suitePort)
			_, _ = w.plain.WriteToUDPAddrPort([]byte("inner"), to) // a full queue is fine here
			inner := udpPacket(to, netip.AddrPortFrom(suiteInner, suitePort))
			b, err := esptest.KeysOf(p[0]).Seal(esptest.Packet{SPI: p[0].ID.SPI, Seq: seq, Payload: inner, Next: 4})
			if err != nil {
				return
			}
			if seq%16 == 0 { // and one that is not authentic
				binary.BigEndian.PutUint32(b[len(b)-4:], uint32(seq))
			}
			_, _ = w.esp.WriteToIP(b, &net.IPAddr{IP: w.local.AsSlice()})
		}
	}
}
