package xfrm_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/softesp/esptest"
)

// flow is a stream of packets through one SA, of which a few are under way at a time.
type flow struct {
	arrived chan uint64 // their numbers, at the far end
	room    chan struct{}
	stop    chan struct{}
	failed  chan error
	sent    int
}

const underWay = 16

// begin sends packets until end; who receives one tells arrived.
func begin(send func(n int) error) *flow {
	f := &flow{arrived: make(chan uint64, 1<<16), room: make(chan struct{}, underWay), stop: make(chan struct{}), failed: make(chan error, 1)}
	go func() {
		for {
			select {
			case <-f.stop:
				f.failed <- nil
				return
			case f.room <- struct{}{}:
			}
			if err := send(f.sent); err != nil {
				f.failed <- err
				return
			}
			f.sent++
		}
	}()
	return f
}

// got notes a packet at the far end.
func (f *flow) got(number uint64) {
	f.arrived <- number
	<-f.room
}

// collect waits for n packets more.
func (f *flow) collect(t *testing.T, numbers map[uint64]bool, n int) {
	t.Helper()
	for range n {
		select {
		case number := <-f.arrived:
			if numbers[number] {
				t.Errorf("Number %d came twice.", number)
			}
			numbers[number] = true
		case <-time.After(patience):
			t.Fatalf("After %d packets nothing comes any more: one was lost.", len(numbers))
		}
	}
}

// end stops to send, and wants all packets to have arrived.
func (f *flow) end(t *testing.T, numbers map[uint64]bool) {
	t.Helper()
	close(f.stop)
	if err := <-f.failed; err != nil {
		t.Fatalf("The stream broke: %v.", err)
	}
	f.collect(t, numbers, f.sent-len(numbers))
}

// hear gives the numbers of ESP packets that arrive at c to the flow, until c is closed.
func (f *flow) hear(c net.PacketConn) {
	b := make([]byte, 2048)
	for {
		n, _, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		if n > 8 {
			f.got(uint64(binary.BigEndian.Uint32(b[4:])))
		}
	}
}

