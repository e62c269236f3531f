package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// TestPathMTU makes the path between two gateways narrow while they are
// connected. "the IPsec implementation [...] MUST be able to process and relay
// the path MTU", RFC 4301 section 8: the sender hears what fits, exactly.
func TestPathMTU(t *testing.T) {
	t.Parallel()
	for _, o := range outers() {
		t.Run(o.name, func(t *testing.T) { narrow(t, o) })
	}
}

const narrowMTU = 1400

func narrow(t *testing.T, o outer) {
	t.Parallel()
	site := gateway.NewSite(netlab.New(t))
	server := startGateway(site.Gateway, fmt.Sprintf(`
phase1: [{name: vpn1, type: dynamic, local-gw: %q, proposal: aes128-sha256, dhgrp: 31, psksecret: %s}]
phase2: [{name: vpn1, phase1name: vpn1, proposal: aes256-sha256, src-subnet: [0.0.0.0/0, "::/0"], dst-subnet: [0.0.0.0/0, "::/0"]}]
`, o.remote, secret))
	client := startGateway(site.Client, fmt.Sprintf(`
phase1: [{name: office, type: static, local-gw: %q, remote-gw: %q, nattraversal: %s, add-route: enable, proposal: aes128-sha256, dhgrp: 31, psksecret: %s}]
phase2: [{name: office, phase1name: office, proposal: aes256-sha256, src-subnet: [%s, %q], dst-subnet: [%s, %q], auto-negotiate: enable}]
`, o.local, o.remote, o.nattraversal, secret, gateway.ClientNet, gateway.ClientNet6, gateway.ServerNet, gateway.ServerNet6))
	client.WaitUp("office", 1)
	server.WaitUp("vpn1_0", 1)
	wantPing(t, site.Client, gateway.ClientHost, gateway.ServerHost, "on the wide path")

	site.WAN.SetMTU(narrowMTU)
	site.ClientWAN.SetMTU(narrowMTU)
	mtu := learned(t, site, server)
	for _, to := range []string{gateway.ClientHost, gateway.ClientHost6} {
		got, err := site.Server.PathMTU(t.Context(), to, 1500)
		if err != nil || got != mtu {
			t.Errorf("the largest packet that passes from the server to %s has %d octets, the tunnel list says mtu=%d (%v)", to, got, mtu, err)
		}
	}
	wantTooBig(t, site, client)
	for source, dest := range map[string]string{gateway.ClientHost: gateway.ServerHost, gateway.ClientHost6: gateway.ServerHost6} {
		_, err := netlab.Transfer{From: site.Server, Source: dest, To: site.Client, Dest: source, Bytes: 256 << 10}.Run(t.Context())
		if err != nil {
			t.Errorf("move 256 KiB from %s to %s over the narrow path: %v", dest, source, err)
		}
	}
}

// learned has the server send what does not fit until it hears what does, and
// returns what the gateway's list says about it.
func learned(t *testing.T, site *gateway.Site, server *gateway.Daemon) int {
	t.Helper()
	netlab.Eventually(t, limit, "the gateway's list has the narrow path's MTU", func() error {
		_, err := site.Server.Ping(t.Context(), netlab.Ping{To: gateway.ClientHost, Count: 1, Size: narrowMTU - 28, DontFragment: true, Wait: 200 * time.Millisecond})
		if got := server.Tunnel("vpn1_0").PathMTU; err == nil && got != narrowMTU {
			err = fmt.Errorf("it says dst_mtu=%d", got)
		}
		return err
	})
	mtu := sas(server.Tunnel("vpn1_0"))[0].MTU
	for _, to := range []string{gateway.ClientHost, gateway.ClientHost6} {
		r, err := site.Server.Ping(t.Context(), netlab.Ping{To: to, Count: 1, Size: mtu - 20, DontFragment: true, Wait: limit})
		if err != nil || r.MTU != mtu {
			t.Errorf("the server hears that %d octets fit on the way to %s, the tunnel list says mtu=%d: %v\n%s", r.MTU, to, mtu, err, r.Output)
		}
	}
	return mtu
}

// wantTooBig wants the other end, whose own interface became narrow, to find out
// as well.
func wantTooBig(t *testing.T, site *gateway.Site, client *gateway.Daemon) {
	t.Helper()
	netlab.Eventually(t, limit, "the client's list has the narrow path's MTU", func() error {
		_, err := site.Client.Ping(t.Context(), netlab.Ping{
			From: gateway.ClientHost, To: gateway.ServerHost, Count: 1, Size: narrowMTU - 28, DontFragment: true, Wait: 200 * time.Millisecond,
		})
		if got := client.Tunnel("office").PathMTU; err == nil && got != narrowMTU {
			err = fmt.Errorf("it says dst_mtu=%d", got)
		}
		return err
	})
}
