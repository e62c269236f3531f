package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// fgspScene is FortiOS's example of FGSP: four gateways behind a router, one of
// them with sync disabled.
type fgspScene struct {
	*stage
	tb      netlab.TB
	binary  string
	site    *gateway.GroupSite
	members []*gateway.Daemon // nil for one that is dead
	charon  *strongswan.Daemon
	clients []dialup
}

// synced is the number of members with fgsp-sync enabled, the first ones.
const synced = 3

// dialup is one of strongSwan's connections.
type dialup struct {
	name           string // of the connection and of its child
	addr           string
	network, inner string
}

// waitLimit bounds the waits for what takes milliseconds on an idle machine.
const waitLimit = time.Minute

const topology = `
                      ┌─ DC1_VM1 ─┐
  clients ── router ──┼─ DC1_VM2 ─┼── server
  192.168.1.x         ├─ DC1_VM3 ─┤   172.31.200.1
                      └─ DC1_VM4 ─┘
  All four have the clients' gateway 192.168.202.31 on their loopback; there is no
  virtual address. They talk to each other over 172.31.1.1 to 172.31.1.4.
`

// playStatic has a router with equal-cost static routes, as in the example, and
// a member that loses its power.
func playStatic(tb netlab.TB, s *stage, binary string) {
	f := &fgspScene{stage: s, tb: tb, binary: binary}
	f.build()
	f.step("start evergated on all four; DC1_VM4 has fgsp-sync disabled", func() string {
		f.start(func(*gateway.GroupMember) string { return "" })
		f.site.Lead(f.site.Members[:synced]...)
		f.site.AnswerBack()
		return "the router shares clients among three, by equal-cost static routes"
	})
	f.peers()
	f.dialIn()
	tunnel, client := f.tunnelOf(0)
	f.lists(tunnel)
	f.compare(tunnel)
	f.failover(tunnel, client, "DC1_VM1 loses its power while 100 pings a second and a TCP transfer run", func() {
		f.site.Members[0].Unplug()
		f.members[0].Kill()
	})
}

// playBGP has routers that learn from the members where to send to, and a
// gateway whose host lives on when it crashes.
func playBGP(tb netlab.TB, s *stage, binary string) {
	f := &fgspScene{stage: s, tb: tb, binary: binary}
	f.build()
	f.step("start evergated on all four, each with BGP, and BIRD 2 as router", func() string {
		router, _ := f.site.StartBIRD(f.site.Members[:synced]...)
		f.start(func(m *gateway.GroupMember) string {
			if m.ID > synced {
				return ""
			}
			return m.BGP()
		})
		netlab.Eventually(tb, waitLimit, "the router has a route through each synced member", func() error {
			if hops := router.NextHops(netip.MustParsePrefix(gateway.GatewayAddr + "/32")); len(hops) != synced {
				return fmt.Errorf("it has %v", hops)
			}
			return nil
		})
		return "three members announce " + gateway.GatewayAddr
	})
	f.dialIn()
	tunnel, client := f.tunnelOf(0)
	f.step("look at what the members announce of their clients", func() string {
		netlab.Eventually(tb, waitLimit, "the server has the route of DC1_VM1's client", func() error {
			if !f.site.Server.HasRoute(client.network) {
				return errors.New("it has not")
			}
			return nil
		})
		return client.network + " comes from its owner, DC1_VM1, alone"
	})
	f.failover(tunnel, client, "kill DC1_VM1's evergated and dataplane (SIGKILL) while 100 pings a second and a TCP transfer run", func() {
		f.members[0].Kill()
	})
	f.step("have every client reach the server", func() string {
		for _, c := range f.clients {
			if err := f.site.Client.Echo(tb.Context(), gateway.ServerLoopback, c.inner, 1); err != nil {
				tb.Fatalf("%s: %v", c.name, err)
			}
		}
		for _, t := range f.members[1].Tunnels("") {
			f.waitRoles(t.Name, -1)
		}
		owned := f.owned()
		return fmt.Sprintf("%d of %d do; DC1_VM2 owns %d tunnels now, DC1_VM3 %d", len(f.clients), len(f.clients), owned[1], owned[2])
	})
}

func (f *fgspScene) build() {
	f.step("make DC1_VM1 to DC1_VM4, a router, clients and a server out of namespaces", func() string {
		f.site = gateway.NewGroupSite(netlab.New(f.tb), 4)
		return ""
	})
	f.text(topology)
}

// start starts the members, each with further configuration of its own, and
// waits until those with sync hold each other's tunnels.
func (f *fgspScene) start(more func(*gateway.GroupMember) string) {
	for _, m := range f.site.Members {
		sync := "enable"
		if m.ID > synced {
			sync = "disable"
		}
		config := f.dataplane() + f.site.Cluster(m) + fmt.Sprintf(memberConfig, gateway.GatewayAddr, sync, gateway.GroupPSK) + more(m)
		f.members = append(f.members, gateway.Start(m.Host, gateway.Settings{Binary: f.binary, Config: config}))
	}
	for _, d := range f.members[:synced] {
		netlab.Eventually(f.tb, waitLimit, "the members are synced", func() error {
			p, err := d.StandalonePeers()
			if err != nil {
				return err
			}
			if n := len(slices.DeleteFunc(p.Peers, func(p diag.StandalonePeer) bool { return !p.Synced || !p.Complete })); n < synced-1 {
				return fmt.Errorf("%d peers are", n)
			}
			return nil
		})
	}
}

