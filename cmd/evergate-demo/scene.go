package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

const secret = "correct horse battery staple"

// scene is the network of one act.
type scene struct {
	*stage
	tb      netlab.TB
	binary  string
	site    *gateway.Site
	gateway *gateway.Daemon
}

func newScene(tb netlab.TB, s *stage, binary string) *scene {
	sc := &scene{stage: s, tb: tb, binary: binary}
	s.step("make client, router, gateway and data centre out of namespaces", func() string {
		sc.site = gateway.NewSite(netlab.New(tb))
		return fmt.Sprintf("client %s with %s, gateway %s, data centre %s",
			gateway.ClientAddr, gateway.ClientNet, gateway.GatewayAddr, gateway.ServerNet)
	})
	return sc
}

// startGateway runs evergated as a dialup server.
func (sc *scene) startGateway() {
	sc.step("start evergated, which starts its dataplane as a process of its own", func() string {
		sc.gateway = gateway.Start(sc.site.Gateway, gateway.Settings{Binary: sc.binary, Config: sc.dataplane() + serverConfig})
		s, err := sc.gateway.Status()
		if err != nil {
			sc.tb.Fatalf("ask the gateway: %v", err)
		}
		return fmt.Sprintf("pid %d, dataplane %s with pid %d", s.PID, s.Dataplane.Plugin, s.Dataplane.PID)
	})
}

const serverConfig = `
phase1:
  - name: vpn1
    type: dynamic
    interface: port2
    ike-version: 2
    local-gw: ` + gateway.GatewayAddr + `
    keylife: 90000
    peertype: one
    peerid: Nokia_Peer
    net-device: disable
    proposal: [aes128-sha1]
    dhgrp: [2]
    dpd: on-idle
    dpd-retryinterval: 60
    fgsp-sync: enable
    psksecret: "` + secret + `"
phase2:
  - name: vpn1
    phase1name: vpn1
    proposal: [aes128-sha1]
    keylifeseconds: 10800
`

const clientConfig = `
dataplane: {plugin: softesp}
phase1:
  - name: office
    type: static
    interface: wan
    ike-version: 2
    local-gw: ` + gateway.ClientAddr + `
    remote-gw: ` + gateway.GatewayAddr + `
    localid: Nokia_Peer
    add-route: enable
    proposal: [aes128-sha1]
    dhgrp: [2]
    psksecret: "` + secret + `"
phase2:
  - name: office
    phase1name: office
    proposal: [aes128-sha1]
    keylifeseconds: 10800
    src-subnet: ` + gateway.ClientNet + `
    dst-subnet: ` + gateway.ServerNet + `
    auto-negotiate: enable
`

// traffic moves packets both ways, and proves that they cross the network
// inside ESP only.
func (sc *scene) traffic() {
	capture := sc.site.WAN.Capture("")
	sc.step("ping the data centre from the client's network", func() string {
		const count = 20
		if err := sc.site.Client.Echo(sc.tb.Context(), gateway.ServerHost, gateway.ClientHost, count); err != nil {
			sc.tb.Fatalf("ping: %v", err)
		}
		return fmt.Sprintf("%d of %d answered", count, count)
	})
	const size = 64 << 20
	sc.step("move a file through the tunnel and compare its SHA-256", func() string {
		took, err := netlab.Transfer{
			From: sc.site.Client, Source: gateway.ClientHost, To: sc.site.Server, Dest: gateway.ServerHost, Bytes: size, Seed: 1,
		}.Run(sc.tb.Context())
		if err != nil {
			sc.tb.Fatalf("move a file: %v", err)
		}
		return fmt.Sprintf("%d MiB, %.0f Mbit/s", size>>20, size*8/took.Seconds()/1e6)
	})
	sc.step("look at the wire between client and gateway", func() string {
		esp, plain := capture.Count("esp"), capture.Count("!esp && ip.addr == "+gateway.ClientHost)
		if esp == 0 || plain > 0 {
			sc.tb.Fatalf("%d packets of ESP and %d in plaintext crossed the network", esp, plain)
		}
		return fmt.Sprintf("%d packets of ESP, none in plaintext", esp)
	})
}

// look shows the gateway through the operator's tool.
func (sc *scene) look() {
	sc.show("gateway", "evergate diagnose vpn tunnel list name vpn1_0", sc.evergate("diagnose", "vpn", "tunnel", "list", "name", "vpn1_0"))
	sc.show("gateway", "evergate status", sc.evergate("status"))
}

// compare looks at the tunnel's counters.
func (sc *scene) compare() diag.Tunnel {
	t := sc.gateway.Tunnel("vpn1_0")
	sc.step("compare the gateway's counters with what was sent", func() string {
		if t.Packets.In == 0 || t.Packets.Out == 0 {
			sc.tb.Fatalf("the gateway counted %d packets in and %d out", t.Packets.In, t.Packets.Out)
		}
		n := t.Proxies[0].SAs[0].NPU
		return fmt.Sprintf("%d packets in, %d out; npu_flag=%02x%s", t.Packets.In, t.Packets.Out, n.Flag, whyNot(n))
	})
	return t
}

// whyNot says what keeps a tunnel out of NPUs, if anything does.
func whyNot(n diag.NPU) string {
	if n.WhyNotDec == "" && n.WhyNotEnc == "" {
		return ""
	}
	return fmt.Sprintf(", for the dataplane says: in %q, out %q", n.WhyNotDec, n.WhyNotEnc)
}

func (sc *scene) evergate(args ...string) string {
	cmd := exec.CommandContext(sc.tb.Context(), filepath.Join(filepath.Dir(sc.binary), "evergate"),
		append([]string{"--socket", sc.gateway.Socket()}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		sc.tb.Fatalf("evergate %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// wantGone waits until nothing of the tunnel is left at the gateway.
func (sc *scene) wantGone() {
	sc.gateway.WaitGone("vpn1", 20*time.Second)
	if sc.site.Gateway.HasRoute(gateway.ClientNet) {
		sc.tb.Fatalf("the tunnel is gone, its route to %s is not", gateway.ClientNet)
	}
}

// wantPing waits until the tunnel carries packets again.
func (sc *scene) wantPing() {
	netlab.Eventually(sc.tb, 30*time.Second, "the client reaches the data centre", func() error {
		r, err := sc.site.Client.Ping(sc.tb.Context(), netlab.Ping{To: gateway.ServerHost, From: gateway.ClientHost, Count: 1, Wait: time.Second})
		if err != nil {
			return err
		}
		return r.Err()
	})
}

// spis names the SAs of a tunnel.
func spis(t diag.Tunnel) string {
	var out []string
	for _, p := range t.Proxies {
		for _, sa := range p.SAs {
			out = append(out, sa.Dec.SPI+"/"+sa.Enc.SPI)
		}
	}
	return strings.Join(out, " ")
}
