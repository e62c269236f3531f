package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// fgspScene is FortiOS's example: four gateways behind a router, one of them
// with sync disabled.
type fgspScene struct {
	*stage
	tb      netlab.TB
	site    *gateway.GroupSite
	members []*gateway.Daemon
}

// pace is between two packets of the stream that a failover interrupts.
const pace = 10 * time.Millisecond

func playFGSP(tb netlab.TB, s *stage, binary string) {
	f := &fgspScene{stage: s, tb: tb}
	s.step("make DC1_VM1 to DC1_VM4, a router, a client and a server out of namespaces", func() string {
		f.site = gateway.NewGroupSite(netlab.New(tb), 4)
		return "every member has the gateway's address " + gateway.GatewayAddr
	})
	s.step("start evergated on all four; DC1_VM4 has fgsp-sync disabled", func() string {
		for i, m := range f.site.Members {
			sync := "    fgsp-sync: enable"
			if i == 3 {
				sync = "    fgsp-sync: disable"
			}
			f.members = append(f.members, gateway.Start(m.Host, gateway.Settings{Binary: binary, Config: f.site.Config(m, sync, "")}))
		}
		f.waitSynced()
		return "three members hold each other's tunnels, over TLS 1.3"
	})
	charon := f.dial()
	f.roles()
	f.failover(charon)
}

func (f *fgspScene) waitSynced() {
	for _, d := range f.members[:3] {
		netlab.Eventually(f.tb, time.Minute, "the members are synced", func() error {
			p, err := d.StandalonePeers()
			if err != nil {
				return err
			}
			if n := len(slices.DeleteFunc(p.Peers, func(p diag.StandalonePeer) bool { return !p.Synced || !p.Complete })); n < 2 {
				return fmt.Errorf("%d peers are", n)
			}
			return nil
		})
	}
}

func (f *fgspScene) dial() *strongswan.Daemon {
	f.site.Lead(f.site.Members[0])
	charon := strongswan.Start(f.site.Client, strongswan.Settings{})
	f.step("strongSwan, which knows nothing of the group, dials in", func() string {
		charon.Load(strongswan.Connection{
			Name: "office", LocalAddrs: []string{gateway.ClientAddr}, RemoteAddrs: []string{gateway.GatewayAddr},
			Proposals: []string{"aes128-sha1-modp1024"}, Local: strongswan.Auth{ID: strongswan.FQDN("Nokia_Peer")},
			Remote: strongswan.Auth{ID: strongswan.IPv4(gateway.GatewayAddr)}, PSK: gateway.GroupPSK,
			Children: []strongswan.Child{{
				Name: "lan", LocalTS: []string{gateway.ClientNet}, RemoteTS: []string{gateway.ServerLoopback + "/32"},
				Proposals: []string{"aes128-sha1"},
			}},
		})
		if err := charon.Initiate("lan"); err != nil {
			f.tb.Fatalf("dial in: %v", err)
		}
		f.wait(0, "sync-primary")
		f.wait(1, "standby")
		f.wait(2, "standby")
		return "the router chose DC1_VM1"
	})
	return charon
}

// wait waits until a member has a role for the tunnel.
func (f *fgspScene) wait(member int, role string) {
	netlab.Eventually(f.tb, time.Minute, fmt.Sprintf("DC1_VM%d is %s", member+1, role), func() error {
		for _, t := range f.members[member].Tunnels("vpn1_1") {
			if t.Role == role {
				return nil
			}
		}
		return errors.New("it is not")
	})
}

// roles shows the tunnel as each living member sees it.
func (f *fgspScene) roles() {
	var b strings.Builder
	for i, d := range f.members {
		if d == nil {
			fmt.Fprintf(&b, "DC1_VM%d  dead\n", i+1)
			continue
		}
		tunnels := d.Tunnels("vpn1_1")
		if len(tunnels) == 0 {
			fmt.Fprintf(&b, "DC1_VM%d  (header line only)\n", i+1)
		}
		for _, t := range tunnels {
			for _, p := range t.Proxies {
				for _, sa := range p.SAs {
					fmt.Fprintf(&b, "DC1_VM%d  name=%s role=%-12s dec spi=%s enc spi=%s seqno=%x\n",
						i+1, t.Name, t.Role, sa.Dec.SPI, sa.Enc.SPI, sa.Seqno)
				}
			}
		}
	}
	f.show("evergate diagnose vpn tunnel list name vpn1_1, on each member, in brief", b.String())
}

