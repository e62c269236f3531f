package e2e_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// TestManyTunnels brings up many tunnels of one dialup server at once, each with a
// name and a route of its own, and takes them down. F1, C10, C12, C13.
func TestManyTunnels(t *testing.T) {
	t.Parallel()
	const n = 50
	site := gateway.NewSite(netlab.New(t))
	server := startGateway(site.Gateway, dialupConfig)
	client := startGateway(site.Client, manyClients(site, n))
	netlab.Eventually(t, limit, fmt.Sprintf("the server has %d tunnels", n), func() error {
		s, err := server.Status()
		if err == nil && (s.Phase1[0].Up != n || s.Phase1[0].Children != n || s.Phase1[0].Connecting != 0) {
			err = fmt.Errorf("it has %+v", s.Phase1[0])
		}
		return err
	})
	names, spis := make(map[string]bool), make(map[string]bool)
	for _, tunnel := range server.Tunnels("vpn1") {
		if !strings.HasPrefix(tunnel.Name, "vpn1_") || names[tunnel.Name] {
			t.Errorf("a tunnel is named %q, want vpn1_ and a number that no other has", tunnel.Name)
		}
		names[tunnel.Name] = true
		for _, sa := range sas(tunnel) {
			if spis[sa.Dec.SPI] {
				t.Errorf("two SAs have the SPI %s", sa.Dec.SPI)
			}
			spis[sa.Dec.SPI] = true
		}
	}
	for i := range n {
		wantPing(t, site.Client, inner(i), gateway.ServerHost, fmt.Sprintf("tunnel %d of %d", i, n))
	}
	client.Stop()
	server.WaitGone("vpn1", limit)
	routes, err := site.Gateway.Output(exec.CommandContext(t.Context(), "ip", "route", "show", "table", "all", "proto", "50"))
	if err != nil || len(routes) > 0 {
		t.Errorf("routes of tunnels that are gone: %s (%v)", routes, err)
	}
	if created, deleted := server.Stat("ike.children_created"), server.Stat("ike.children_deleted"); created != n || deleted != n {
		t.Errorf("%d pairs of SAs were made and %d deleted, want %d each", created, deleted, n)
	}
	server.Stop()
	server.Log().Wait("gateway stops", limit)
}

// inner is the address behind client i.
func inner(i int) string { return fmt.Sprintf("10.10.%d.1", 10+i) }

// manyClients are connections from as many addresses.
func manyClients(site *gateway.Site, n int) string {
	var phase1, phase2 strings.Builder
	for i := range n {
		local := fmt.Sprintf("192.168.1.%d", 100+i)
		site.ClientWAN.AddAddr(local + "/24")
		site.Client.Loopback(inner(i) + "/32")
		fmt.Fprintf(&phase1, "  - {name: c%d, type: static, local-gw: %s, remote-gw: %s, localid: c%d, add-route: enable, proposal: aes128-sha256, dhgrp: 31, psksecret: %s}\n",
			i, local, gateway.GatewayAddr, i, secret)
		fmt.Fprintf(&phase2, "  - {name: c%d, phase1name: c%d, proposal: aes128gcm, src-subnet: %s, dst-subnet: %s, auto-negotiate: enable}\n", i, i, inner(i), gateway.ServerNet)
	}
	return "phase1:\n" + phase1.String() + "phase2:\n" + phase2.String()
}
