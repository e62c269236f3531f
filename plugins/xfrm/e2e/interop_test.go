package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

const secret = "the secret of this laboratory"

// way is how the packets of a tunnel travel, and what protects them.
type way struct {
	name          string
	local, remote string // outer addresses of client and gateway
	udp           bool
	phase2, child string // one proposal in both notations
	esn           string
	net           int // tells the inner networks apart
}

func ways() []way {
	return []way{
		{"raw4", gateway.ClientAddr, gateway.GatewayAddr, false, "aes256gcm", "aes256gcm16-esn", "require", 20},
		{"udp4", gateway.ClientAddr, gateway.GatewayAddr, true, "aes128-sha1", "aes128-sha1", "disable", 21},
		{"raw6", gateway.ClientAddr6, gateway.GatewayAddr6, false, "aes256-sha512", "aes256-sha512-esn", "require", 22},
		{"udp6", gateway.ClientAddr6, gateway.GatewayAddr6, true, "chacha20poly1305", "chacha20poly1305", "disable", 23},
	}
}

func (w way) host() string { return fmt.Sprintf("10.%d.0.1", w.net) }

// TestStrongSwanOnTheSameKernel moves data between this dataplane and strongSwan's
// use of the kernel, over and of both families, raw and in UDP.
func TestStrongSwanOnTheSameKernel(t *testing.T) {
	site := gateway.NewSite(netlab.New(t))
	server := startGateway(site.Gateway, serverConfig())
	client := strongswan.Start(site.Client, strongswan.Settings{KernelESP: true})
	for _, w := range ways() {
		site.Client.Loopback(w.host() + "/32")
		client.Load(w.connection())
		if err := client.Initiate(w.name); err != nil {
			t.Fatalf("Tunnel %s does not come up: %v.", w.name, err)
		}
		server.WaitUp(w.name, 1)
		if got := client.Child(w.name).Encap; got != w.udp {
			t.Errorf("Tunnel %s should be in UDP: %v, but is: %v.", w.name, w.udp, got)
		}
		_, err := netlab.Transfer{From: site.Client, Source: w.host(), To: site.Server, Dest: gateway.ServerHost, Bytes: 64 << 10, Seed: uint64(w.net)}.Run(t.Context())
		if err != nil {
			t.Errorf("64 KiB do not pass through tunnel %s: %v.", w.name, err)
		}
		if c := client.Child(w.name); c.BytesOut < 64<<10 || c.PacketsIn == 0 {
			t.Errorf("What passed should have been in the SAs of tunnel %s, but they count %d octets out and %d packets in.", w.name, c.BytesOut, c.PacketsIn)
		}
		if err := client.RekeyChild(w.name); err != nil {
			t.Errorf("Tunnel %s cannot be rekeyed: %v.", w.name, err)
		}
		if err := site.Client.Echo(t.Context(), gateway.ServerHost, w.host(), 3); err != nil {
			t.Errorf("After rekeying, tunnel %s carries nothing: %v.", w.name, err)
		}
	}
}

func serverConfig() string {
	var b strings.Builder
	b.WriteString("phase1:\n")
	for _, w := range ways() {
		fmt.Fprintf(&b, "  - {name: %s, type: dynamic, local-gw: %q, peertype: one, peerid: %s, nattraversal: enable, proposal: aes128-sha256, dhgrp: 31, psksecret: {literal: %s}}\n",
			w.name, w.remote, w.name, secret)
	}
	b.WriteString("phase2:\n")
	for _, w := range ways() {
		fmt.Fprintf(&b, "  - {name: %s, phase1name: %s, proposal: %s, esn: %s}\n", w.name, w.name, w.phase2, w.esn)
	}
	return b.String()
}

func (w way) connection() strongswan.Connection {
	return strongswan.Connection{
		Name: w.name, LocalAddrs: []string{w.local}, RemoteAddrs: []string{w.remote}, ForceEncap: w.udp,
		Proposals: []string{"aes128-sha256-x25519"}, Local: strongswan.Auth{ID: strongswan.FQDN(w.name)}, PSK: secret,
		Children: []strongswan.Child{{
			Name: w.name, LocalTS: []string{w.host() + "/32"}, RemoteTS: []string{gateway.ServerNet}, Proposals: []string{w.child},
		}},
	}
}
