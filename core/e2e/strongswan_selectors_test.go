package e2e_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

func TestSelectorsAreNarrowed(t *testing.T) {
	t.Parallel()
	c := client()
	c.Children[0].LocalTS = []string{"10.10.0.0/16"}
	c.Children[0].RemoteTS = []string{"0.0.0.0/0"}
	d := dialIn(t, config([]entry{server1()}, []entry{server2().with(entry{
		"src-subnet": "[" + gateway.ServerNet + ", 172.31.200.0/24]", "dst-subnet": gateway.ClientNet,
	})}), strongswan.Settings{}, c)
	d.up("net")
	d.ping()
	child := d.charon.Child("net")
	if !slices.Equal(child.LocalTS, []string{gateway.ClientNet}) || !slices.Equal(child.RemoteTS, []string{gateway.ServerNet, "172.31.200.0/24"}) {
		t.Errorf("charon was narrowed to %v and %v, want %s, and %s with 172.31.200.0/24", child.LocalTS, child.RemoteTS, gateway.ClientNet, gateway.ServerNet)
	}
	tunnel := d.evergate.Tunnel("vpn1_0")
	if p := tunnel.Proxies[0]; len(p.Src) != 2 || len(p.Dst) != 1 || len(tunnel.Routes) != 1 || tunnel.Routes[0].String() != gateway.ClientNet {
		t.Errorf("the gateway has the selectors %v and %v and the routes %v", p.Src, p.Dst, tunnel.Routes)
	}
	if d.Gateway.HasRoute("10.10.0.0/16") {
		t.Error("the gateway has a route to what the client asked for, not to what it got")
	}
}

// A second loopback network of the client and of the server, in ranges that the
// Site's routes cover.
const (
	otherClientNet, otherClientHost = "10.20.1.0/24", "10.20.1.1"
)

func TestSeveralChildrenShareAnIKESA(t *testing.T) {
	t.Parallel()
	c := client()
	second := c.Children[0]
	second.Name, second.LocalTS, second.Proposals = "lab", []string{otherClientNet}, []string{"aes256-sha256"}
	c.Children = append(c.Children, second)
	d := dialIn(t, config([]entry{server1()}, []entry{
		server2().with(entry{"name": "net", "dst-subnet": gateway.ClientNet}),
		server2().with(entry{"name": "lab", "dst-subnet": otherClientNet, "proposal": "aes256-sha256"}),
	}), strongswan.Settings{}, c)
	d.Client.Loopback(otherClientHost + "/32")
	d.up("net")
	d.up("lab")
	d.ping()
	d.pingTo(gateway.ServerHost, otherClientHost)
	tunnel := d.evergate.Tunnel("vpn1_0")
	if len(tunnel.Proxies) != 2 || tunnel.Proxies[0].Name != "lab" || tunnel.Proxies[1].Name != "net" {
		t.Fatalf("the tunnel has the phase 2 entries %+v, want lab and net", tunnel.Proxies)
	}
	d.wantPackets("vpn1_0", 3)
	if n := d.evergate.Stat("ike.started.responder"); n != 1 {
		t.Errorf("the gateway saw %d IKE SAs begin, want 1", n)
	}
	// One goes, the other stays.
	if err := d.charon.TerminateChild("lab"); err != nil {
		t.Fatal(err)
	}
	// Once the list says so, the kernel has no other routes.
	routes := d.evergate.Tunnel("vpn1_0").Routes
	if len(routes) != 1 || d.Gateway.HasRoute(otherClientNet) || !d.Gateway.HasRoute(gateway.ClientNet) {
		t.Errorf("after one child is deleted, the list has the routes %v; want %s there and in the kernel, and not %s", routes, gateway.ClientNet, otherClientNet)
	}
	d.ping()
}

// secondClient adds a host in 192.168.2.0/24 at the router, with strongSwan and
// the client's connection under another identity.
func (d *ends) secondClient(inner, innerHost string) *ends {
	d.t.Helper()
	lab := d.Client.Lab()
	other := *d.Site
	other.Client = lab.Namespace("client2")
	lab.Link(other.Client.Port("wan", "192.168.2.2/24"), d.Router.Port("client2", "192.168.2.1/24"))
	other.Client.Route("0.0.0.0/0", "192.168.2.1")
	other.Client.Loopback(innerHost + "/32")
	c := client()
	c.Local.ID = strongswan.FQDN("client2.example")
	c.Children[0].LocalTS = []string{inner}
	second := &ends{t: d.t, Site: &other, evergate: d.evergate, charon: strongswan.Start(other.Client, strongswan.Settings{})}
	second.charon.Load(c)
	return second
}