// memberConfig is phase 1 and 2 of the example. NAT traversal is enabled, for
// strongSwan's ESP in user space comes in UDP only.
const memberConfig = `
phase1:
  - name: vpn1
    type: dynamic
    interface: port2
    ike-version: 2
    local-gw: %s
    keylife: 90000
    peertype: one
    peerid: Nokia_Peer
    net-device: disable
    proposal: [aes128-sha1]
    dhgrp: [2]
    dpd: on-idle
    dpd-retryinterval: 60
    fgsp-sync: %s
    psksecret: {literal: %s}
phase2:
  - name: vpn1
    phase1name: vpn1
    proposal: [aes128-sha1]
    keylifeseconds: 10800
`

// dialIn has clients dial until each synced member owns a tunnel: which one a
// client gets is the router's choice, by a hash of its address.
func (f *fgspScene) dialIn() {
	const enough, most = 6, 60
	f.step("strongSwan clients, which know nothing of all this, dial in", func() string {
		f.charon = strongswan.Start(f.site.Client, strongswan.Settings{})
		owned := f.owned()
		for i := 0; i < enough || slices.Contains(owned, 0); i++ {
			if i == most {
				f.tb.Fatalf("the router led %d clients to the members, but none to some: %v", most, owned)
			}
			f.dial(i)
			owned = f.owned()
		}
		return fmt.Sprintf("of %d tunnels DC1_VM1 got %d, DC1_VM2 %d, DC1_VM3 %d", len(f.clients), owned[0], owned[1], owned[2])
	})
}

func (f *fgspScene) dial(i int) {
	c := dialup{
		name: fmt.Sprintf("client%d", i+1), addr: fmt.Sprintf("192.168.1.%d", 2+i),
		network: fmt.Sprintf("10.10.%d.0/24", 1+i), inner: fmt.Sprintf("10.10.%d.1", 1+i),
	}
	if i > 0 { // the first one's are there
		f.site.ClientWAN.AddAddr(c.addr + "/24")
		f.site.Client.Loopback(c.inner + "/32")
	}
	f.charon.Load(strongswan.Connection{
		Name: c.name, LocalAddrs: []string{c.addr}, RemoteAddrs: []string{gateway.GatewayAddr},
		Proposals: []string{"aes128-sha1-modp1024"}, Local: strongswan.Auth{ID: strongswan.FQDN("Nokia_Peer")},
		Remote: strongswan.Auth{ID: strongswan.IPv4(gateway.GatewayAddr)}, PSK: gateway.GroupPSK,
		Children: []strongswan.Child{{
			Name: c.name, LocalTS: []string{c.network}, RemoteTS: []string{gateway.ServerLoopback + "/32"},
			Proposals: []string{"aes128-sha1"},
		}},
	})
	if err := f.charon.Initiate(c.name); err != nil {
		f.tb.Fatalf("%s dials in: %v", c.name, err)
	}
	f.clients = append(f.clients, c)
}

// owned counts the tunnels that each synced member owns.
func (f *fgspScene) owned() []int {
	n := make([]int, synced)
	for i, d := range f.members[:synced] {
		if d == nil {
			continue
		}
		for _, t := range d.Tunnels("") {
			if t.Role == "sync-primary" {
				n[i]++
			}
		}
	}
	return n
}

// tunnelOf returns a tunnel that the member owns, once all others stand by, and
// its client.
func (f *fgspScene) tunnelOf(member int) (name string, client dialup) {
	for _, t := range f.members[member].Tunnels("") {
		i := slices.IndexFunc(f.clients, func(c dialup) bool { return c.addr == t.TunnelID.String() })
		if t.Role == "sync-primary" && i >= 0 {
			f.waitRoles(t.Name, member)
			return t.Name, f.clients[i]
		}
	}
	f.tb.Fatalf("DC1_VM%d owns no tunnel", member+1)
	return "", dialup{}
}

// role is that of a tunnel at a member, empty when it is not there.
func (f *fgspScene) role(member int, tunnel string) string {
	for _, t := range f.members[member].Tunnels(tunnel) {
		return t.Role
	}
	return ""
}

// waitRoles waits until that member, or any for -1, is the only owner of the
// tunnel among the living, and all others stand by. It returns the owner.
func (f *fgspScene) waitRoles(tunnel string, owner int) int {
	netlab.Eventually(f.tb, waitLimit, tunnel+" has one owner, and all others stand by", func() error {
		var owners []int
		for i, d := range f.members[:synced] {
			if d == nil {
				continue
			}
			switch role := f.role(i, tunnel); role {
			case "sync-primary":
				owners = append(owners, i)
			case "standby":
			default:
				return fmt.Errorf("its role at DC1_VM%d is %q", i+1, role)
			}
		}
		if len(owners) != 1 || owner >= 0 && owners[0] != owner {
			return fmt.Errorf("its owners are %v", owners)
		}
		owner = owners[0]
		return nil
	})
	return owner
}

// evergate runs the operator's tool on a member.
func (f *fgspScene) evergate(member int, args ...string) string {
	cmd := exec.CommandContext(f.tb.Context(), filepath.Join(filepath.Dir(f.binary), "evergate"),
		append([]string{"--socket", f.members[member].Socket()}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		f.tb.Fatalf("evergate %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
