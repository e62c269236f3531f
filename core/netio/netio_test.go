package netio_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/netio"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/ikesock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, local string, o netio.Options) *netio.Conn {
	t.Helper()
	c, err := netio.Listen(netip.MustParseAddrPort(local), o)
	if err != nil {
		t.Fatalf("No socket on %s: %v.", local, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func receive(t *testing.T, c *netio.Conn) []ike.Datagram {
	t.Helper()
	ds := make([]ike.Datagram, netio.BatchSize)
	n, err := c.ReadBatch(ds)
	if err != nil {
		t.Fatalf("%v should have got something, but: %v.", c.Local(), err)
	}
	return ds[:n]
}

// wantMessages reads until all have come, in order.
func wantMessages(t *testing.T, c *netio.Conn, want ...string) (last ike.Datagram) {
	t.Helper()
	for len(want) > 0 {
		for _, d := range receive(t, c) {
			if len(want) == 0 || string(d.Payload) != want[0] {
				t.Fatalf("%v got %q, want %q.", c.Local(), d.Payload, want)
			}
			want, last = want[1:], d
		}
	}
	return last
}

func TestAnswersLeaveFromTheAddressThatWasAsked(t *testing.T) { // F8
	for _, loopback := range []string{"127.0.0.1", "127.31.0.9", "[::1]"} {
		for _, natt := range []bool{false, true} {
			gateway := open(t, loopback+":0", netio.Options{NATT: natt})
			client := open(t, loopback+":0", netio.Options{NATT: natt})

			client.WriteBatch([]ike.Datagram{{Remote: gateway.Local(), Payload: []byte("init")}})
			asked := wantMessages(t, gateway, "init")
			if asked.Local != gateway.Local() || asked.Remote != client.Local() {
				t.Errorf("The request went from %v to %v, but shows as from %v to %v.", client.Local(), gateway.Local(), asked.Remote, asked.Local)
			}
			gateway.WriteBatch([]ike.Datagram{{Remote: asked.Remote, Payload: []byte("answer")}})
			if answered := wantMessages(t, client, "answer"); answered.Remote != gateway.Local() {
				t.Errorf("The answer came from %v, want %v.", answered.Remote, gateway.Local())
			}
		}
	}
}

func TestMarkerIsOnTheWireOnly(t *testing.T) { // RFC 3948 2.2
	gateway := open(t, "127.0.0.1:0", netio.Options{NATT: true})
	wire, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(gateway.Local()))
	if err != nil {
		t.Fatalf("Set-up: %v.", err)
	}
	defer wire.Close()
	me := wire.LocalAddr().(*net.UDPAddr).AddrPort()

	for _, b := range []string{"\xff", "\x00\x00\x00", "\x00\x00\x00\x00", "\x12\x34\x56\x78ESP", "", "\x00\x00\x00\x00IKE"} {
		if _, err := wire.Write([]byte(b)); err != nil {
			t.Fatalf("The peer cannot send %q: %v.", b, err)
		}
	}
	wantMessages(t, gateway, "IKE")
	if s := gateway.Stats(); s.KeepalivesReceived != 1 || s.Short != 3 || s.ESP != 1 || s.Received != 1 {
		t.Errorf("Counted %+v, want one keepalive, three short ones, one ESP packet, one received.", s)
	}

	gateway.WriteBatch([]ike.Datagram{{Remote: me, Payload: []byte("answer")}, {Remote: me, Keepalive: true}})
	for _, want := range []string{"\x00\x00\x00\x00answer", "\xff"} {
		b := make([]byte, 100)
		n, err := wire.Read(b)
		if err != nil || string(b[:n]) != want {
			t.Errorf("On the wire is %q, error %v, want %q.", b[:n], err, want)
		}
	}
}

func TestLargeMessagesAndBatches(t *testing.T) {
	a := open(t, "127.0.0.1:0", netio.Options{NATT: true})
	b := open(t, "127.0.0.1:0", netio.Options{NATT: true})
	var ds []ike.Datagram
	var want []string
	for i := range 3 * netio.BatchSize {
		payload := bytes.Repeat([]byte{byte(i)}, 1+i*20)
		ds, want = append(ds, ike.Datagram{Remote: b.Local(), Payload: payload}), append(want, string(payload))
	}
	longest := bytes.Repeat([]byte{0x5a}, ikesock.MaxPayload)
	ds, want = append(ds, ike.Datagram{Remote: b.Local(), Payload: longest}), append(want, string(longest))
	if n := a.WriteBatch(ds); n != len(ds) {
		t.Fatalf("%d of %d datagrams went.", n, len(ds))
	}
	wantMessages(t, b, want...)
}

func TestNetworkErrorsDoNotEndASocket(t *testing.T) {
	a := open(t, "127.0.0.1:0", netio.Options{})
	gone := open(t, "127.0.0.1:0", netio.Options{})
	gone.Close()
	for range 3 { // ICMP port unreachable comes back
		a.WriteBatch([]ike.Datagram{{Remote: gone.Local(), Payload: []byte("anyone?")}})
	}
	unsendable := []ike.Datagram{
		{Remote: netip.MustParseAddrPort("127.0.0.1:0"), Payload: []byte("to no port")},
		{Remote: a.Local(), Payload: make([]byte, 1<<16)},
		{Remote: a.Local(), Payload: []byte("to myself")},
	}
	if n := a.WriteBatch(unsendable); n != 1 || a.Stats().SendErrors != 2 {
		t.Errorf("%d went and %d failed, want 1 and 2.", n, a.Stats().SendErrors)
	}
	wantMessages(t, a, "to myself")
}

func TestCloseWakesTheReader(t *testing.T) {
	c := open(t, "127.0.0.1:0", netio.Options{})
	got := make(chan error)
	go func() {
		_, err := c.ReadBatch(make([]ike.Datagram, 1))
		got <- err
	}()
	c.Close()
	if err := <-got; !errors.Is(err, net.ErrClosed) {
		t.Errorf("The reader got error %v, want net.ErrClosed.", err)
	}
}

func TestAddressMayComeLater(t *testing.T) {
	open(t, "192.0.2.77:0", netio.Options{})
	open(t, "[2001:db8::77]:0", netio.Options{})
}

func TestListenNeedsOneAddress(t *testing.T) { // F8
	for _, local := range []string{"0.0.0.0:0", "[::]:0", "224.0.0.1:0", "[::ffff:127.0.0.1]:0"} {
		if _, err := netio.Listen(netip.MustParseAddrPort(local), netio.Options{}); err == nil || !strings.Contains(err.Error(), "one address") {
			t.Errorf("Listening on %s: got error %v, want one that asks for one address.", local, err)
		}
	}
	bad := netio.Options{Socket: []offload.SocketOption{{Level: unix.SOL_UDP, Name: 9999}}}
	if _, err := netio.Listen(netip.MustParseAddrPort("127.0.0.1:0"), bad); err == nil || !strings.Contains(err.Error(), "socket option 9999") {
		t.Errorf("An unknown socket option: got error %v, want one that names it.", err)
	}
}

// A gateway is a Mux on ports that are free here, with what it delivered.
type gateway struct {
	*netio.Mux
	socket    string
	ike, natt uint16
	delivered chan ike.Datagram
}

// newGateway finds free ports by asking for any.
func newGateway(t *testing.T) gateway {
	t.Helper()
	g := gateway{socket: filepath.Join(t.TempDir(), "ike.sock"), delivered: make(chan ike.Datagram, 64)}
	for _, port := range []*uint16{&g.ike, &g.natt} {
		c := open(t, "127.31.7.1:0", netio.Options{})
		*port = c.Local().Port()
		defer c.Close()
	}
	var err error
	g.Mux, err = netio.New(netio.Config{
		PortIKE: g.ike, PortNATT: g.natt, IKESocket: g.socket, Log: slog.New(slog.DiscardHandler),
		Deliver: func(ds []ike.Datagram) {
			for _, d := range ds {
				g.delivered <- d
			}
		},
	})
	if err != nil {
		t.Fatalf("No mux: %v.", err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func (g gateway) set(t *testing.T, s netio.Sources) {
	t.Helper()
	if err := g.Set(s); err != nil {
		t.Fatalf("The sockets cannot be set to %+v: %v.", s, err)
	}
}

func addresses(as ...string) (out []netip.Addr) {
	for _, a := range as {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// talk sends a message to the gateway and wants it answered from where it went.
func (g gateway) talk(t *testing.T, addr string, port uint16, natt bool) {
	t.Helper()
	to := netip.AddrPortFrom(netip.MustParseAddr(addr), port)
	client := open(t, "127.0.0.1:0", netio.Options{NATT: natt})
	client.WriteBatch([]ike.Datagram{{Remote: to, Payload: []byte("hello")}})
	d := <-g.delivered
	if d.Local != to || d.Remote != client.Local() || string(d.Payload) != "hello" {
		t.Fatalf("Delivered %q from %v to %v, want hello from %v to %v.", d.Payload, d.Remote, d.Local, client.Local(), to)
	}
	d.Payload = []byte("welcome")
	if n := g.Send([]ike.Datagram{d}); n != 1 {
		t.Fatalf("%d answers went, want 1.", n)
	}
	if answer := wantMessages(t, client, "welcome"); answer.Remote != to {
		t.Errorf("The answer came from %v, want %v.", answer.Remote, to)
	}
}

func TestMuxOwnsBothPorts(t *testing.T) { // F8
	g := newGateway(t)
	g.set(t, netio.Sources{Addresses: addresses("127.31.7.1", "127.31.7.2")})
	for _, a := range []string{"127.31.7.1", "127.31.7.2"} {
		g.talk(t, a, g.ike, false)
		g.talk(t, a, g.natt, true)
	}
}

func TestMuxFollowsAReload(t *testing.T) {
	g := newGateway(t)
	g.set(t, netio.Sources{Addresses: addresses("127.31.7.1", "127.31.7.2")})
	g.set(t, netio.Sources{Addresses: addresses("127.31.7.2", "127.31.7.3")})
	g.talk(t, "127.31.7.2", g.ike, false)
	g.talk(t, "127.31.7.3", g.natt, true)

	gone := ike.Datagram{
		Local:   netip.AddrPortFrom(netip.MustParseAddr("127.31.7.1"), g.ike),
		Remote:  netip.MustParseAddrPort("127.31.7.1:9"),
		Payload: []byte("late"),
	}
	if n := g.Send([]ike.Datagram{gone}); n != 0 || g.Stats().NoSocket != 1 {
		t.Errorf("From an address that was removed %d datagrams went, %d were counted, want none and 1.", n, g.Stats().NoSocket)
	}
	open(t, gone.Local.String(), netio.Options{}) // its name is free again

	g.set(t, netio.Sources{
		Addresses:   addresses("127.31.7.2"),
		NATTOptions: []offload.SocketOption{{Level: unix.SOL_SOCKET, Name: unix.SO_PRIORITY, Value: 6}},
	})
	g.talk(t, "127.31.7.2", g.natt, true)
}

func TestMuxKeepsItsSocketsWhenAReloadFails(t *testing.T) {
	g := newGateway(t)
	g.set(t, netio.Sources{Addresses: addresses("127.31.7.1")})
	taken := open(t, netip.AddrPortFrom(netip.MustParseAddr("127.31.7.4"), g.natt).String(), netio.Options{})
	err := g.Set(netio.Sources{Addresses: addresses("127.31.7.3", "127.31.7.4", "0.0.0.0")})
	if err == nil || !strings.Contains(err.Error(), taken.Local().String()) || !strings.Contains(err.Error(), "0.0.0.0") {
		t.Errorf("Got error %v, want one that names %v and 0.0.0.0.", err, taken.Local())
	}
	g.talk(t, "127.31.7.1", g.ike, false)
	open(t, netip.AddrPortFrom(netip.MustParseAddr("127.31.7.3"), g.ike).String(), netio.Options{}) // not held
}

func TestMuxSpeaksThroughTheDataplane(t *testing.T) {
	g := newGateway(t)
	g.set(t, netio.Sources{Addresses: addresses("127.31.7.1"), PlaneOwnsNATT: true})
	plane, err := ikesock.Dial(t.Context(), g.socket)
	if err != nil {
		t.Fatalf("The dataplane cannot connect: %v.", err)
	}
	defer plane.Close()
	local := netip.AddrPortFrom(netip.MustParseAddr("127.31.7.1"), g.natt)
	open(t, local.String(), netio.Options{NATT: true}) // the port is the dataplane's to take

	peer := netip.MustParseAddrPort("198.51.100.7:61000")
	plane.WriteBatch([]ikesock.Datagram{{Local: local, Remote: peer, Payload: []byte("auth")}})
	d := <-g.delivered
	if d.Local != local || d.Remote != peer || string(d.Payload) != "auth" {
		t.Fatalf("Delivered %+v.", d)
	}
	member := d
	member.Local = netip.AddrPortFrom(netip.MustParseAddr("127.31.7.9"), g.natt)
	plane.WriteBatch([]ikesock.Datagram{ikesock.Datagram(member), {Local: local, Remote: peer, Payload: []byte("info")}})
	if d := <-g.delivered; string(d.Payload) != "info" || g.Stats().Elsewhere != 1 {
		t.Errorf("What came to an address that is not ours should be counted, got %+v and a count of %d.", d, g.Stats().Elsewhere)
	}
	elsewhere := d
	elsewhere.Local = netip.AddrPortFrom(netip.MustParseAddr("127.31.7.2"), g.natt)
	keep := d
	keep.Keepalive = true
	if n := g.Send([]ike.Datagram{d, keep, elsewhere}); n != 2 || g.Stats().NoSocket != 1 {
		t.Fatalf("%d datagrams went, %d had no socket, want 2 and 1.", n, g.Stats().NoSocket)
	}
	var got []string
	in := make([]ikesock.Datagram, 2)
	for len(got) < 2 {
		n, err := plane.ReadBatch(in)
		if err != nil {
			t.Fatalf("The dataplane reads: %v.", err)
		}
		for i, d := range in[:n] {
			got = append(got, string(d.Payload))
			if d.Keepalive {
				got[len(got)-1] = "keepalive"
			}
			in[i].Payload = nil
		}
	}
	if want := []string{"auth", "keepalive"}; !slices.Equal(got, want) {
		t.Errorf("The dataplane got %q, want %q.", got, want)
	}
	if s := g.Stats(); s.Plane.Received != 3 || s.Plane.Sent != 2 || s.Received != 2 || s.Sent != 2 {
		t.Errorf("Counted %+v, want 3 from the dataplane, 2 of them received, and 2 sent.", s)
	}
}

func TestMuxNeedsItsParts(t *testing.T) {
	if _, err := netio.New(netio.Config{}); err == nil {
		t.Error("A mux without Deliver was made.")
	}
	c := netio.Config{Deliver: func([]ike.Datagram) {}, Log: slog.New(slog.DiscardHandler), IKESocket: "/proc/nowhere"}
	if _, err := netio.New(c); err == nil || !strings.Contains(err.Error(), "/proc/nowhere") {
		t.Errorf("A socket that cannot be: got error %v, want one that names it.", err)
	}
}
