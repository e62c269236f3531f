package transport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha/transport/cert"
)

// BenchmarkFrames sends records to one member on the loopback interface, until
// it has them.
func BenchmarkFrames(b *testing.B) {
	for _, octets := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprintf("octets=%d", octets), func(b *testing.B) {
			from, got := benchPair(b)
			body := make([]byte, octets)
			b.SetBytes(int64(octets))
			b.ReportAllocs()
			base := got.frames.Load()
			var sent uint64
			for b.Loop() {
				for from.Send(2, Frame{Type: 1, Class: Record, Body: body}) != Queued {
					<-got.room
				}
				sent++
			}
			for got.frames.Load()-base < sent {
				<-got.beat
			}
			b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "frames/s")
		})
	}
}

// benchInbox counts.
type benchInbox struct {
	up     chan struct{}
	room   chan struct{}
	beat   chan struct{}
	frames atomic.Uint64
}

func (i *benchInbox) PeerUp(Session)             { i.up <- struct{}{} }
func (*benchInbox) PeerDown(Session, error)      {}
func (*benchInbox) ReceiveHeartbeat(Heartbeat)   {}
func (i *benchInbox) Room(ipsec.MemberID, Class) { signal(i.room) }

func (i *benchInbox) ReceiveFrame(ipsec.MemberID, Frame) {
	i.frames.Add(1)
	signal(i.beat)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func benchPair(b *testing.B) (*Mesh, *benchInbox) {
	b.Helper()
	in := &benchInbox{up: make(chan struct{}, 2), room: make(chan struct{}, 1), beat: make(chan struct{}, 1)}
	authority := newAuthority(b, 1)
	net := [2]byte{byte(1 + rand.IntN(254)), byte(rand.IntN(256))}
	addrs := []netip.Addr{netip.AddrFrom4([4]byte{127, net[0], net[1], 1}), netip.AddrFrom4([4]byte{127, net[0], net[1], 2})}
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	b.Cleanup(cancel)
	var first *Mesh
	for i, addr := range addrs {
		m, err := New(Config{
			Identity: issue(b, authority, authority, cert.Member{ID: ipsec.MemberID(i + 1), Valid: time.Minute}, time.Now()),
			Local:    netip.AddrPortFrom(addr, testPort),
			Peers:    []Peer{{Addr: addrs[1-i]}},
			Receiver: in,
		})
		if err != nil {
			b.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		b.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				b.Error(err)
			}
		})
		if first == nil {
			first = m
		}
	}
	<-in.up
	<-in.up
	return first, in
}