// failover kills the tunnel's owner under traffic, and accounts for what that
// cost.
func (f *fgspScene) failover(charon *strongswan.Daemon) {
	survivor := f.site.Members[1]
	before := charon.Child("lan")
	ike := f.site.ClientWAN.Capture("udp port 500 or udp port 4500")
	arrived := f.site.Members[1].Port2.Capture("udp port 4500")
	server := survivor.Downlink.Capture("udp")
	stream := netlab.Stream{
		From: f.site.Client, Source: gateway.ClientHost, To: f.site.Server, Dest: gateway.ServerLoopback, Every: pace,
	}.Start(f.tb)
	stream.WaitFor(100, time.Minute)

	var killed, led time.Time
	f.step("kill DC1_VM1 (SIGKILL) while 100 packets a second flow", func() string {
		killed = time.Now()
		f.members[0].Kill()
		f.members[0] = nil
		f.site.Lead(survivor)
		led = time.Now()
		stream.WaitFor(200, time.Minute)
		f.wait(1, "sync-primary")
		return "DC1_VM2 went on"
	})
	f.roles()
	f.step("compare the client's SAs with those of before", func() string {
		after := charon.Child("lan")
		if after.SPIIn != before.SPIIn || after.SPIOut != before.SPIOut {
			f.tb.Fatalf("the client's SAs are others: %08x/%08x, then %08x/%08x", before.SPIIn, before.SPIOut, after.SPIIn, after.SPIOut)
		}
		for _, m := range ike.IKE("") {
			if m.ExchangeType == 34 || m.ExchangeType == 36 {
				f.tb.Fatalf("the client negotiated: %+v", m)
			}
		}
		return fmt.Sprintf("%08x/%08x both times; no IKE_SA_INIT and no re-key on the wire", before.SPIIn, before.SPIOut)
	})
	result := stream.Result()
	first, forwarded := firstTime(f.tb, arrived, "udp.port == 4500 && esp"), firstTime(f.tb, server, "udp && ip.dst == "+gateway.ServerLoopback)
	f.step("account for the gap", func() string {
		return fmt.Sprintf("%d of %d packets lost; router %v, first packet at the survivor %v later, forwarded %v after that",
			len(result.Lost), result.Sent, led.Sub(killed).Round(time.Millisecond),
			first.Sub(led).Round(time.Millisecond), forwarded.Sub(first).Round(10*time.Microsecond))
	})
	f.show("packets that reached the server, by tenths of a second", chart(killed, times(f.tb, server, "udp && ip.dst == "+gateway.ServerLoopback)))
}

// times are those of a capture's packets.
func times(tb netlab.TB, c *netlab.Capture, filter string) []time.Time {
	var out []time.Time
	for _, row := range c.Query(filter, "frame.time_epoch") {
		seconds, err := strconv.ParseFloat(row[0], 64)
		if err != nil {
			tb.Fatalf("read the time of a packet: %v", err)
		}
		out = append(out, time.UnixMicro(int64(seconds*1e6)))
	}
	return out
}

func firstTime(tb netlab.TB, c *netlab.Capture, filter string) time.Time {
	all := times(tb, c, filter)
	if len(all) == 0 {
		tb.Fatalf("no packet matches %s", filter)
	}
	return all[0]
}

// chart draws how many packets came in each tenth of a second after from.
func chart(from time.Time, at []time.Time) string {
	const bins, full = 10, int(100 * time.Millisecond / pace)
	var n [bins]int
	for _, t := range at {
		if i := int(t.Sub(from) / (100 * time.Millisecond)); i >= 0 && i < bins {
			n[i]++
		}
	}
	var b strings.Builder
	for i, count := range n {
		fmt.Fprintf(&b, "%4d ms %s%s %d\n", (i+1)*100, strings.Repeat("█", min(count, full)), strings.Repeat("·", full-min(count, full)), count)
	}
	return b.String()
}
