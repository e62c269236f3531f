package route_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/route"
)

// A client sends everything through its tunnel, to a peer beyond a router.
type client struct {
	host
	router *netlab.Namespace
}

func newClient(t *testing.T) client {
	t.Helper()
	lab := netlab.New(t)
	c := client{host{lab.Namespace("client"), t}, lab.Namespace("router")}
	lab.Link(c.Port("wan", "192.0.2.2/24", "2001:db8::2/64"), c.router.Port("inside", "192.0.2.1/24", "2001:db8::1/64"))
	c.router.Loopback("198.51.100.1/32", "2001:db8:ffff::1/128")
	c.Route("0.0.0.0/0", "192.0.2.1")
	c.Route("::/0", "2001:db8::1")
	c.addInterface("evg0")
	return c
}

// wantDevice asks the kernel where a packet of this host would go.
func (c client) wantDevice(what, network, from, to, device string) {
	c.t.Helper()
	got := ""
	c.do(func() error {
		var d net.Dialer
		if from != "" {
			local, err := net.ResolveUDPAddr(network, from)
			if err != nil {
				return err
			}
			d.LocalAddr = local
		}
		conn, err := d.DialContext(context.Background(), network, to)
		if err != nil {
			if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) {
				got = "unreachable"
				return nil
			}
			return err
		}
		defer conn.Close()
		got = deviceOf(netip.MustParseAddrPort(conn.LocalAddr().String()).Addr())
		return nil
	})
	if got != device {
		c.t.Errorf("%s goes to %s, want %s.", what, got, device)
	}
}

// wantMarked asks for the way of what a raw socket sends, which has no ports for
// the kernel.
func (c client) wantMarked(what, network, to string, mark int, device string) {
	c.t.Helper()
	got := ""
	c.do(func() error {
		d := net.Dialer{Control: func(_, _ string, rc syscall.RawConn) error {
			var set error
			err := rc.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark) })
			return errors.Join(err, set)
		}}
		conn, err := d.DialContext(context.Background(), network, to)
		if err != nil {
			return err
		}
		defer conn.Close()
		got = deviceOf(netip.MustParseAddr(conn.LocalAddr().String()))
		return nil
	})
	if got != device {
		c.t.Errorf("%s to %s goes to %s, want %s.", what, to, got, device)
	}
}

// deviceOf tells the interfaces of a client apart by their addresses.
func deviceOf(local netip.Addr) string {
	wan := netip.MustParsePrefix("192.0.2.0/24").Contains(local) || netip.MustParsePrefix("2001:db8::/64").Contains(local)
	return map[bool]string{true: "wan", false: "evg0"}[wan]
}

func TestDefaultRouteDoesNotCaptureItsOwnTunnel(t *testing.T) {
	c := newClient(t)
	table := c.open()
	must(t, "sweep", table.Sweep())
	c.Interface("evg0").AddAddr("10.99.0.1/32", "fd00:99::1/128") // what unbound sockets that go there use
	for _, r := range []route.Route{
		{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Interface: "evg0", Peer: netip.MustParseAddr("198.51.100.1")},
		{Prefix: netip.MustParsePrefix("::/0"), Interface: "evg0", Peer: netip.MustParseAddr("2001:db8:ffff::1")},
	} {
		must(t, "add", table.Add("hub", r))
	}

	c.wantDevice("traffic to anywhere", "udp", "", "203.0.113.5:9", "evg0")
	c.wantDevice("traffic to the peer's own address", "udp", "", "198.51.100.1:9", "evg0")
	c.wantDevice("traffic to a connected network", "udp", "", "192.0.2.1:9", "wan")
	c.wantDevice("IKE to the peer", "udp", ":500", "198.51.100.1:500", "wan")
	c.wantDevice("IKE to a peer behind a NAT", "udp", ":4500", "203.0.113.5:61000", "wan")
	c.wantDevice("IPv6 traffic to anywhere", "udp", "", "[2001:db8:5::5]:9", "evg0")
	c.wantDevice("IPv6 to a connected network", "udp", "", "[2001:db8::1]:9", "wan")
	c.wantDevice("IPv6 IKE to the peer", "udp", ":500", "[2001:db8:ffff::1]:500", "wan")

	for to, network := range map[string]string{"198.51.100.1": "ip4:udp", "2001:db8:ffff::1": "ip6:udp"} {
		c.wantMarked("a datagram of a raw socket", network, to, 0, "evg0")
		c.wantMarked("a marked datagram of a raw socket", network, to, mark, "wan")
	}

	c.Unroute("0.0.0.0/0")
	c.wantDevice("IKE without a path", "udp", ":500", "198.51.100.1:500", "unreachable")
	c.Route("0.0.0.0/0", "192.0.2.1")

	must(t, "remove", table.RemoveAll("hub"))
	c.wantDevice("traffic after the tunnel is gone", "udp", "", "203.0.113.5:9", "wan")
	if rules := c.rules(); rules != 0 {
		t.Errorf("%d policy rules are left, want none.", rules)
	}
}

