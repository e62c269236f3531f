package e2e_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// TestEvergateDialsStrongSwan brings a static tunnel up by itself, keeps it over
// rekeys of all kinds, and makes it again when the peer deletes it or dies.
func TestEvergateDialsStrongSwan(t *testing.T) {
	t.Parallel()
	d := dialOut(t, config(
		[]entry{static1().with(entry{"dpd": "on-idle", "dpd-retryinterval": "1", "dpd-retrycount": "2"})}, []entry{static2()},
	), strongswan.Settings{}, responder())
	first := d.evergate.WaitUp("office", 1)
	if first.Dialup || first.RemoteID != "gw.example" || !d.Client.HasRoute(gateway.ServerNet) {
		t.Errorf("the tunnel is %+v, want a static one with gw.example and a route to %s", first, gateway.ServerNet)
	}
	d.ping()

	streams := d.streams()
	for _, rekey := range []func() error{
		func() error { return d.rekeyed(false) },
		func() error { return d.charon.RekeyChild("net") },
		func() error { return d.rekeyed(true) },
		func() error { return d.charon.RekeyIKE("home") },
		func() error { return d.bothRekey(false) },
		func() error { return d.bothRekey(true) },
	} {
		if err := rekey(); err != nil {
			t.Fatal(err)
		}
		streams.flow()
	}
	streams.wantWhole()
	d.wantAgreement()

	if err := d.charon.TerminateIKE("home"); err != nil {
		t.Fatal(err)
	}
	d.wantNewTunnel(first.Serial)
	second := d.evergate.WaitUp("office", 1)

	d.charon.Kill()
	<-d.charon.Process().Done()
	d.evergate.Log().Wait(`level=WARN msg="peer is dead" .*unanswered=3 `, limit)
	d.charon = strongswan.Start(d.Gateway, strongswan.Settings{})
	d.charon.Load(responder())
	d.wantNewTunnel(second.Serial)
	d.ping()

	if err := d.evergate.Down("office"); err != nil {
		t.Fatal(err)
	}
	d.evergate.WaitGone("office", limit)
	if d.Client.HasRoute(gateway.ServerNet) {
		t.Errorf("the tunnel is taken down, its route to %s is there", gateway.ServerNet)
	}
}

// wantNewTunnel waits until there is another tunnel than that one, and it works.
func (d *ends) wantNewTunnel(than uint64) {
	d.t.Helper()
	netlab.Eventually(d.t, limit, "Evergate has initiated the tunnel again", func() error {
		tunnels := d.evergate.Tunnels("office")
		if len(tunnels) != 1 || tunnels[0].Serial == than || len(tunnels[0].Proxies) == 0 {
			return fmt.Errorf("it has %+v", tunnels)
		}
		return pings(d.Client, gateway.ServerHost, gateway.ClientHost)
	})
}

// TestResponderAsksForCookieAndGroup makes charon believe that it is flooded: it
// wants to see a cookie, and then another group.
func TestResponderAsksForCookieAndGroup(t *testing.T) {
	t.Parallel()
	c := responder()
	c.Proposals = []string{"aes128-sha256-ecp384"}
	d := dialOut(t, config(
		[]entry{static1().with(entry{"dhgrp": "[31, 14, 20]"})}, []entry{static2().with(entry{"auto-negotiate": "disable"})},
	), strongswan.Settings{More: map[string]string{"cookie_threshold": "1"}}, c)
	d.halfOpen()
	capture := d.WAN.Capture("udp port 500")
	if err := d.evergate.Up("office"); err != nil {
		t.Fatal(err)
	}
	d.evergate.WaitUp("office", 1)
	d.ping()
	if got := d.charon.IKE("home").DH; got != "ECP_384" {
		t.Errorf("charon agreed on %s, want ECP_384", got)
	}
	// COOKIE is notification 16390, INVALID_KE_PAYLOAD 17. "[...] the initiator
	// MUST retry the IKE_SA_INIT request, and include the COOKIE notification
	// containing the received data as the first payload, and all other payloads
	// unchanged." RFC 7296 section 2.6
	asked := capture.Query("isakmp.notify.msgtype == 16390 && ip.src == "+gateway.GatewayAddr, "isakmp.notify.data")
	given := capture.Query("isakmp.notify.msgtype == 16390 && ip.src == "+gateway.ClientAddr, "isakmp.notify.data", "isakmp.nextpayload")
	if len(asked) == 0 || len(given) == 0 || given[0][0] != asked[0][0] || given[0][1] != "41" {
		t.Errorf("charon asked for the cookies %v, Evergate gave %v with the first payload's type behind; want the same, and 41", asked, given)
	}
	if n := capture.Count("isakmp.notify.msgtype == 17"); n == 0 {
		t.Error("charon did not ask for another group")
	}
}

// halfOpen has charon wait for an IKE_AUTH request that does not come: Evergate
// initiates, and is taken down before it goes on.
func (d *ends) halfOpen() {
	d.t.Helper()
	silent := d.WAN.Drop("udp dport 4500", netlab.All())
	log := d.charon.Log().Now()
	if err := d.evergate.Up("office"); err != nil {
		d.t.Fatal(err)
	}
	log.Wait("generating IKE_SA_INIT response 0 .* KE ", limit)
	if err := d.evergate.Down("office"); err != nil {
		d.t.Fatal(err)
	}
	d.evergate.WaitGone("office", limit)
	silent.Remove()
}

