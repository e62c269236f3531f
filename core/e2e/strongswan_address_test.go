package e2e_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

func TestStrongSwanOverIPv4AndIPv6(t *testing.T) {
	t.Parallel()
	d := dialIn(t, config(
		[]entry{
			server1().with(entry{"name": "outer4"}),
			server1().with(entry{"name": "outer6", "local-gw": `"` + gateway.GatewayAddr6 + `"`}),
		},
		[]entry{
			server2().with(entry{"name": "inner44", "phase1name": "outer4"}),
			server2().with(entry{"name": "inner46", "phase1name": "outer4", "src-subnet": `"::/0"`}),
			server2().with(entry{"name": "inner64", "phase1name": "outer6"}),
			server2().with(entry{"name": "inner66", "phase1name": "outer6", "src-subnet": `"::/0"`}),
		},
	), strongswan.Settings{})
	for outer, addr := range map[string]string{"outer4": gateway.GatewayAddr, "outer6": gateway.GatewayAddr6} {
		c := client()
		c.Name, c.RemoteAddrs = outer, []string{addr}
		four, six := c.Children[0], c.Children[0]
		four.Name = outer + "inner4"
		six.Name, six.LocalTS, six.RemoteTS = outer+"inner6", []string{gateway.ClientNet6}, []string{gateway.ServerNet6}
		c.Children = []strongswan.Child{four, six}
		d.charon.Load(c)
	}
	for _, outer := range []string{"outer4", "outer6"} {
		t.Run(outer, func(t *testing.T) {
			d := d.within(t)
			for _, inner := range []struct{ name, server, client, net string }{
				{"inner4", gateway.ServerHost, gateway.ClientHost, gateway.ClientNet},
				{"inner6", gateway.ServerHost6, gateway.ClientHost6, gateway.ClientNet6},
			} {
				d.up(outer + inner.name)
				d.pingTo(inner.server, inner.client)
				if n := d.charon.Child(outer + inner.name).PacketsIn; n != 3 {
					t.Errorf("%s: charon counted %d packets in, want 3", inner.name, n)
				}
				if !d.Gateway.HasRoute(inner.net) {
					t.Errorf("%s: the gateway has no route to %s", inner.name, inner.net)
				}
			}
			if err := d.charon.TerminateIKE(outer); err != nil {
				t.Fatal(err)
			}
			d.wantGone(outer)
		})
	}
}

// behindNAT is connect with a router that translates the client's address, and
// keepalives every second.
func behindNAT(t *testing.T) (*ends, *netlab.NAT) {
	t.Helper()
	d := dialIn(t, config([]entry{server1()}, []entry{server2()}), strongswan.Settings{KeepAlive: time.Second}, client())
	nat := d.Uplink.Masquerade()
	d.up("net")
	d.ping()
	return d, nat
}

// natAddr is the router's address towards the gateway.
const natAddr = "192.168.125.1"

func TestStrongSwanBehindNAT(t *testing.T) {
	t.Parallel()
	d, _ := behindNAT(t)
	tunnel := d.evergate.Tunnel("vpn1_0")
	if tunnel.Remote.Addr().String() != natAddr || tunnel.Remote.Port() == 4500 || tunnel.Local.Port() != 4500 {
		t.Errorf("the tunnel is between %v and %v, want port 4500 here, and the router's address with a port of its own", tunnel.Local, tunnel.Remote)
	}
	if tunnel.NATT.Mode != "silent" || tunnel.NATT.RemotePort != tunnel.Remote.Port() {
		t.Errorf("NAT traversal is %+v, want the peer to keep port %d open", tunnel.NATT, tunnel.Remote.Port())
	}
	capture := d.Uplink.Capture("udp port 4500")
	d.wantKeepalives()
	// RFC 3948 section 2.3: a header of eight octets and the one octet 0xff.
	if n := capture.Count(fmt.Sprintf("udp.srcport == %d && udp.length == 9", tunnel.Remote.Port())); n == 0 {
		t.Error("no keepalive passed the NAT")
	}
	d.ping()
}

