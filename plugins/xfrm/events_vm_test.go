package xfrm_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/softesp/esptest"
)

// wantEvent reads events until one is as wanted.
func (w *wire) wantEvent(t *testing.T, want offload.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var others []offload.Event
	for ev, err := range w.Events(ctx) {
		if err != nil {
			t.Fatalf("The events ended: %v.", err)
		}
		if reflect.DeepEqual(ev, want) {
			return
		}
		others = append(others, ev)
	}
	t.Errorf("The event %+v should come, got %+v.", want, others)
}

// wantOverrun reads events until some were lost.
func (w *wire) wantOverrun(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for ev, err := range w.Events(ctx) {
		if err != nil {
			t.Fatalf("The events ended: %v.", err)
		}
		if _, overrun := ev.(offload.Overrun); overrun {
			return
		}
	}
	t.Fatal("It should be told that events were lost.")
}

func TestPacketWithoutSAAsksForOne(t *testing.T) {
	w := newLab(t, nil)
	to := netip.MustParseAddrPort("198.19.7.7:4242")
	// The kernel refuses the packet while it asks.
	if _, err := w.plain.WriteToUDPAddrPort([]byte("inner"), to); err != nil && !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.EHOSTUNREACH) {
		t.Fatalf("The packet cannot be sent: %v.", err)
	}
	own := func(a netip.AddrPort) ipsec.TrafficSelector {
		return ipsec.TrafficSelector{Proto: unix.IPPROTO_UDP, Min: a.Addr(), Max: a.Addr(), PortMin: a.Port(), PortMax: a.Port()}
	}
	w.wantEvent(t, offload.Acquire{Local: own(netip.AddrPortFrom(suiteInner, suitePort)), Remote: own(to)})
}

func TestIPv6PacketWithoutSAAsksForOne(t *testing.T) {
	w := newLab(t, nil)
	from, to := netip.MustParseAddrPort("[fd00:18::1]:9"), netip.MustParseAddrPort("[fd00:19::7]:4242")
	w.gateway.Loopback(from.Addr().String() + "/128")
	if out, err := w.gateway.Output(ipCommand("route", "add", "fd00:19::/32", "dev", "evg0")); err != nil {
		t.Fatalf("The clients cannot be routed: %v: %s.", err, out)
	}
	err := w.gateway.Do(func() error {
		c, err := net.DialUDP("udp6", net.UDPAddrFromAddrPort(from), net.UDPAddrFromAddrPort(to))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("inner"))
		return err
	})
	if err != nil && !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.EHOSTUNREACH) {
		t.Fatalf("The packet cannot be sent: %v.", err)
	}
	own := func(a netip.AddrPort) ipsec.TrafficSelector {
		return ipsec.TrafficSelector{Proto: unix.IPPROTO_UDP, Min: a.Addr(), Max: a.Addr(), PortMin: a.Port(), PortMax: a.Port()}
	}
	w.wantEvent(t, offload.Acquire{Local: own(from), Remote: own(to)})
}

// TestEventsThatTheKernelLosesAreTold has the kernel say more than the socket holds, as
// it happens to a process that does not come to read: many SAs reach their ends at once.
func TestEventsThatTheKernelLosesAreTold(t *testing.T) { // I2
	const many = 200
	w := newLab(t, nil)
	outs := make([]ipsec.SA, many)
	for i := range outs {
		_, outs[i] = pairOf(w, uint32(i+1))
		outs[i].Sequence.Ceiling = 3
	}
	w.install(t, offload.Active, outs...)
	deafen(t)
	for _, out := range outs {
		for range 4 { // with three numbers
			if _, err := w.plain.WriteToUDPAddrPort([]byte("inner"), netip.AddrPortFrom(out.Selectors.Remote[0].Min, suitePort)); err != nil {
				t.Fatalf("A packet cannot be sent: %v.", err)
			}
		}
	}
	w.wantOverrun(t)
	counters := w.all(t)
	for _, out := range outs {
		if c := counters[out.ID]; c.Packets != 3 || c.Drops.Ceiling != 1 || c.Sequence.Next != 4 {
			t.Errorf("%v should have sent three packets and dropped one, got %+v.", out.ID, c)
		}
	}
	w.wantToGoOn(t, outs[many-1], 5)
}