// TestOuterPacketsPassBothWays sends real ESP and IKE past a default route, with
// the strictest check of return paths.
func TestOuterPacketsPassBothWays(t *testing.T) {
	c := newClient(t)
	c.Sysctl("net/ipv4/conf/all/rp_filter", "1")
	c.Sysctl("net/ipv4/conf/wan/rp_filter", "1")
	table := c.open()
	capturing := to("0.0.0.0/0", "evg0")
	capturing.Peer = netip.MustParseAddr("198.51.100.1")
	must(t, "add", table.Add("hub", capturing))

	for network, port := range map[string]string{"udp4": ":4500", "ip4:50": ""} {
		near, far := listenIn(t, c.Namespace, network, "192.0.2.2"+port), listenIn(t, c.router, network, "198.51.100.1"+port)
		exchange(t, network, near, far)
		exchange(t, network, far, near)
	}
}

func listenIn(t *testing.T, n *netlab.Namespace, network, local string) (pc net.PacketConn) {
	t.Helper()
	err := n.Do(func() (err error) {
		pc, err = new(net.ListenConfig).ListenPacket(t.Context(), network, local)
		return err
	})
	must(t, "listen on "+local, err)
	t.Cleanup(func() { pc.Close() })
	return pc
}

// exchange sends until one packet has come, because address resolution may
// lose the first.
func exchange(t *testing.T, network string, from, to net.PacketConn) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	buffer := make([]byte, 100)
	for time.Now().Before(deadline) {
		if _, err := from.WriteTo([]byte("\x00\x00\x00\x01outer packet"), to.LocalAddr()); err != nil {
			t.Fatalf("%s from %v: %v.", network, from.LocalAddr(), err)
		}
		to.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, _, err := to.ReadFrom(buffer); err == nil {
			return
		}
	}
	t.Fatalf("%s from %v never reached %v.", network, from.LocalAddr(), to.LocalAddr())
}

func TestLongestPrefixWinsAcrossBothTables(t *testing.T) {
	c := newClient(t)
	table := c.open()
	c.addInterface("lan")
	c.Interface("lan").AddAddr("203.0.0.1/32")
	c.Interface("evg0").AddAddr("10.99.0.1/32")
	c.foreign("203.0.113.128/25", "wan", 0)
	for _, prefix := range []string{"203.0.113.0/24", "0.0.0.0/0"} {
		r := to(prefix, "evg0")
		r.Peer = netip.MustParseAddr("203.0.113.1") // both capture it
		must(t, "add", table.Add("hub", r))
	}
	c.foreign("203.0.0.0/16", "wan", 0)
	c.wantDevice("inside our /24", "udp", "", "203.0.113.5:9", "evg0")
	c.wantDevice("inside the host's /25 in it", "udp", "", "203.0.113.200:9", "wan")
	c.wantDevice("inside the host's /16 around it", "udp", "", "203.0.7.7:9", "wan")
	c.wantDevice("inside our default only", "udp", "", "8.8.8.8:9", "evg0")
}
