package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// TestTunnelBehindNATGoesOn kills the owner of a tunnel whose client is behind a
// NAT. The survivor sends to where the NAT has its mapping.
func TestTunnelBehindNATGoesOn(t *testing.T) { // F5, F8, C1
	t.Parallel()
	const host = "10.10.77.1"
	f := newFGSP(t, 2, 0)
	lab := f.site.Client.Lab()
	home, client := lab.Namespace("home"), lab.Namespace("roadwarrior")
	outside, _ := lab.Link(home.Port("wan", "192.168.2.2/24"), f.site.Router.Port("home", "192.168.2.1/24"))
	inside, _ := lab.Link(client.Port("wan", "10.77.0.2/24"), home.Port("lan", "10.77.0.1/24"))
	home.Forward()
	home.Route("0.0.0.0/0", "192.168.2.1")
	client.Route("0.0.0.0/0", "10.77.0.1")
	client.Loopback(host + "/32")
	outside.Masquerade()
	f.site.Router.Interface("home").Single()
	for i, m := range f.site.Members {
		m.Host.Route("192.168.2.0/24", fmt.Sprintf("192.168.%d.1", 125+i))
	}
	roadwarrior := strongswan.Start(client, strongswan.Settings{LogKeys: true})
	roadwarrior.Load(strongswan.Connection{
		Name: "away", LocalAddrs: []string{"10.77.0.2"}, RemoteAddrs: []string{gateway.GatewayAddr},
		Proposals: []string{"aes128-sha1-modp1024"}, Local: strongswan.Auth{ID: strongswan.FQDN("away.example")},
		Remote: strongswan.Auth{ID: strongswan.IPv4(gateway.GatewayAddr)}, PSK: gateway.GroupPSK,
		Children: []strongswan.Child{{
			Name: "host", LocalTS: []string{host + "/32"}, RemoteTS: []string{gateway.ServerLoopback + "/32"},
			Proposals: []string{"aes128-sha1"},
		}},
	})
	if err := roadwarrior.Initiate("host"); err != nil {
		t.Fatal(err)
	}
	f.waitRole(f.members[1], "vpn1_1", "standby")
	before, wire := roadwarrior.SAs(), inside.Capture("")
	down := netlab.Stream{From: f.site.Server, Source: gateway.ServerLoopback, To: client, Dest: host, Every: every}.Start(t)
	up := netlab.Stream{From: client, Source: host, To: f.site.Server, Dest: gateway.ServerLoopback, Every: every}.Start(t)
	down.WaitFor(50, time.Minute)
	up.WaitFor(50, time.Minute)

	f.members[0].Kill()
	f.site.Lead(f.site.Members[1])
	down.WaitFor(50, time.Minute)
	up.WaitFor(50, time.Minute)
	f.waitRole(f.members[1], "vpn1_1", "primary")
	down.Stop()
	up.Stop()
	wantSameSAs(t, before, roadwarrior.SAs())
	for _, p := range wire.ESP("") {
		if !p.Encapsulated {
			t.Fatalf("ESP passed the NAT without UDP: %+v", p)
		}
	}
	wantNumbersOnce(t, wire)
	wantNoneNegotiated(t, wire)
	wantAllAccepted(t, roadwarrior, before, wire, 0)
}
