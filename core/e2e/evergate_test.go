package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/programs"
)

// dialup is a server for clients from anywhere, and office one of its clients.
const (
	dialupConfig = `
phase1:
  - {name: vpn1, type: dynamic, interface: port2, local-gw: ` + gateway.GatewayAddr + `, proposal: aes128-sha256, dhgrp: 31, psksecret: ` + secret + `}
phase2:
  - {name: vpn1, phase1name: vpn1, proposal: aes128gcm, dhgrp: 31, pfs: optional}
`
	officeConfig = `
phase1:
  - {name: office, type: static, interface: wan, local-gw: ` + gateway.ClientAddr + `, remote-gw: ` + gateway.GatewayAddr + `, localid: office.example,
     proposal: aes128-sha256, dhgrp: 31, add-route: enable, psksecret: ` + secret + `}
phase2:
  - {name: office, phase1name: office, proposal: aes128gcm, src-subnet: ` + gateway.ClientNet + `, dst-subnet: ` + gateway.ServerNet + `, auto-negotiate: enable}
`
)

// evergates are a client and a server that run Evergate, in a site of their own.
type evergates struct {
	*gateway.Site
	t              *testing.T
	server, client *gateway.Daemon
}

// singles has a capture between client and gateway show the packets that they
// sent, one by one.
func singles(s *gateway.Site) {
	for _, i := range []*netlab.Interface{s.ClientWAN, s.WAN, s.Uplink, s.Port2} {
		i.Single()
	}
}

// connectEvergates starts both ends with additions to their configurations, and waits for
// the tunnel.
func connectEvergates(t *testing.T, server, client string) *evergates {
	t.Helper()
	return connectWith(t, dialupConfig+server, officeConfig+client)
}

// connectWith is connectEvergates with whole configurations, whose connections
// have the same names.
func connectWith(t *testing.T, server, client string) *evergates {
	t.Helper()
	p := &evergates{Site: gateway.NewSite(netlab.New(t)), t: t}
	singles(p.Site)
	p.server = startGateway(p.Gateway, server)
	p.client = startGateway(p.Client, client)
	p.client.WaitUp("office", 1)
	p.server.WaitUp("vpn1_0", 1)
	return p
}

// stream starts datagrams from the client's network to the server, and waits
// until they arrive.
func (p *evergates) stream() *netlab.Streaming {
	p.t.Helper()
	s := netlab.Stream{From: p.Client, Source: gateway.ClientHost, To: p.Server, Dest: gateway.ServerHost}.Start(p.t)
	s.WaitFor(20, limit)
	return s
}

// wantPing wants the server to answer the client's network.
func (p *evergates) wantPing(why string) {
	p.t.Helper()
	wantPing(p.t, p.Client, gateway.ClientHost, gateway.ServerHost, why)
}

func wantPing(t *testing.T, from *netlab.Namespace, source, to, why string) {
	t.Helper()
	if err := from.Echo(t.Context(), to, source, 3); err != nil {
		t.Fatalf("%s: %v", why, err)
	}
}

// wantAnswer wants an answer at some time: the tunnel is being restored.
func (p *evergates) wantAnswer(why string) {
	p.t.Helper()
	netlab.Eventually(p.t, limit, why, func() error {
		r, err := p.Client.Ping(p.t.Context(), netlab.Ping{From: gateway.ClientHost, To: gateway.ServerHost, Count: 1, Wait: time.Second})
		if err != nil {
			return err
		}
		return r.Err()
	})
}

// sas are the pairs of SAs of a tunnel.
func sas(t diag.Tunnel) []diag.SA {
	var out []diag.SA
	for _, p := range t.Proxies {
		out = append(out, p.SAs...)
	}
	return out
}

// identity names a tunnel's IKE SA and Child SAs by their SPIs.
func identity(t diag.Tunnel) string {
	words := t.IKESPIs[:]
	for _, sa := range sas(t) {
		words = append(words, sa.Dec.SPI+"/"+sa.Enc.SPI)
	}
	return strings.Join(words, " ")
}

// tool runs the operator's tool against a gateway, and returns what it prints.
func tool(ctx context.Context, d *gateway.Daemon, args ...string) (stdout string, err error) {
	var errs strings.Builder
	cmd := exec.CommandContext(ctx, programs.Path("evergate"), append([]string{"--socket", d.Socket()}, args...)...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("evergate %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return string(out), err
}

// evergate is tool where success is taken for granted.
func evergate(t *testing.T, d *gateway.Daemon, args ...string) string {
	t.Helper()
	out, err := tool(t.Context(), d, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// listWithKeys is the tunnel list as an operator gets it with --show-keys.
func listWithKeys(t *testing.T, d *gateway.Daemon) []diag.Tunnel {
	t.Helper()
	var tunnels []diag.Tunnel
	if err := json.Unmarshal([]byte(evergate(t, d, "diagnose", "vpn", "tunnel", "list", "--show-keys", "--json")), &tunnels); err != nil {
		t.Fatalf("parse the tunnel list: %v", err)
	}
	return tunnels
}
