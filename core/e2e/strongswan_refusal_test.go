package e2e_test

import (
	"strings"
	"testing"

	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// TestRefusalsTellTheOperatorWhatToChange makes one mistake after the other at
// the client. Each gets its notification, and at the gateway a line of the log
// and a counter; the gateway keeps nothing of the attempt.
func TestRefusalsTellTheOperatorWhatToChange(t *testing.T) { // B7
	t.Parallel()
	rows := []struct {
		name    string
		mistake func(*strongswan.Connection)
		notify  string // in charon's account
		log     string // the gateway's, an expression
		counter string
	}{
		{
			"wrong pre-shared key", func(c *strongswan.Connection) { c.PSK = "wrong horse" }, "AUTHENTICATION_FAILED",
			`level=WARN msg="peer's proof of identity did not verify" .*remote_id=client\.example connections=vpn1 check=psksecret`, "psk",
		},
		{
			"wrong identity", func(c *strongswan.Connection) { c.Local.ID = strongswan.FQDN("stranger.example") }, "AUTHENTICATION_FAILED",
			`level=WARN msg="no connection for the peer's identity" .*remote_id=stranger\.example .*connections="vpn1: client\.example" check="peerid and localid"`, "identity",
		},
		{
			"another gateway's identity", func(c *strongswan.Connection) { c.Remote.ID = strongswan.FQDN("other.example") }, "AUTHENTICATION_FAILED",
			`level=WARN msg="no connection for the peer's identity" .*asked_for=other\.example .*check="peerid and localid"`, "identity",
		},
		{
			"no common ike proposal", func(c *strongswan.Connection) { c.Proposals = []string{"aes256-sha512-x25519"} }, "NO_PROPOSAL_CHOSEN",
			`level=WARN msg="no proposal chosen" .*connections=vpn1 .*check="proposal and dhgrp"`, "no_proposal",
		},
		{
			"no common group", func(c *strongswan.Connection) { c.Proposals = []string{"aes128-sha256-modp3072"} }, "NO_PROPOSAL_CHOSEN",
			`level=WARN msg="no proposal chosen" .*check="proposal and dhgrp"`, "no_proposal",
		},
		{
			"no common esp proposal", func(c *strongswan.Connection) { c.Children[0].Proposals = []string{"aes256-sha512"} }, "NO_PROPOSAL_CHOSEN",
			`level=WARN msg="child sa refused" .*remote_id=client\.example notify=NO_PROPOSAL_CHOSEN .*check="phase 2 proposal and pfs group against the peer's"`, "no_proposal",
		},
		{
			"unacceptable selectors", func(c *strongswan.Connection) { c.Children[0].RemoteTS = []string{"10.99.0.0/16"} }, "TS_UNACCEPTABLE",
			`level=WARN msg="child sa refused" .*notify=TS_UNACCEPTABLE .*10\.99\.0\.0.*check="src-subnet and dst-subnet against the peer's"`, "selectors",
		},
	}
	d := dialIn(t, config(
		[]entry{server1().with(entry{"peertype": "one", "peerid": "client.example"})},
		[]entry{server2().with(entry{"src-subnet": "172.31.0.0/16", "dst-subnet": "10.10.0.0/16"})},
	), strongswan.Settings{})
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := d.within(t)
			c := client()
			c.Name = "mistake" + string(rune('0'+i))
			row.mistake(&c)
			d.charon.Load(c)
			before, log := d.evergate.Stat("ike.failures."+row.counter), d.evergate.Log().Now()
			err := d.charon.Initiate("net")
			if err == nil || !strings.Contains(err.Error(), row.notify) {
				t.Errorf("the initiation returned %v, want %s in it", err, row.notify)
			}
			log.Wait(row.log, limit)
			if got := d.evergate.Stat("ike.failures." + row.counter); got != before+1 {
				t.Errorf("the gateway counted %d more failures for %s, want 1", got-before, row.counter)
			}
			// Where only the child was refused, the IKE SA is up.
			if len(d.charon.SAs()) > 0 {
				if err := d.charon.TerminateIKE(c.Name); err != nil {
					t.Error(err)
				}
			}
			d.wantGone("vpn1")
			if _, err := d.charon.Call("unload-conn", unload(c.Name)); err != nil {
				t.Fatal(err)
			}
		})
	}
	refusesIKEv1(d)
	d.charon.Load(client())
	d.up("net")
	d.ping()
}

// refusesIKEv1 has the client speak IKEv1, which no connection of the gateway
// does. There is no answer that it would understand, so it asks again.
func refusesIKEv1(d *ends) {
	c := client()
	c.Name, c.Version, c.Children[0].Name = "old", 1, "old"
	d.charon.Load(c)
	log, before := d.evergate.Log().Now(), d.evergate.Stat("ike.drops.version")
	done := make(chan error, 1)
	go func() { done <- d.charon.InitiateIKE("old") }()
	log.Wait(`level=WARN msg="peer speaks another version of ike" local=192\.168\.202\.31:500 remote=`+
		strings.ReplaceAll(gateway.ClientAddr, ".", `\.`)+`:500 version=1 check="ike-version here and at the peer"`, limit)
	if n := d.evergate.Stat("ike.drops.version"); n == before {
		d.t.Error("the gateway does not count the client that speaks IKEv1")
	}
	if err := d.charon.TerminateIKE("old"); err != nil {
		d.t.Error(err)
	}
	if err := <-done; err == nil {
		d.t.Error("a client that speaks IKEv1 came up")
	}
}
