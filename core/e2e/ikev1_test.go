package e2e_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
	"github.com/evergate/evergate/core/netlab/vici"
)

// The exchange types of IKEv1 that make SAs: RFC 2408 section 3.1, RFC 2409 appendix
// A.
const (
	mainMode       = 2
	aggressiveMode = 4
	quickMode      = 32
)

// anyMode lets charon use aggressive mode with a pre-shared key.
func anyMode() strongswan.Settings {
	return strongswan.Settings{
		LogKeys: true, RetransmitTimeout: time.Second,
		More: map[string]string{"i_dont_care_about_security_and_use_aggressive_mode_psk": "yes"},
	}
}

// ofV1 makes c a connection of IKEv1.
func ofV1(c strongswan.Connection, mode string) strongswan.Connection {
	c.Version, c.Aggressive = 1, mode == "aggressive"
	return c
}

// TestIKEv1ClientDialsIn has a client of IKEv1 dial in, rekey all that there is from
// either end, under traffic, and vanish.
func TestIKEv1ClientDialsIn(t *testing.T) { // C3, C10, C12
	t.Parallel()
	for _, mode := range []string{"main", "aggressive"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			phase1 := server1().with(entry{
				"ike-version": "1", "mode": mode, "dpd": "on-idle", "dpd-retryinterval": "1", "dpd-retrycount": "2",
			})
			d := dialIn(t, config([]entry{phase1}, []entry{server2()}), anyMode(), ofV1(client(), mode))
			wire := d.Uplink.Capture("udp port 500 or udp port 4500 or esp")
			d.up("net")
			d.waitRoute(gateway.ClientNet)
			d.ping()
			first := d.evergate.Tunnel(d.name)
			if first.Version != 1 {
				t.Errorf("the tunnel is listed with version %d of IKE, want 1", first.Version)
			}
			d.wantPackets(d.name, 3)
			for _, step := range []struct {
				who string
				do  func() error
			}{
				{"the client rekeys the child", func() error { return d.charon.RekeyChild("net") }},
				{"the client rekeys phase 1", d.reauthenticates},
				{"the gateway rekeys the child", func() error { return d.rekeyed(false) }},
				{"the gateway rekeys phase 1", func() error { return d.rekeyed(true) }},
				{"the client rekeys the child on the new phase 1", func() error { return d.charon.RekeyChild("net") }},
			} {
				if err := step.do(); err != nil {
					t.Fatalf("%s: %v", step.who, err)
				}
				d.ping()
			}
			if last := d.evergate.Tunnel(d.name); last.Serial != first.Serial || last.IKESPIs == first.IKESPIs {
				t.Errorf("the tunnel went from %d %v to %d %v, want the same tunnel with other keys", first.Serial, first.IKESPIs, last.Serial, last.IKESPIs)
			}
			if n := len(wire.ESP("")); n < 30 {
				t.Errorf("%d packets of ESP were on the wire, want those of 15 pings and their answers", n)
			}
			d.charon.Kill()
			d.evergate.Log().Wait("peer is dead", limit)
			d.wantGone(d.name)
		})
	}
}

// reauthenticates has the client begin a new phase 1, which is how it rekeys one of
// IKEv1, and waits until the gateway has it for the old tunnel. The client leaves the
// end of the old one to the gateway.
func (d *ends) reauthenticates() error {
	before := d.evergate.Tunnel(d.name)
	var m vici.Message
	m.Set("ike", "home")
	if _, err := d.charon.Call("rekey", m); err != nil {
		return err
	}
	netlab.Eventually(d.t, limit, "the gateway has the client's new phase 1", func() error {
		if now := d.evergate.Tunnel(d.name); now.IKESPIs == before.IKESPIs || now.Serial != before.Serial {
			return fmt.Errorf("it has %d with %v", now.Serial, now.IKESPIs)
		}
		return nil
	})
	return nil
}

// waitRoute waits until the gateway sends to a network through a tunnel, which the
// responder of a quick mode does only when the initiator has confirmed it.
func (d *ends) waitRoute(network string) {
	d.t.Helper()
	d.waitRouteOf(d.Gateway, network)
}

func (d *ends) waitRouteOf(ns *netlab.Namespace, network string) {
	d.t.Helper()
	netlab.Eventually(d.t, limit, "there is a route to "+network, func() error {
		if !ns.HasRoute(network) {
			return errors.New("it has none")
		}
		return nil
	})
}

