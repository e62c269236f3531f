package e2e_test

import (
	"testing"

	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// TestTwoClientsOfOneAddressChooseOneSPI: behind one NAT, two clients receive on
// the same SPI. Each gets its own packets, and goes without the other.
func TestTwoClientsOfOneAddressChooseOneSPI(t *testing.T) {
	t.Parallel()
	const spi = "c1234567"
	same := strongswan.Settings{More: map[string]string{"spi_min": "0x" + spi, "spi_max": "0x" + spi}}
	d := dialIn(t, config([]entry{server1()}, []entry{server2()}), same, client())
	d.Uplink.Masquerade()

	const host = "10.10.2.1"
	second := d.Client.Lab().Namespace("client2")
	d.Client.Lab().Link(second.Port("wan", "192.168.3.2/24"), d.Router.Port("client2", "192.168.3.1/24"))
	second.Route("0.0.0.0/0", "192.168.3.1")
	second.Loopback(host + "/32")
	d.Gateway.Route("192.168.3.0/24", "192.168.125.1")
	other := strongswan.Start(second, same)
	c := client()
	c.Local.ID = strongswan.FQDN("client2.example")
	c.Children[0].LocalTS = []string{host + "/32"}
	other.Load(c)

	d.up("net")
	if err := other.Initiate("net"); err != nil {
		t.Fatal(err)
	}
	ports := make(map[uint16]bool)
	for _, name := range []string{"vpn1_0", "vpn1_1"} {
		tunnel := d.evergate.Tunnel(name)
		ports[tunnel.Remote.Port()] = true
		if got := tunnel.Proxies[0].SAs[0].Enc.SPI; tunnel.Remote.Addr().String() != natAddr || got != spi {
			t.Errorf("%s sends to %v on SPI %s, want the NAT and %s", name, tunnel.Remote, got, spi)
		}
	}
	if len(ports) != 2 {
		t.Errorf("both tunnels go to the ports %v, want one each", ports)
	}
	d.ping()
	reach := func() {
		t.Helper()
		if err := pings(second, gateway.ServerHost, host); err != nil {
			t.Errorf("the second client does not reach the server: %v", err)
		}
	}
	reach()
	if err := d.charon.TerminateIKE("home"); err != nil {
		t.Error(err)
	}
	d.evergate.WaitGone("vpn1_0", limit)
	reach()
}
