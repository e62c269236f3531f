package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// waitLinked waits until these members have links to each other.
func (f *fgsp) waitLinked(members ...*gateway.Daemon) {
	f.t.Helper()
	for _, d := range members {
		netlab.Eventually(f.t, time.Minute, "the members are linked", func() error {
			links, up := links(d), 0
			for _, l := range links {
				if l.State == "up" {
					up++
				}
			}
			if up < len(members)-1 {
				return fmt.Errorf("%d of %d links are up: %+v", up, len(members)-1, links)
			}
			return nil
		})
	}
}

func links(d *gateway.Daemon) []diag.MemberLink {
	s, err := d.Status()
	if err != nil {
		return nil
	}
	return s.Links
}

// relayed counts what standby SAs of a member gave to the owner.
func relayed(d *gateway.Daemon) (n uint64) {
	for _, t := range d.Tunnels("") {
		for _, p := range t.Proxies {
			for _, sa := range p.SAs {
				n += sa.Relayed
			}
		}
	}
	return n
}

// replays counts what a client has dropped as replayed.
func replays(d *gateway.Daemon) (n uint64) {
	for _, t := range d.Tunnels("") {
		for _, p := range t.Proxies {
			for _, sa := range p.SAs {
				n += sa.Drops["replayed"]
			}
		}
	}
	return n
}

// branches are Evergate clients of a group in a network of their own beside that
// of the strongSwan client.
func (f *fgsp) branches(n int) (*netlab.Namespace, *gateway.Daemon) {
	lab := f.site.Client.Lab()
	host := lab.Namespace("branches")
	wan, _ := lab.Link(host.Port("wan", "192.168.2.2/24"), f.site.Router.Port("branches", "192.168.2.1/24"))
	host.Route("0.0.0.0/0", "192.168.2.1")
	for i, m := range f.site.Members {
		m.Host.Route("192.168.2.0/24", fmt.Sprintf("192.168.%d.1", 125+i))
	}
	var phase1, phase2 strings.Builder
	for i := range n {
		local := fmt.Sprintf("192.168.2.%d", 10+i)
		wan.AddAddr(local + "/24")
		host.Loopback(inner(i) + "/32")
		fmt.Fprintf(&phase1, "  - {name: c%d, type: static, local-gw: %s, remote-gw: %s, localid: c%d, add-route: enable, proposal: aes128-sha1, dhgrp: 2, psksecret: {literal: %s}}\n",
			i, local, gateway.GatewayAddr, i, gateway.GroupPSK)
		fmt.Fprintf(&phase2, "  - {name: c%d, phase1name: c%d, proposal: aes128-sha1, src-subnet: %s, dst-subnet: %s/32, auto-negotiate: enable}\n",
			i, i, inner(i), gateway.ServerLoopback)
	}
	return host, startGateway(host, "phase1:\n"+phase1.String()+"phase2:\n"+phase2.String())
}

// TestPacketsForClientsReachTheirOwners has routers hand any packet to any member:
// the clients' and the server's. Whoever gets one for a client of another member
// gives it to that one, so each client hears one sender only.
func TestPacketsForClientsReachTheirOwners(t *testing.T) { // F9, F3, B4, B5
	t.Parallel()
	const n = 16
	f := newFGSP(t, 3, 0)
	f.site.Lead(f.site.Members...)
	f.waitLinked(f.members...)
	host, branches := f.branches(n)
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	before := waitOwners(t, n+1, f.members...)
	for i := range n {
		branches.WaitUp(fmt.Sprintf("c%d", i), 1)
	}
	tunnel := f.members[0].Keyed("")[0]
	wire := f.site.Members[0].Port4.Capture("")

	streams := []*netlab.Streaming{
		netlab.Stream{From: f.site.Server, Source: gateway.ServerLoopback, To: f.site.Client, Dest: gateway.ClientHost, Every: 10 * time.Millisecond}.Start(t),
		netlab.Stream{From: f.site.Client, Source: gateway.ClientHost, To: f.site.Server, Dest: gateway.ServerLoopback, Every: 10 * time.Millisecond}.Start(t),
	}
	for i := range n {
		streams = append(streams,
			netlab.Stream{From: f.site.Server, Source: gateway.ServerLoopback, To: host, Dest: inner(i), Every: 50 * time.Millisecond}.Start(t),
			netlab.Stream{From: host, Source: inner(i), To: f.site.Server, Dest: gateway.ServerLoopback, Every: 50 * time.Millisecond}.Start(t))
	}
	for _, s := range streams {
		s.WaitFor(1, time.Minute)
	}
	streams[len(streams)-1].WaitFor(60, time.Minute) // and the others meanwhile
	for i, s := range streams {
		if err := s.Stop().Err(); err != nil {
			t.Errorf("stream %d was not carried whole: %v", i, err)
		}
	}
	wantRelayed(t, f.members...)
	if got := waitOwners(t, n+1, f.members...); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Errorf("the members own %v, before they owned %v", got, before)
	}
	if n := replays(branches); n != 0 {
		t.Errorf("the clients dropped %d packets as replayed: they heard two senders", n)
	}
	wire.Stop()
	wantProtected(t, wire, tunnel)
}