// userConfig lets alice in, and gives her an address.
func userConfig(mode, method string) string {
	phase1 := server1().with(entry{
		"ike-version": "1", "mode": mode, "xauthtype": "auto", "authusrgrp": "clients",
		"mode-cfg": "enable", "mode-cfg-method": method, "ipv4-start-ip": "10.10.1.2", "ipv4-end-ip": "10.10.1.9",
	})
	return config([]entry{phase1}, []entry{server2()}) + userSections
}

// userSections name alice, and the group of those who may dial in.
const userSections = `
user-local:
  - {name: alice, passwd: {literal: wonderland}}
user-group:
  - {name: clients, member: alice}
`

// asUser has c log in and ask for an address.
func asUser(c strongswan.Connection, password string, push bool) strongswan.Connection {
	c.XAuth = strongswan.XAuth{User: "alice", Password: password}
	c.VIPs, c.PushConfig = []string{"0.0.0.0"}, push
	c.Children[0].LocalTS = nil // dynamic: the address that is assigned
	return c
}

// TestIKEv1UserGetsAnAddress has a user log in, who is known by his name and has the
// first address of the range.
func TestIKEv1UserGetsAnAddress(t *testing.T) { // C3
	t.Parallel()
	for mode, method := range map[string]string{"main": "pull", "aggressive": "push"} {
		t.Run(mode+" mode, "+method, func(t *testing.T) {
			t.Parallel()
			d := dialIn(t, userConfig(mode, method), anyMode(), asUser(ofV1(client(), mode), "wonderland", method == "push"))
			d.up("net")
			if got := d.charon.Child("net").LocalTS; len(got) != 1 || got[0] != "10.10.1.2/32" {
				t.Fatalf("the client got %v, want 10.10.1.2", got)
			}
			d.waitRoute("10.10.1.2/32")
			d.pingTo(gateway.ServerHost, "10.10.1.2")
			if id := d.evergate.Tunnel(d.name).RemoteID; !strings.Contains(id, "alice") {
				t.Errorf("the peer is listed as %q, want alice", id)
			}
			d.wantPackets(d.name, 3)
		})
	}
	t.Run("who does not know the password", func(t *testing.T) {
		t.Parallel()
		d := dialIn(t, userConfig("main", "pull"), anyMode(), asUser(ofV1(client(), "main"), "looking glass", false))
		if err := d.charon.Initiate("net"); err == nil {
			t.Error("the client has come up with a wrong password")
		}
		d.evergate.Log().Wait("user was not let in", limit)
		d.wantGone(d.name)
		if strings.Contains(d.evergate.Log().Text(), "looking glass") {
			t.Error("the gateway's log has the password")
		}
	})
}

// newV1FGSP is a group of two members with a client of IKEv1; more are further lines
// of phase 1.
func newV1FGSP(t *testing.T, mode, more string) *fgsp {
	t.Helper()
	f := &fgsp{t: t, site: groupSite(t, 2)}
	for _, m := range f.site.Members {
		phase1 := "    fgsp-sync: enable\n    ike-version: 1\n    mode: " + mode + "\n" + more
		f.members = append(f.members, startGateway(m.Host, f.site.Config(m, phase1, metricsConfig)))
	}
	f.waitSynced(f.members...)
	f.site.WAN.Single()
	f.client = strongswan.Start(f.site.Client, anyMode())
	f.client.Load(ofV1(office(), mode))
	f.site.Lead(f.site.Members[0])
	return f
}

// TestIKEv1TunnelOutlivesItsMember kills the owner of a tunnel of IKEv1. The client
// sees the same SAs, and nothing is negotiated; then the survivor makes new keys on
// the old phase 1, at the client's wish and at its own.
func TestIKEv1TunnelOutlivesItsMember(t *testing.T) { // C3, C5, C8, C9, F5
	t.Parallel()
	for _, mode := range []string{"main", "aggressive"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			f := newV1FGSP(t, mode, "")
			one, two := f.members[0], f.members[1]
			w := f.connect(two)
			before := one.Tunnel("vpn1_1")
			if standby := two.Tunnel("vpn1_1"); saPair(standby) != saPair(before) || standby.Version != 1 {
				t.Errorf("the SAs are %s at the primary and %s of version %d at the standby, want the same", saPair(before), saPair(standby), standby.Version)
			}
			one.Kill()
			f.site.Lead(f.site.Members[1])
			w.flows()
			w.wantOneOwner(two)
			after := two.Tunnel("vpn1_1")
			if saPair(after) != saPair(before) || after.IKESPIs != before.IKESPIs {
				t.Errorf("the survivor has %s of phase 1 %v, want those of before, %s of %v", saPair(after), after.IKESPIs, saPair(before), before.IKESPIs)
			}
			w.unbroken()
			if err := f.client.RekeyChild("lan"); err != nil {
				t.Errorf("the survivor does not rekey: %v", err)
			}
			pingThrough(t, f)
			if err := two.Rekey("vpn1_1", true); err != nil {
				t.Error(err)
			}
			netlab.Eventually(t, limit, "the survivor has another phase 1", func() error {
				if two.Tunnel("vpn1_1").IKESPIs == before.IKESPIs {
					return errors.New("it has the old one")
				}
				return nil
			})
			pingThrough(t, f)
		})
	}
}