func TestTwoClientsGetTwoTunnels(t *testing.T) { // C10
	t.Parallel()
	d := connect(t)
	d.Gateway.Route("192.168.2.0/24", "192.168.125.1")
	second := d.secondClient(otherClientNet, otherClientHost)
	second.up("net")
	d.ping()
	second.pingTo(gateway.ServerHost, otherClientHost)
	for name, id := range map[string]string{"vpn1_0": "client.example", "vpn1_1": "client2.example"} {
		if got := d.evergate.Tunnel(name).RemoteID; got != id {
			t.Errorf("%s is with %s, want %s", name, got, id)
		}
		d.wantPackets(name, 3)
	}
	// The first name is free again when its tunnel is gone, and only then.
	if err := d.charon.TerminateIKE("home"); err != nil {
		t.Fatal(err)
	}
	d.wantGone("vpn1_0")
	second.pingTo(gateway.ServerHost, otherClientHost)
	d.up("net")
	if tunnel := d.evergate.Tunnel("vpn1_0"); tunnel.RemoteID != "client.example" {
		t.Errorf("vpn1_0 is with %s, want the first client again", tunnel.RemoteID)
	}
	d.ping()
}

// TestEveryGatewayIsPrimaryForWhatItNegotiated runs the same dialup server twice,
// with the same local-gw, and has the router send one client to each.
func TestEveryGatewayIsPrimaryForWhatItNegotiated(t *testing.T) { // F1
	t.Parallel()
	d := connect(t)
	d.ping()
	lab := d.Client.Lab()
	twin := *d.Site
	twin.Gateway = lab.Namespace("gateway2")
	lab.Link(d.Router.Port("gateway2", "192.168.126.1/24"), twin.Gateway.Port("port2", "192.168.126.254/24"))
	twin.Gateway.Loopback(gateway.GatewayAddr + "/32")
	twin.Gateway.Route("192.168.0.0/16", "192.168.126.1")
	other := &ends{t: t, Site: &twin, evergate: startGateway(twin.Gateway, config([]entry{server1()}, []entry{server2()})), charon: d.charon, name: d.name}
	d.Router.Route(gateway.GatewayAddr+"/32", "192.168.126.254")
	second := other.secondClient(otherClientNet, otherClientHost)
	second.up("net")
	for gw, id := range map[*gateway.Daemon]string{d.evergate: "client.example", other.evergate: "client2.example"} {
		tunnels := gw.Tunnels("vpn1")
		if len(tunnels) != 1 || tunnels[0].Name != "vpn1_0" || tunnels[0].Role != "primary" || tunnels[0].RemoteID != id || tunnels[0].Local.Addr().String() != gateway.GatewayAddr {
			t.Errorf("one gateway has %+v, want to be primary for the tunnel of %s at %s", tunnels, id, gateway.GatewayAddr)
		}
	}
}

// TestTwoClientsClaimOneNetwork has two clients behind which there seems to be
// the same network. Both get what they ask for; the newer one gets the traffic,
// and when it is gone, the older one again.
func TestTwoClientsClaimOneNetwork(t *testing.T) {
	t.Parallel()
	d := connect(t)
	d.ping()
	d.Gateway.Route("192.168.2.0/24", "192.168.125.1")
	second := d.secondClient(gateway.ClientNet, gateway.ClientHost)
	second.up("net")
	second.ping()
	if err := second.charon.TerminateIKE("home"); err != nil {
		t.Fatal(err)
	}
	second.evergate.WaitGone("vpn1_1", limit)
	if !d.Gateway.HasRoute(gateway.ClientNet) {
		t.Fatalf("the newer tunnel took the route to %s with it", gateway.ClientNet)
	}
	netlab.Eventually(t, limit, "the older client gets its traffic again", func() error {
		if err := pings(d.Client, gateway.ServerHost, gateway.ClientHost); err != nil {
			return fmt.Errorf("%w; the gateway has %+v", err, d.evergate.Tunnel("vpn1_0"))
		}
		return nil
	})
}