// wantRelayed waits until operators see that packets went over links, as many as standbys
// gave to owners: members ask their dataplanes for what links have carried now and then.
func wantRelayed(t *testing.T, members ...*gateway.Daemon) {
	t.Helper()
	netlab.Eventually(t, time.Minute, "links have carried what standbys gave to owners", func() error {
		var given, sent, received uint64
		for _, d := range members {
			given += relayed(d)
			p, err := d.StandalonePeers()
			if err != nil {
				return err
			}
			for _, peer := range p.Peers {
				l := peer.Link
				if l == nil || l.State != "up" || len(peer.Trouble) > 0 || len(l.Drops) > 0 {
					return fmt.Errorf("the link to %v is %+v, with %q", peer.Address, l, peer.Trouble)
				}
				if peer.Packets.Sent < l.Sent || peer.Packets.Received < l.Received {
					return fmt.Errorf("the packets exchanged with %v, %+v, are fewer than those of the link, %+v", peer.Address, peer.Packets, l)
				}
				sent, received = sent+l.Sent, received+l.Received
			}
		}
		if given < 100 || sent != given || received != given {
			return fmt.Errorf("standbys gave %d packets to owners, the links sent %d and received %d", given, sent, received)
		}
		return nil
	})
}

// wantProtected checks that nothing but ESP and the members' own protocol is on
// their network, and no key.
func wantProtected(t *testing.T, wire *netlab.Capture, tunnel diag.Tunnel) {
	t.Helper()
	if n := wire.Count("esp"); n == 0 {
		t.Error("no ESP was on the members' network")
	}
	if n := wire.Count("(ip || ipv6) && !esp && !(tcp.port == 708 || udp.port == 708) && !icmpv6 && !igmp"); n > 0 {
		t.Errorf("%d packets on the members' network are neither ESP nor of their protocol", n)
	}
	half := tunnel.Proxies[0].SAs[0]
	for _, secret := range []string{half.Dec.Key, half.Dec.HashKey, half.Enc.Key, half.Enc.HashKey} {
		if n := wire.Count("frame contains " + colons(secret)); n > 0 || len(secret) < 32 {
			t.Errorf("a key of %d octets is in %d packets on the members' network", len(secret)/2, n)
		}
	}
}

// TestDataplanesDieUnderRelayedTraffic kills the dataplane of the owner, and of the
// member that gives it the packets. Links come back with keys of their own.
func TestDataplanesDieUnderRelayedTraffic(t *testing.T) { // F9, F5, I1
	t.Parallel()
	f := newFGSP(t, 2, 0)
	one, two := f.members[0], f.members[1]
	f.site.LeadDown(f.site.Members[1])
	f.waitLinked(one, two)
	w := f.connect(two)
	if relayed(two) == 0 {
		t.Error("the standby should give the server's packets to the owner")
	}
	two.KillPlugin()
	two.Log().Wait("dataplane plugin up(?s:.*)dataplane plugin up", limit)
	w.flows()
	f.waitLinked(one, two)
	w.flows()
	w.wantOneOwner(one, two)
	f.waitRole(one, "vpn1_1", "sync-primary")

	one.KillPlugin()
	w.flows() // from the member that stood by
	w.wantOneOwner(one, two)
	f.waitRole(two, "vpn1_1", "sync-primary")
	f.waitLinked(one, two)
	f.site.LeadDown(f.site.Members[0])
	w.flows()
	if relayed(one) == 0 {
		t.Error("the owner that was should give the server's packets to the owner that is")
	}
	w.unbroken()
}