// TestIKEv1AtTheLastSequenceNumber is FortiOS's way: the survivor accepts what comes
// on the old pair, and the first packet that it would send makes it negotiate a new
// one, on the old phase 1. That packet and those after it wait for the new pair.
func TestIKEv1AtTheLastSequenceNumber(t *testing.T) { // C4, C5, C6
	t.Parallel()
	f := newV1FGSP(t, "main", "    v1-maxseq: enable\n")
	one, two := f.members[0], f.members[1]
	w := f.connect(two)
	before := one.Tunnel("vpn1_1")
	if n := two.Tunnel("vpn1_1").Proxies[0].SAs[0].Seqno; n != 0xffffffff {
		t.Errorf("the standby's outbound SA is at number %#x, want the last one, 0xffffffff", n)
	}
	one.Kill()
	netlab.Eventually(t, limit, "the survivor knows of the death", func() error {
		p, err := two.StandalonePeers()
		if err == nil && p.Peers[0].Detected {
			err = errors.New("it does not")
		}
		return err
	})
	f.site.Lead(f.site.Members[1])
	upFrom, downFrom := w.up.Result().Sent, w.down.Result().Sent
	netlab.Eventually(t, limit, "the survivor has another pair", func() error {
		for _, t := range two.Tunnels("vpn1_1") {
			if len(t.Proxies) == 1 && t.Proxies[0].SAs[0].Dec.SPI != before.Proxies[0].SAs[0].Dec.SPI {
				return nil
			}
		}
		return fmt.Errorf("it has %+v", two.Tunnels("vpn1_1"))
	})
	w.flows()
	if after := two.Tunnel("vpn1_1"); after.IKESPIs != before.IKESPIs {
		t.Errorf("the survivor has phase 1 %v, want that of before, %v", after.IKESPIs, before.IKESPIs)
	}
	wantNoneLost(t, "of the client's packets", w.up.Stop(), upFrom)
	wantNoneLost(t, "of the server's packets", w.down.Stop(), downFrom)
	samples, _ := scrape(t, f.site.Members[1].Host)
	if held, lost := samples[`evergate_dataplane_packets_total{name="held"}`], samples[`evergate_dataplane_packets_total{name="held-lost"}`]; held == 0 || lost != 0 {
		t.Errorf("%v packets waited for the new pair and %v of them were lost, want some and none", held, lost)
	}
	wantNumbersOnce(t, w.wire)
	quick := 0
	for _, m := range w.wire.IKE("") {
		switch m.ExchangeType {
		case mainMode, aggressiveMode:
			t.Errorf("phase 1 was negotiated again: %+v", m)
		case quickMode:
			quick++
		}
	}
	if quick != 3 {
		t.Errorf("%d messages of quick mode crossed the wire, want the 3 of one exchange", quick)
	}
}

// wantNoneLost checks that all packets of a stream arrived, but for those before from:
// they were sent to the member that died.
func wantNoneLost(t *testing.T, whose string, r netlab.StreamResult, from int) {
	t.Helper()
	for _, n := range r.Lost {
		if n >= uint64(from) {
			t.Errorf("%s number %d is lost, which went to the survivor, as all from %d on (%v)", whose, n, from, r.Err())
			return
		}
	}
}

// TestIKEv1GatewayDials has the gateway call: the answers have its own cookie in the
// first place, wherever its tunnels are.
func TestIKEv1GatewayDials(t *testing.T) { // C3
	t.Parallel()
	phase1 := static1().with(entry{"ike-version": "1"})
	d := dialOut(t, config([]entry{phase1}, []entry{static2().with(entry{"pfs": "disable"})}), anyMode(), ofV1(responder(), "main"))
	d.evergate.WaitUp(d.name, 1)
	d.charon.WaitChild("net", limit)
	d.waitRouteOf(d.Client, gateway.ServerNet)
	d.ping()
	if err := d.rekeyed(false); err != nil {
		t.Fatalf("the gateway rekeys the child: %v", err)
	}
	d.ping()
}