// atPeer opens a socket in the peer's host.
func (w *wire) atPeer(t *testing.T, network, address string) (c net.PacketConn) {
	t.Helper()
	err := w.peer.Do(func() (err error) {
		c, err = (&net.ListenConfig{}).ListenPacket(t.Context(), network, address)
		return err
	})
	if err != nil {
		t.Fatalf("The peer cannot listen at %s: %v.", address, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (w *wire) follow(t *testing.T, to offload.Endpoint, sas ...ipsec.SA) {
	t.Helper()
	for _, sa := range sas {
		placed, err := w.Update(t.Context(), epoch, offload.Change{ID: sa.ID, Endpoint: &to})
		if err != nil || placed[0].Err != nil {
			t.Fatalf("%v cannot follow the peer: %v, %+v.", sa.ID, err, placed)
		}
	}
}

// TestNATRebindsUnderTraffic moves a peer to other ports and addresses, and back, while
// packets go both ways: none is lost, none is taken twice, and no number is used twice.
func TestNATRebindsUnderTraffic(t *testing.T) { // RFC 7296 section 2.23, B1
	for name, places := range map[string][]string{
		"port":             {"192.0.2.2:40000", "192.0.2.2:40001"},
		"address":          {"192.0.2.2:40000", "192.0.2.3:40000"},
		"address and port": {"192.0.2.2:40000", "192.0.2.3:40001", "192.0.2.3:40002"},
	} {
		t.Run(name, func(t *testing.T) { rebind(t, places) })
	}
}

func rebind(t *testing.T, places []string) {
	w := newLab(t, nil)
	w.listenNATT(t)
	if out, err := w.peer.Output(ipCommand("address", "add", "192.0.2.3/24", "dev", "wan")); err != nil {
		t.Fatalf("The peer has no other address: %v: %s.", err, out)
	}
	in, out := pairOf(w, 1)
	for _, sa := range []*ipsec.SA{&in, &out} {
		sa.Encap = &ipsec.Encap{LocalPort: 4500, RemotePort: 40000}
	}
	in.ReplayWindow, out.Sequence.Ceiling = 4096, 1<<24
	w.install(t, offload.Active, in, out)
	var peers []net.PacketConn
	for _, at := range places {
		peers = append(peers, w.atPeer(t, "udp4", at))
	}

	client := netip.AddrPortFrom(out.Selectors.Remote[0].Min, suitePort)
	down := begin(func(int) error {
		_, err := w.plain.WriteToUDPAddrPort([]byte("inner"), client)
		return err
	})
	for _, c := range peers {
		go down.hear(c)
	}
	inner := netip.AddrPortFrom(suiteInner, suitePort)
	from := func(at net.PacketConn, number uint64) error {
		payload := udpPacket(client, inner, binary.BigEndian.AppendUint64(nil, number))
		b, err := esptest.KeysOf(in).Seal(esptest.Packet{SPI: in.ID.SPI, Seq: number, Next: 4, Payload: payload})
		if err == nil {
			_, err = at.WriteTo(b, &net.UDPAddr{IP: w.local.AsSlice(), Port: 4500})
		}
		return err
	}
	up := begin(func(n int) error { return from(peers[n/40%len(peers)], uint64(n+1)) })
	go func() {
		b := make([]byte, 100)
		for {
			n, _, err := w.plain.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if n == 8 {
				up.got(binary.BigEndian.Uint64(b))
			}
		}
	}()

	sent, received := make(map[uint64]bool), make(map[uint64]bool)
	for i := range 8 {
		down.collect(t, sent, 30)
		up.collect(t, received, 30)
		at := netip.MustParseAddrPort(places[(i+1)%len(places)])
		w.follow(t, offload.Endpoint{Local: w.local, Remote: at.Addr(), Encap: &ipsec.Encap{LocalPort: 4500, RemotePort: at.Port()}}, in, out)
	}
	for next := w.all(t)[out.ID].Sequence.Next; !sent[next]; {
		down.collect(t, sent, 1) // by the last path, too
	}
	down.end(t, sent)
	up.end(t, received)
	all := w.all(t)
	if c := all[out.ID]; c.Packets != uint64(down.sent) || c.Sequence.Next != slices.Max(slices.Collect(maps.Keys(sent)))+1 {
		t.Errorf("The SA should count %d packets and go on after the last one, it counts %d and goes on with %d.", down.sent, c.Packets, c.Sequence.Next)
	}
	if c := all[in.ID]; c.Packets != uint64(up.sent) || c.Drops != (offload.Drops{}) {
		t.Errorf("All of %d packets should have been taken, the SA counts %d and %+v.", up.sent, c.Packets, c.Drops)
	}
	const again = 50
	for i := range uint64(again) {
		if err := from(peers[i%uint64(len(peers))], i+1); err != nil {
			t.Fatalf("An old packet cannot be sent: %v.", err)
		}
	}
	netlab.Eventually(t, patience, "what came before is dropped", func() error {
		if c := w.all(t)[in.ID]; c.Packets != uint64(up.sent) || c.Drops.Replayed != again {
			return fmt.Errorf("of %d old packets %d are dropped and %d accepted", again, c.Drops.Replayed, c.Packets-uint64(up.sent))
		}
		return nil
	})
}

// TestPeerMovesToAnotherAddressUnderTraffic has packets sent while the SA gets another
// destination.
func TestPeerMovesToAnotherAddressUnderTraffic(t *testing.T) { // RFC 4555 section 3.5, B1
	w := newLab(t, nil)
	if out, err := w.peer.Output(ipCommand("address", "add", "192.0.2.3/24", "dev", "wan")); err != nil {
		t.Fatalf("The peer has no other address: %v: %s.", err, out)
	}
	_, out := pairOf(w, 1)
	out.Sequence.Ceiling = 1 << 24
	w.install(t, offload.Active, out)
	client := netip.AddrPortFrom(out.Selectors.Remote[0].Min, suitePort)
	// Before anything is sent: until it is bound, a raw socket hears of all addresses.
	there := w.atPeer(t, "ip4:50", "192.0.2.3")
	f := begin(func(int) error {
		_, err := w.plain.WriteToUDPAddrPort([]byte("inner"), client)
		return err
	})
	go f.hear(w.esp)
	go f.hear(there)
	numbers := make(map[uint64]bool)
	for i := range 6 {
		f.collect(t, numbers, 30)
		w.follow(t, offload.Endpoint{Local: w.local, Remote: netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", 2+(i+1)%2))}, out)
	}
	f.end(t, numbers)
	if c := w.all(t)[out.ID]; c.Packets != uint64(f.sent) || c.ID != out.ID {
		t.Errorf("The SA should count all of %d packets under its first name, it is %+v.", f.sent, c)
	}
}
