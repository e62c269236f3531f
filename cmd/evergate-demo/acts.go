package main

import (
	"fmt"
	"syscall"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

type act struct {
	name, title string
	play        func(netlab.TB, *stage, string)
}

// alone is an act with one gateway.
func alone(play func(*scene)) func(netlab.TB, *stage, string) {
	return func(tb netlab.TB, s *stage, binary string) { play(newScene(tb, s, binary)) }
}

var acts = []act{
	{"strongswan", "strongSwan 5.9 dials in", alone(playStrongSwan)},
	{"evergate", "Evergate dials in, and its gateway loses the dataplane", alone(playEvergate)},
	{"fgsp", "Four gateways behind static equal-cost routes, one of which loses its power", playStatic},
	{"bgp", "The same behind routers that speak BGP, one of which crashes", playBGP},
}

func playStrongSwan(sc *scene) {
	sc.startGateway()
	var charon *strongswan.Daemon
	sc.step("strongSwan dials in with its pre-shared key", func() string {
		charon = strongswan.Start(sc.site.Client, strongswan.Settings{})
		charon.Load(strongswan.Connection{
			Name: "office", LocalAddrs: []string{gateway.ClientAddr}, RemoteAddrs: []string{gateway.GatewayAddr},
			Proposals: []string{"aes128-sha1-modp1024"},
			Local:     strongswan.Auth{ID: strongswan.FQDN("Nokia_Peer")},
			Remote:    strongswan.Auth{ID: strongswan.IPv4(gateway.GatewayAddr)}, PSK: secret,
			Children: []strongswan.Child{{
				Name: "lan", LocalTS: []string{gateway.ClientNet}, RemoteTS: []string{gateway.ServerNet}, Proposals: []string{"aes128-sha1"},
			}},
		})
		if err := charon.Initiate("lan"); err != nil {
			sc.tb.Fatalf("dial in: %v", err)
		}
		return dialed(sc)
	})
	sc.traffic()
	sc.look()
	sc.compare()
	sc.step("strongSwan hangs up: SAs and route go together", func() string {
		if err := charon.TerminateIKE("office"); err != nil {
			sc.tb.Fatalf("hang up: %v", err)
		}
		sc.wantGone()
		return ""
	})
	sc.gateway.Stop()
}

func playEvergate(sc *scene) {
	sc.startGateway()
	var client *gateway.Daemon
	sc.step("Evergate dials in with its pre-shared key", func() string {
		client = gateway.Start(sc.site.Client, gateway.Settings{Binary: sc.binary, Config: clientConfig})
		client.WaitUp("office", 1)
		return dialed(sc)
	})
	sc.traffic()
	before := sc.compare()
	sc.step("kill the gateway's dataplane and ping on", func() string {
		dead := sc.gateway.KillPlugin()
		sc.wantPing()
		after := sc.gateway.Tunnel("vpn1_0")
		if before.IKESPIs != after.IKESPIs || spis(before) != spis(after) {
			sc.tb.Fatalf("the tunnel is another one: IKE %v, then %v; SAs %v, then %v", before.IKESPIs, after.IKESPIs, spis(before), spis(after))
		}
		return fmt.Sprintf("pid %d died, the same SAs go on in a new process", dead)
	})
	sc.step("the client stops: SAs and route go together", func() string {
		client.Process().Signal(syscall.SIGTERM)
		sc.wantGone()
		return ""
	})
	sc.gateway.Stop()
}

// dialed says what the gateway made of the client.
func dialed(sc *scene) string {
	t := sc.gateway.WaitUp("vpn1_0", 1)
	encap := "raw ESP"
	if t.NATT.Mode != "none" {
		encap = "ESP in UDP"
	}
	return fmt.Sprintf("%s, %s, SAs %s, %s", t.Name, t.Suite, spis(t), encap)
}
