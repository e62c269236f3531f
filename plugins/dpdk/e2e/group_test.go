//go:build dpdk

package e2e_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// group is a group of two members, the first on DPDK and the second on the dataplane
// in Go, with a strongSwan client.
type group struct {
	t       *testing.T
	site    *gateway.GroupSite
	members []*gateway.Daemon
	client  *strongswan.Daemon
}

// newGroup starts the group, the first member with more settings of the dataplane.
func newGroup(t *testing.T, more string) *group {
	t.Helper()
	g := &group{t: t, site: gateway.NewGroupSite(netlab.New(t), 2)}
	one, two := g.site.Members[0], g.site.Members[1]
	rewire(t, one.Host, g.site.Router, "vm1", []string{"192.168.125.254/24"}, []string{"192.168.1.0/24", "192.168.125.1"})
	g.members = []*gateway.Daemon{
		startDPDK(one.Host, g.site.Config(one, "    fgsp-sync: enable", ""), more),
		startSoft(two.Host, g.site.Config(two, "    fgsp-sync: enable", "")),
	}
	g.waitSynced()
	g.site.Lead(one)
	g.client = strongswan.Start(g.site.Client, strongswan.Settings{RetransmitTimeout: time.Second})
	g.client.Load(strongswan.Connection{
		Name: "office", LocalAddrs: []string{gateway.ClientAddr}, RemoteAddrs: []string{gateway.GatewayAddr},
		Proposals: []string{"aes128-sha1-modp1024"}, Local: strongswan.Auth{ID: strongswan.FQDN("client.example")},
		Remote: strongswan.Auth{ID: strongswan.IPv4(gateway.GatewayAddr)}, PSK: gateway.GroupPSK,
		Children: []strongswan.Child{{
			Name: "lan", LocalTS: []string{gateway.ClientNet}, RemoteTS: []string{gateway.ServerLoopback + "/32"},
			Proposals: []string{"aes128-sha1"},
		}},
	})
	return g
}

// waitSynced waits until both members hold each other's tunnels.
func (g *group) waitSynced() {
	g.t.Helper()
	for _, d := range g.members {
		netlab.Eventually(g.t, limit, "the members are synced", func() error {
			p, err := d.StandalonePeers()
			if err != nil {
				return err
			}
			for _, peer := range p.Peers {
				if peer.Detected && peer.Synced && peer.Complete {
					return nil
				}
			}
			return fmt.Errorf("its peers are %+v", p.Peers)
		})
	}
}

func (g *group) waitRole(d *gateway.Daemon, want string) {
	g.t.Helper()
	netlab.Eventually(g.t, limit, "the member's role is "+want, func() error {
		tunnels := d.Tunnels("vpn1_1")
		if len(tunnels) != 1 || tunnels[0].Role != want {
			return fmt.Errorf("its tunnels are %+v", tunnels)
		}
		return nil
	})
}

func (g *group) wantTraffic(stream *netlab.Streaming, when string) {
	g.t.Helper()
	g.t.Logf("The client's packets should pass %s.", when)
	stream.WaitFor(30, limit)
	netlab.Eventually(g.t, limit, "the client reaches the server, "+when, func() error {
		r, err := g.site.Client.Ping(g.t.Context(), netlab.Ping{To: gateway.ServerLoopback, From: gateway.ClientHost, Count: 3})
		return errors.Join(err, r.Err())
	})
}

// connect has the client dial in at the first member and send without a break. It
// returns the packets, and what has to stay as it is.
func (g *group) connect() (stream *netlab.Streaming, kept keeping) {
	g.t.Helper()
	if err := g.client.Initiate("lan"); err != nil {
		g.t.Fatal(err)
	}
	one, two := g.members[0], g.members[1]
	g.waitRole(one, "sync-primary")
	g.waitRole(two, "standby")
	kept = keeping{identity(one.Tunnel("vpn1_1")), g.client.SAs()[0].InitiatorSPI}
	stream = netlab.Stream{
		From: g.site.Client, Source: gateway.ClientHost, To: g.site.Server, Dest: gateway.ServerLoopback, Every: 20 * time.Millisecond,
	}.Start(g.t)
	g.wantTraffic(stream, "at first, over DPDK")
	return stream, kept
}

// keeping is what a client keeps when a member or a part of it dies: the SAs of its
// tunnel, and its IKE SA.
type keeping struct {
	tunnel string
	spi    uint64
}

// wantKept checks that the client has at the member d what it had.
func (g *group) wantKept(d *gateway.Daemon, kept keeping) {
	g.t.Helper()
	if got := identity(d.Tunnel("vpn1_1")); got != kept.tunnel {
		g.t.Errorf("The SAs were %s and are %s, want the same.", kept.tunnel, got)
	}
	if sas := g.client.SAs(); len(sas) != 1 || sas[0].InitiatorSPI != kept.spi {
		g.t.Errorf("The client should have kept its IKE SA %016x, got %+v.", kept.spi, sas)
	}
}

// identity is what stays the same of a tunnel, whoever has it.
func identity(t diag.Tunnel) string {
	if len(t.Proxies) != 1 || len(t.Proxies[0].SAs) != 1 {
		return fmt.Sprintf("%d proxies", len(t.Proxies))
	}
	s := t.Proxies[0].SAs[0]
	return s.Dec.SPI + s.Dec.Key + s.Dec.HashKey + "/" + s.Enc.SPI + s.Enc.Key + s.Enc.HashKey
}

// TestTunnelPassesBetweenDPDKAndGo passes a client's tunnel on from a member on DPDK
// to one on the dataplane in Go, and back to the first after its return, under
// traffic and without new keys.
func TestTunnelPassesBetweenDPDKAndGo(t *testing.T) { // F5, F19, F23, B1
	passesOn(newGroup(t, ""))
}

// passesOn kills the member that has the client's tunnel, then the other one.
func passesOn(g *group) {
	t := g.t
	t.Helper()
	stream, kept := g.connect()
	one, two := g.members[0], g.members[1]
	if got := identity(two.Tunnel("vpn1_1")); got != kept.tunnel {
		t.Errorf("The SAs are %s at the primary and %s at the standby, want the same.", kept.tunnel, got)
	}

	one.Kill()
	g.site.Lead(g.site.Members[1])
	g.wantTraffic(stream, "after the first member's death, over the dataplane in Go")
	g.waitRole(two, "primary") // nobody is left to stand by

	one.Restart()
	g.waitSynced()
	g.waitRole(one, "standby")
	two.Kill()
	g.site.Lead(g.site.Members[0])
	g.wantTraffic(stream, "after the second member's death, over DPDK again")
	g.wantKept(one, kept)
}