// wantToGoOn raises the ceiling of an SA that stands at it, and wants it to send up to the
// new one.
func (w *wire) wantToGoOn(t *testing.T, sa ipsec.SA, ceiling uint64) {
	t.Helper()
	placed, err := w.Update(t.Context(), epoch, offload.Change{ID: sa.ID, Sequence: &ipsec.Sequence{Ceiling: ceiling}})
	if err != nil || placed[0].Err != nil {
		t.Fatalf("The ceiling cannot be raised: %v, %v.", err, placed)
	}
	before, err := w.count(t.Context(), sa.ID)
	if err != nil {
		t.Fatalf("The SA cannot be counted: %v.", err)
	}
	for next := before.Sequence.Next; next <= ceiling+1; next++ {
		if _, err := w.plain.WriteToUDPAddrPort([]byte("inner"), netip.AddrPortFrom(sa.Selectors.Remote[0].Min, suitePort)); err != nil {
			t.Fatalf("A packet cannot be sent: %v.", err)
		}
		if passed, err := w.dealt(t.Context(), sa.ID, &before); err != nil || passed != (next <= ceiling) {
			t.Errorf("With the ceiling at %d, whether %d leaves should be %t, got %t (%v).", ceiling, next, next <= ceiling, passed, err)
		}
	}
}

// deafen leaves the sockets of this process that hear XFRM's events next to no room.
func deafen(t *testing.T) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatalf("The open files cannot be listed: %v.", err)
	}
	n := 0
	for _, f := range fds {
		fd, err := strconv.Atoi(f.Name())
		if err != nil {
			continue
		}
		protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
		name, _ := unix.Getsockname(fd)
		at, netlink := name.(*unix.SockaddrNetlink)
		if err != nil || !netlink || protocol != unix.NETLINK_XFRM || at.Groups == 0 {
			continue
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
			t.Fatalf("The socket cannot be made smaller: %v.", err)
		}
		n++
	}
	if n == 0 {
		t.Fatal("No socket hears XFRM's events.")
	}
}

func TestShorterPathIsReported(t *testing.T) { // C16
	w := newLab(t, nil)
	_, out := pairOf(w, 1)
	out.PathMTU = 0
	w.install(t, offload.Active, out)
	w.wantEvent(t, offload.MTUChanged{ID: out.ID, MTU: 1500})
	if _, err := w.gateway.Output(ipCommand("route", "add", w.remote.String()+"/32", "dev", "wan", "mtu", "1300")); err != nil {
		t.Fatalf("The path cannot be made shorter: %v.", err)
	}
	w.wantEvent(t, offload.MTUChanged{ID: out.ID, MTU: 1300})
	if got := w.all(t)[out.ID].PathMTU; got != 1300 {
		t.Errorf("Export should tell a path MTU of 1300, got %d.", got)
	}
}

// TestSequenceStateIsExact writes numbers beyond 32 bits and reads them back, for
// every algorithm with ESN.
func TestSequenceStateIsExact(t *testing.T) {
	w := newLab(t, nil)
	info, err := w.Info(t.Context())
	if err != nil {
		t.Fatalf("Info failed: %v.", err)
	}
	n := uint32(0)
	for _, c := range info.Transforms {
		if !c.Algorithms.ESN || c.Algorithms.KeyBits == 192 {
			continue
		}
		n++
		in, out := pairOf(w, n)
		in.Algorithms, out.Algorithms = c.Algorithms, c.Algorithms
		in.Encryption, in.Integrity = keysFor(t, c.Algorithms)
		out.Encryption, out.Integrity = in.Encryption, in.Integrity
		in.Sequence = ipsec.Sequence{Highest: 1<<40 + 5, Bitmap: []byte{0b1011, 0xff}}
		out.Sequence = ipsec.Sequence{Next: 1<<35 + 7, Ceiling: 1<<35 + 100}
		w.install(t, offload.Standby, in, out)
		all := w.all(t)
		if got := all[in.ID].Sequence; got.Highest != in.Sequence.Highest || got.Bitmap[0] != 0b1011 || got.Bitmap[1] != 0xff {
			t.Errorf("%v: the window should be up to %d with %x, got %d with %x.", c.Algorithms, in.Sequence.Highest, in.Sequence.Bitmap, got.Highest, got.Bitmap)
		}
		if got := all[out.ID].Sequence; got.Next != out.Sequence.Next || got.Ceiling != out.Sequence.Ceiling {
			t.Errorf("%v: next and ceiling should be %d and %d, got %d and %d.", c.Algorithms, out.Sequence.Next, out.Sequence.Ceiling, got.Next, got.Ceiling)
		}
	}
	if n < 10 {
		t.Errorf("Debian's kernel has more sets of algorithms with ESN than %d.", n)
	}
}

func keysFor(t *testing.T, a ipsec.Algorithms) (encryption, integrity ipsec.Key) {
	t.Helper()
	e, err := a.EncryptionKeyLen()
	if err != nil {
		t.Fatalf("%v has no key length: %v.", a, err)
	}
	i, err := a.Integrity.KeyLen()
	if err != nil {
		t.Fatalf("%v has no key length: %v.", a, err)
	}
	octets := func(n int) ipsec.Key {
		b := make([]byte, n)
		for at := range b {
			b[at] = byte(3*at + 1)
		}
		return ipsec.NewKey(b)
	}
	return octets(e), octets(i)
}

