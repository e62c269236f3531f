package e2e_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// group is a group of members with a strongSwan client on the kernel's ESP.
type group struct {
	t       *testing.T
	site    *gateway.GroupSite
	members []*gateway.Daemon
	client  *strongswan.Daemon
}

// newGroup starts two members on the kernel's ESP, and a third one on the dataplane
// in Go.
func newGroup(t *testing.T) *group {
	t.Helper()
	g := &group{t: t, site: gateway.NewGroupSite(netlab.New(t), 3)}
	for i, m := range g.site.Members {
		start := startGateway
		if i == 2 {
			start = startSoft
		}
		g.members = append(g.members, start(m.Host, g.site.Config(m, "    fgsp-sync: enable", "")))
	}
	g.waitSynced(g.members...)
	g.site.Lead(g.site.Members[0])
	g.client = strongswan.Start(g.site.Client, strongswan.Settings{RetransmitTimeout: time.Second, KernelESP: true})
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

// waitSynced waits until all of these members hold each other's tunnels.
func (g *group) waitSynced(members ...*gateway.Daemon) {
	g.t.Helper()
	for _, d := range members {
		netlab.Eventually(g.t, limit, "the members are synced", func() error {
			p, err := d.StandalonePeers()
			if err != nil {
				return err
			}
			n := 0
			for _, peer := range p.Peers {
				if peer.Detected && peer.Synced && peer.Complete {
					n++
				}
			}
			if n < len(members)-1 {
				return fmt.Errorf("%d of %d are: %+v", n, len(members)-1, p.Peers)
			}
			return nil
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

// identity is what stays the same of a tunnel, whoever has it.
func identity(t diag.Tunnel) string {
	if len(t.Proxies) != 1 || len(t.Proxies[0].SAs) != 1 {
		return fmt.Sprintf("%d proxies", len(t.Proxies))
	}
	s := t.Proxies[0].SAs[0]
	return s.Dec.SPI + s.Dec.Key + s.Dec.HashKey + "/" + s.Enc.SPI + s.Enc.Key + s.Enc.HashKey
}

// TestTunnelOutlivesMembersOfAnyDataplane passes one tunnel on from the kernel's ESP
// to the kernel's, to the dataplane in Go and back, under traffic, and kills a
// plugin on the way.
func TestTunnelOutlivesMembersOfAnyDataplane(t *testing.T) { // F4, F5, F9, F12, F19, F23, B1, B5, B6
	g := newGroup(t)
	if err := g.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	one, two, three := g.members[0], g.members[1], g.members[2]
	g.waitRole(one, "sync-primary")
	g.waitRole(two, "standby")
	g.waitRole(three, "standby")
	before, spi := identity(one.Tunnel("vpn1_1")), g.client.SAs()[0].InitiatorSPI
	for _, d := range []*gateway.Daemon{two, three} {
		if got := identity(d.Tunnel("vpn1_1")); got != before {
			t.Errorf("The SAs are %s at the primary and %s at a standby, want the same.", before, got)
		}
	}
	stream := netlab.Stream{
		From: g.site.Client, Source: gateway.ClientHost, To: g.site.Server, Dest: gateway.ServerLoopback, Every: 20 * time.Millisecond,
	}.Start(t)
	g.wantTraffic(stream, "at first")
	g.wantRelayed(stream, two)
	g.wantRelayed(stream, three)
	g.site.Lead(g.site.Members[0])

	one.Kill()
	g.site.Lead(g.site.Members[1])
	g.wantTraffic(stream, "after the first member's death")
	g.waitRole(two, "sync-primary")

	dead := two.KillPlugin()
	g.wantTraffic(stream, "while no plugin runs")
	g.waitPlugin(two, dead)
	g.wantTraffic(stream, "with another plugin")

	two.Kill()
	g.site.Lead(g.site.Members[2])
	g.wantTraffic(stream, "after the second member's death, over the dataplane in Go")
	g.waitRole(three, "primary") // nobody is left to stand by

	one.Restart()
	g.waitSynced(one, three)
	g.waitRole(one, "standby")
	g.wantRelayed(stream, one)
	three.Kill()
	g.site.Lead(g.site.Members[0])
	g.wantTraffic(stream, "after the third member's death, over the kernel's ESP again")
	g.waitRole(one, "primary")
	if got := identity(one.Tunnel("vpn1_1")); got != before {
		t.Errorf("The first member has the SAs %s again, want those of before, %s.", got, before)
	}
	sas := g.client.SAs()
	if len(sas) != 1 || sas[0].InitiatorSPI != spi || sas[0].Children[0].BytesOut == 0 {
		t.Errorf("The client should have the IKE SA of before and have sent through it, got %+v.", sas)
	}
	if err := g.client.RekeyChild("lan"); err != nil {
		t.Errorf("The last member does not rekey: %v.", err)
	}
	g.wantTraffic(stream, "with new keys")
}

// wantTraffic waits for packets of the stream, and of a ping back and forth.
func (g *group) wantTraffic(stream *netlab.Streaming, when string) {
	g.t.Helper()
	g.t.Logf("The client's packets should pass %s.", when)
	stream.WaitFor(30, limit)
	netlab.Eventually(g.t, limit, "the client reaches the server, "+when, func() error {
		r, err := g.site.Client.Ping(g.t.Context(), netlab.Ping{To: gateway.ServerLoopback, From: gateway.ClientHost, Count: 3})
		return errors.Join(err, r.Err())
	})
}

// wantRelayed has the server's packets come to a member that stands by, which gives
// them to the owner over their link.
func (g *group) wantRelayed(stream *netlab.Streaming, by *gateway.Daemon) {
	g.t.Helper()
	netlab.Eventually(g.t, limit, "the members have links", func() error {
		s, err := by.Status()
		if err == nil && (len(s.Links) == 0 || slices.ContainsFunc(s.Links, func(l diag.MemberLink) bool { return l.State != "up" })) {
			err = fmt.Errorf("they are %+v", s.Links)
		}
		return err
	})
	g.site.LeadDown(g.site.Members[slices.Index(g.members, by)])
	g.wantTraffic(stream, "while the server's come to a member that stands by")
	if n := by.Tunnel("vpn1_1").Proxies[0].SAs[0].Relayed; n < 3 {
		g.t.Errorf("The member that stands by should have given the owner three packets or more, it counts %d.", n)
	}
	g.waitRole(by, "standby")
}

// waitPlugin waits until another process than before is the dataplane.
func (g *group) waitPlugin(d *gateway.Daemon, before int) {
	g.t.Helper()
	netlab.Eventually(g.t, limit, "another process is the dataplane", func() error {
		s, err := d.Status()
		if err == nil && (s.Dataplane.State != "up" || s.Dataplane.PID == before) {
			err = fmt.Errorf("it is %s with pid %d", s.Dataplane.State, s.Dataplane.PID)
		}
		return err
	})
}