// wantKeepalives waits until the client has sent two NAT keepalives.
func (d *ends) wantKeepalives() {
	d.t.Helper()
	log := d.charon.Log().Now()
	for range 2 {
		log.Wait("sending keep alive to "+gateway.GatewayAddr, limit)
		log = log.Now()
	}
}

// TestGatewayFollowsRebind lets the NAT forget its mappings: under traffic, when
// the first ESP packet from the new port tells, and without, when an IKE message
// does. What is not authentic moves nothing.
//
// RFC 7296 section 2.23: "[...] hosts that are not behind a NAT SHOULD send all
// packets (including retransmission packets) to the IP address and port from the
// last valid authenticated packet from the other end".
func TestGatewayFollowsRebind(t *testing.T) {
	t.Parallel()
	d, nat := behindNAT(t)
	first := d.evergate.Tunnel("vpn1_0")

	d.forge(first)
	if at := d.evergate.Tunnel("vpn1_0").Remote; at != first.Remote {
		t.Fatalf("a forged packet moved the tunnel from %v to %v", first.Remote, at)
	}

	stream := d.stream()
	stream.WaitFor(20, limit)
	nat.Rebind()
	stream.WaitFor(20, limit)
	second := d.wantMoved(first)
	d.ping()
	stream.WaitFor(20, limit)
	if err := stream.Stop().Err(); err != nil {
		t.Errorf("from the client to the server, across the rebind: %v", err)
	}

	nat.Rebind()
	d.wantKeepalives()
	if at := d.evergate.Tunnel("vpn1_0").Remote; at != second.Remote {
		t.Errorf("a keepalive, which proves nothing, moved the tunnel from %v to %v", second.Remote, at)
	}
	if err := d.charon.RekeyChild("net"); err != nil {
		t.Fatal(err)
	}
	third := d.wantMoved(second)
	d.ping()
	if third.IKESPIs != first.IKESPIs {
		t.Errorf("the IKE SA is %v, want still %v", third.IKESPIs, first.IKESPIs)
	}
}

// TestTwoClientsBehindOneNAT come from one address, so that the port tells them
// apart.
func TestTwoClientsBehindOneNAT(t *testing.T) {
	t.Parallel()
	d, _ := behindNAT(t)
	second := d.secondClient(otherClientNet, otherClientHost)
	second.up("net")
	second.pingTo(gateway.ServerHost, otherClientHost)
	d.ping()
	one, two := d.evergate.Tunnel("vpn1_0"), d.evergate.Tunnel("vpn1_1")
	if one.Remote.Addr() != two.Remote.Addr() || one.Remote.Port() == two.Remote.Port() {
		t.Errorf("the clients are at %v and %v, want two ports of one address", one.Remote, two.Remote)
	}
}

// wantMoved waits until the tunnel has another remote port than before.
func (d *ends) wantMoved(before diag.Tunnel) (now diag.Tunnel) {
	d.t.Helper()
	netlab.Eventually(d.t, limit, "the gateway follows the client to another port", func() error {
		if now = d.evergate.Tunnel("vpn1_0"); now.Remote == before.Remote {
			return fmt.Errorf("it is still at %v", now.Remote)
		}
		return nil
	})
	if now.Remote.Addr() != netip.MustParseAddr(natAddr) {
		d.t.Errorf("the client moved to %v, want another port of the router", now.Remote)
	}
	return now
}

// forge sends the gateway a packet with the tunnel's SPI from a port of the
// router that is not the client's, and waits until the gateway has refused it.
func (d *ends) forge(tunnel diag.Tunnel) {
	d.t.Helper()
	packet := append(spiOf(d.t, pair(d.t, tunnel).Dec.SPI), make([]byte, 60)...)
	packet[7] = 200 // the sequence number: a new one
	conn, err := d.Router.Dial(d.t.Context(), "udp", natAddr, gateway.GatewayAddr+":4500")
	if err != nil {
		d.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(packet); err != nil {
		d.t.Fatalf("send a forged packet: %v", err)
	}
	netlab.Eventually(d.t, limit, "the gateway counts the forged packet", func() error {
		if drops := pair(d.t, d.evergate.Tunnel("vpn1_0")).Drops; drops["authentication"] != 1 {
			return fmt.Errorf("it dropped %v", drops)
		}
		return nil
	})
}