// TestMissingRightsAreNamed configures an engine without CAP_NET_ADMIN.
func TestMissingRightsAreNamed(t *testing.T) {
	host := netlab.New(t).Namespace("host")
	e := newEngine(t)
	defer e.Close()
	err := host.Do(func() error {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_ADMIN, 0, 0, 0); err != nil {
			return err
		}
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var caps [2]unix.CapUserData
		if err := unix.Capget(&header, &caps[0]); err != nil {
			return err
		}
		caps[0].Effective &^= 1 << unix.CAP_NET_ADMIN
		caps[0].Permitted &^= 1 << unix.CAP_NET_ADMIN
		if err := unix.Capset(&header, &caps[0]); err != nil {
			return err
		}
		_, err := e.Configure(t.Context(), offload.Config{Boot: 1})
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("The error should name the capability that is missing, got %v.", err)
	}
}

// TestPeerBehindANATMoves sends ESP in UDP from elsewhere than the SA has its peer, to a
// socket that has the options that Info asks for.
func TestPeerBehindANATMoves(t *testing.T) { // RFC 7296 section 2.23
	w := newLab(t, nil)
	if out, err := w.peer.Output(ipCommand("address", "add", "192.0.2.3/24", "dev", "wan")); err != nil {
		t.Fatalf("The peer has no other address: %v: %s.", err, out)
	}
	in, _ := pairOf(w, 1)
	in.Encap = &ipsec.Encap{LocalPort: 4500, RemotePort: 40000}
	w.install(t, offload.Active, in)
	w.listenNATT(t)
	number := uint64(0)
	for _, place := range []string{
		"192.0.2.2:40001", "192.0.2.3:40001", "192.0.2.2:40001", "192.0.2.2:40000", "192.0.2.3:40000", "192.0.2.2:40000",
	} {
		at := netip.MustParseAddrPort(place)
		number = w.wantMoved(t, in, at, number)
		w.follow(t, offload.Endpoint{Local: w.local, Remote: at.Addr(), Encap: &ipsec.Encap{LocalPort: 4500, RemotePort: at.Port()}}, in)
	}
	netlab.Eventually(t, patience, "the SA has gone on with its window and counts", func() error {
		if c := w.all(t)[in.ID]; c.Sequence.Highest != number || c.Packets != number {
			return fmt.Errorf("after %d packets it is %+v", number, c)
		}
		return nil
	})
}

// wantMoved sends packets with the numbers after last from a place until it is told that
// the peer is there, and returns the last one. The kernel takes its time to tell.
func (w *wire) wantMoved(t *testing.T, in ipsec.SA, from netip.AddrPort, last uint64) uint64 {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := make(chan struct{})
	go func() {
		for ev := range w.Events(ctx) {
			if ev == offload.Event(offload.PeerMoved{ID: in.ID, Remote: from}) {
				close(told)
				return
			}
		}
	}()
	c := w.atPeer(t, "udp4", from.String())
	defer c.Close()
	inner := udpPacket(netip.AddrPortFrom(in.Selectors.Remote[0].Min, 1000), netip.AddrPortFrom(suiteInner, suitePort), []byte("inner"))
	netlab.Eventually(t, patience, "the peer's move to "+from.String()+" is told", func() error {
		select {
		case <-told:
			return nil
		default:
		}
		last++
		b, err := esptest.KeysOf(in).Seal(esptest.Packet{SPI: in.ID.SPI, Seq: last, Next: 4, Payload: inner})
		if err == nil {
			_, err = c.WriteTo(b, &net.UDPAddr{IP: w.local.AsSlice(), Port: 4500})
		}
		if err != nil {
			t.Fatalf("The peer cannot send: %v.", err)
		}
		return errors.New("nothing was told")
	})
	return last
}

// listenNATT opens the daemon's socket for IKE and ESP in UDP.
func (w *wire) listenNATT(t *testing.T) (c net.PacketConn) {
	t.Helper()
	info, err := w.Info(t.Context())
	if err != nil {
		t.Fatalf("Info failed: %v.", err)
	}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var set error
		err := raw.Control(func(fd uintptr) {
			for _, o := range info.SocketOptions {
				set = errors.Join(set, unix.SetsockoptInt(int(fd), o.Level, o.Name, o.Value))
			}
		})
		return errors.Join(err, set)
	}}
	err = w.gateway.Do(func() (err error) {
		c, err = config.ListenPacket(t.Context(), "udp4", netip.AddrPortFrom(w.local, 4500).String())
		return err
	})
	if err != nil {
		t.Fatalf("The socket of port 4500 cannot be opened: %v.", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
