package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// TestManyClientsSpreadOverMembers has a router spread clients over members, and
// over those that are left when one dies.
func TestManyClientsSpreadOverMembers(t *testing.T) { // F3, F9, F11, F12, F23
	t.Parallel()
	const n = 30
	f := newFGSP(t, 3, 0)
	f.client.Kill() // its port is for another
	f.site.Lead(f.site.Members...)
	startGateway(f.site.Client, groupClients(f.site, n))
	owned := waitOwners(t, n, f.members...)
	for i, names := range owned {
		if len(names) == 0 || len(names) == n {
			t.Errorf("member %d owns %d of %d tunnels, want a part of them", i+1, len(names), n)
		}
	}
	var streams []*netlab.Streaming
	for i := range n {
		streams = append(streams, netlab.Stream{
			From: f.site.Client, Source: inner(i), To: f.site.Server, Dest: gateway.ServerLoopback, Every: 50 * time.Millisecond,
		}.Start(t))
	}
	flow := func() {
		for _, s := range streams {
			s.WaitFor(5, time.Minute)
		}
	}
	flow()
	before := pairs(f.members[1])

	wire := f.site.ClientWAN.Capture("udp port 500 or esp")
	f.members[0].Kill()
	f.site.Lead(f.site.Members[1:]...)
	flow()
	after := waitOwners(t, n, f.members[1:]...)
	for name := range owned[0] {
		if !after[0][name] && !after[1][name] {
			t.Errorf("tunnel %s of the dead member has no owner", name)
		}
	}
	for name := range owned[1] {
		if !after[0][name] {
			t.Errorf("tunnel %s has left its owner, who lives", name)
		}
	}
	for name, pair := range pairs(f.members[1]) {
		if before[name] != pair {
			t.Errorf("tunnel %s has other SAs than before", name)
		}
	}
	flow()
	for _, m := range wire.IKE("") {
		if m.ExchangeType == 34 || m.ExchangeType == 36 {
			t.Errorf("new SAs were negotiated: %+v", m)
		}
	}
	wantNumbersOnce(t, wire)
}

// waitOwners waits until there are n tunnels, each with one owner among the
// members, and all others stand by for it. It returns the names of the tunnels
// that each member owns.
func waitOwners(t *testing.T, n int, members ...*gateway.Daemon) (owned []map[string]bool) {
	t.Helper()
	netlab.Eventually(t, time.Minute, fmt.Sprintf("%d tunnels have one owner each", n), func() error {
		owned = nil
		owners, standbys := make(map[string]int), make(map[string]int)
		for _, d := range members {
			names := make(map[string]bool)
			for _, tunnel := range d.Tunnels("") {
				if tunnel.Role == "sync-primary" {
					names[tunnel.Name] = true
					owners[tunnel.Name]++
				} else if tunnel.Role == "standby" {
					standbys[tunnel.Name]++
				}
			}
			owned = append(owned, names)
		}
		for name, count := range owners {
			if count != 1 || standbys[name] != len(members)-1 {
				return fmt.Errorf("%s has %d owners and %d standbys", name, count, standbys[name])
			}
		}
		if len(owners) != n {
			return fmt.Errorf("%d have one", len(owners))
		}
		return nil
	})
	return owned
}

// pairs are the SAs of all tunnels at a member, by name.
func pairs(d *gateway.Daemon) map[string]string {
	out := make(map[string]string)
	for _, tunnel := range d.Tunnels("") {
		out[tunnel.Name] = saPair(tunnel)
	}
	return out
}

// groupClients are connections to the group from as many addresses.
func groupClients(site *gateway.GroupSite, n int) string {
	var phase1, phase2 strings.Builder
	for i := range n {
		local := fmt.Sprintf("192.168.1.%d", 150+i)
		site.ClientWAN.AddAddr(local + "/24")
		site.Client.Loopback(inner(i) + "/32")
		fmt.Fprintf(&phase1, "  - {name: c%d, type: static, local-gw: %s, remote-gw: %s, localid: c%d, add-route: enable, proposal: aes128-sha1, dhgrp: 2, psksecret: {literal: %s}}\n",
			i, local, gateway.GatewayAddr, i, gateway.GroupPSK)
		fmt.Fprintf(&phase2, "  - {name: c%d, phase1name: c%d, proposal: aes128-sha1, src-subnet: %s, dst-subnet: %s/32, auto-negotiate: enable}\n",
			i, i, inner(i), gateway.ServerLoopback)
	}
	return "phase1:\n" + phase1.String() + "phase2:\n" + phase2.String()
}