// TestResponderRefuses makes the mistakes of TestRefusalsTellTheOperatorWhatToChange
// from the other side: the initiator's log says what to change, too.
func TestResponderRefuses(t *testing.T) { // B7
	t.Parallel()
	rows := []struct {
		name   string
		phase1 entry
		phase2 entry
		log    string
		ike    bool // the IKE SA comes up without the child
	}{
		{
			"key",
			entry{"psksecret": "the-wrong-horse-for-sure"},
			nil,
			`level=WARN msg="peer refused to authenticate us" .*notify=AUTHENTICATION_FAILED .*our_id=client\.example check="psksecret, and that the peer expects our id"`, false,
		},
		{
			"id",
			entry{"localid": "stranger.example"},
			nil,
			`level=WARN msg="peer refused to authenticate us" .*notify=AUTHENTICATION_FAILED .*our_id=stranger\.example check="psksecret, and that the peer expects our id"`, false,
		},
		{
			"peerid",
			entry{"peerid": "other.example"},
			nil,
			`level=WARN msg="peer has another identity" .*remote_id=gw\.example want=other\.example check=peerid`, false,
		},
		{
			"proposal",
			entry{"proposal": "aes256-sha512"},
			nil,
			`level=WARN msg="peer refused the ike sa" .*notify=NO_PROPOSAL_CHOSEN .*offered=.*aes256.* check="proposal and dhgrp against the peer's"`, false,
		},
		{
			"group",
			entry{"dhgrp": "[14]"},
			nil,
			`level=WARN msg="peer refused the ike sa" .*notify=NO_PROPOSAL_CHOSEN .*check="proposal and dhgrp against the peer's"`, false,
		},
		{
			"esp", nil,
			entry{"proposal": "aes256-sha512"},
			`level=WARN msg="peer refused the child sa" .*child=esp notify=NO_PROPOSAL_CHOSEN check="phase 2 proposal and pfs group against the peer's"`, true,
		},
		{
			"selectors", nil,
			entry{"dst-subnet": "10.99.0.0/16"},
			`level=WARN msg="peer refused the child sa" .*child=selectors notify=TS_UNACCEPTABLE check="src-subnet and dst-subnet against the peer's"`, true,
		},
	}
	var phase1, phase2 []entry
	for _, row := range rows {
		phase1 = append(phase1, static1().with(entry{"name": row.name}).with(row.phase1))
		phase2 = append(phase2, static2().with(entry{"name": row.name, "phase1name": row.name, "auto-negotiate": "disable"}).with(row.phase2))
	}
	d := dialOut(t, config(phase1, phase2), strongswan.Settings{}, responder())
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := d.within(t)
			log := d.evergate.Log().Now()
			if err := d.evergate.Up(row.name); err != nil {
				t.Fatal(err)
			}
			log.Wait(row.log, limit)
			if row.ike {
				log.Wait(`msg="ike sa up"`, limit)
				if err := d.evergate.Down(row.name); err != nil {
					t.Fatal(err)
				}
			}
			d.evergate.WaitGone(row.name, limit)
			netlab.Eventually(t, limit, "charon has nothing left of it", func() error {
				if sas := d.charon.SAs(); len(sas) > 0 {
					return fmt.Errorf("it has %+v", sas)
				}
				return nil
			})
		})
	}
}

// TestEvergateBehindNAT keeps the NAT's mapping alive itself.
func TestEvergateBehindNAT(t *testing.T) {
	t.Parallel()
	d := dialOut(t, config(
		[]entry{static1().with(entry{"keepalive": "10"})}, []entry{static2().with(entry{"auto-negotiate": "disable"})},
	), strongswan.Settings{}, responder())
	d.Uplink.Masquerade()
	capture := d.Uplink.Capture("udp port 4500")
	if err := d.evergate.Up("office"); err != nil {
		t.Fatal(err)
	}
	tunnel := d.evergate.WaitUp("office", 1)
	d.ping()
	if tunnel.NATT.Mode != "keepalive" || tunnel.NATT.Interval.Seconds() != 10 {
		t.Errorf("NAT traversal is %+v, want keepalives every 10 s", tunnel.NATT)
	}
	if remote := d.charon.IKE("home").Remote; remote.Addr().String() != natAddr || remote.Port() == 4500 {
		t.Errorf("charon has its peer at %v, want a port of the router", remote)
	}
	netlab.Eventually(t, limit, "Evergate sends a keepalive", func() error {
		if d.evergate.Stat("ike.keepalives") == 0 {
			return errors.New("it has sent none")
		}
		return nil
	})
	rows := capture.Query("udp.length == 9 && ip.src == "+natAddr, "udp.dstport")
	if len(rows) == 0 || strings.Join(rows[0], "") != "4500" {
		t.Errorf("the keepalives %v passed the NAT, want one to port 4500", rows)
	}
}
