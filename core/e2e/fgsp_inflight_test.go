package e2e_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// TestOwnerDiesInItsOwnExchange kills the owner when a message has been lost of
// an exchange that it began itself. The survivor finishes it, and both ends have
// one pair of SAs.
func TestOwnerDiesInItsOwnExchange(t *testing.T) { // B2, I6, C1
	t.Parallel()
	f := newFGSP(t, 2, 0)
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		name       string
		ike        bool // is rekeyed, and not the child
		exchange   int
		fromOwner  bool // is lost, and not what the client says
		isResponse bool
	}{
		{"owner's request for a new child", false, createChildSA, true, false},
		{"client's answer with a new child", false, createChildSA, false, true},
		{"owner's request for the end of the old child", false, informational, true, false},
		{"client's answer to the end of the old child", false, informational, false, true},
		{"owner's request for a new IKE SA", true, createChildSA, true, false},
		{"client's answer with a new IKE SA", true, createChildSA, false, true},
		{"owner's request for the end of the old IKE SA", true, informational, true, false},
		{"client's answer to the end of the old IKE SA", true, informational, false, true},
	} {
		owner, survivor := i%2, 1-i%2
		f.waitRole(f.members[owner], "vpn1_1", "sync-primary")
		before := fmt.Sprint(spisOfClient(f))
		at := f.site.WAN
		if step.fromOwner {
			at = f.site.Members[owner].Uplink
		}
		loss := at.Drop(ikeMessage(step.exchange, step.isResponse), netlab.All())
		done := make(chan error, 1)
		go func() { done <- f.members[owner].Rekey("vpn1_1", step.ike) }()
		wantLost(t, loss, step.name)
		f.members[owner].Kill()
		f.site.Lead(f.site.Members[survivor])
		loss.Remove()
		<-done // with an error where the owner died before it answered
		pingThrough(t, f)
		f.waitRole(f.members[survivor], "vpn1_1", "primary")
		f.wantOnePair(f.members[survivor], before, "after the owner died with the "+step.name)
		f.members[owner].Restart()
		f.waitSynced(f.members...)
	}
}

// TestOwnerDiesWhileTheClientProbes kills the owner with a message of the
// client's dead peer detection.
func TestOwnerDiesWhileTheClientProbes(t *testing.T) { // B2, C1, F5
	t.Parallel()
	f := newFGSP(t, 2, 0)
	connection := office()
	connection.DPDDelay = time.Second
	f.client.Load(connection)
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	f.waitRole(f.members[1], "vpn1_1", "standby")
	before := f.client.SAs()
	for owner, name := range []string{"client's probe", "answer to the client's probe"} {
		f.waitRole(f.members[owner], "vpn1_1", "sync-primary")
		at := f.site.WAN
		if owner == 1 {
			at = f.site.Members[owner].Uplink
		}
		loss := at.Drop(ikeMessage(informational, owner == 1), netlab.All())
		wantLost(t, loss, name)
		f.members[owner].Kill()
		f.site.Lead(f.site.Members[1-owner])
		wire := f.site.ClientWAN.Capture("udp port 500 or udp port 4500")
		log := f.client.Log().Now()
		loss.Remove()
		log.Wait(`parsed INFORMATIONAL response \d+ \[ \]`, limit)
		pingThrough(t, f)
		wantSameSAs(t, before, f.client.SAs())
		wantNoneNegotiated(t, wire)
		f.members[owner].Restart()
		f.waitSynced(f.members...)
		wantOneOwner(t, "vpn1_1", f.members...)
	}
}

// TestOwnerDiesWhileItEndsTheTunnel kills the owner with a message by which it ends a
// tunnel. The survivor finishes that: the tunnel is gone at both ends, and the client
// gets another one.
func TestOwnerDiesWhileItEndsTheTunnel(t *testing.T) { // B2, I8, C12
	t.Parallel()
	f := newFGSP(t, 2, 0)
	for owner, name := range []string{"owner's request for the end", "client's answer to the end"} {
		survivor := 1 - owner
		if err := f.client.Initiate("lan"); err != nil {
			t.Fatal(err)
		}
		tunnel := f.members[owner].Tunnels("vpn1")[0].Name
		f.waitRole(f.members[survivor], tunnel, "standby")
		at := f.site.Members[owner].Uplink
		if owner == 1 {
			at = f.site.WAN
		}
		loss := at.Drop(ikeMessage(informational, owner == 1), netlab.All())
		if err := f.members[owner].Down(tunnel); err != nil {
			t.Fatal(err)
		}
		wantLost(t, loss, name)
		f.members[owner].Kill()
		f.site.Lead(f.site.Members[survivor])
		loss.Remove()
		f.members[survivor].WaitGone("vpn1", limit)
		netlab.Eventually(t, limit, "the client has no tunnel after the owner died with the "+name, func() error {
			if sas := f.client.SAs(); len(sas) > 0 {
				return fmt.Errorf("it has %+v", sas)
			}
			return nil
		})
		if f.site.Members[survivor].Host.HasRoute(gateway.ClientNet) {
			t.Errorf("the owner died with the %s, and the survivor has the route of the client that has gone", name)
		}
		f.members[owner].Restart()
		f.waitSynced(f.members...)
	}
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	pingThrough(t, f)
}

// TestOwnerDiesWhileItProbes kills the owner with a message of its own dead peer
// detection. The survivor finishes the exchange on the same SAs, and both ends can
// begin the next one.
func TestOwnerDiesWhileItProbes(t *testing.T) { // B2, C1, F5
	t.Parallel()
	f := newFGSP(t, 2, 0)
	for i, m := range f.site.Members {
		config := f.site.Config(m, "    fgsp-sync: enable", "")
		f.reload(f.members[i], strings.Replace(config, "dpd-retryinterval: 60", "dpd-retryinterval: 1\n    dpd-retrycount: 10", 1))
	}
	f.waitSynced(f.members...)
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	for owner, name := range []string{"owner's probe", "client's answer to the owner's probe"} {
		survivor := 1 - owner
		f.waitRole(f.members[owner], "vpn1_1", "sync-primary")
		f.waitRole(f.members[survivor], "vpn1_1", "standby")
		before := f.client.SAs()
		at := f.site.Members[owner].Uplink
		if owner == 1 {
			at = f.site.WAN
		}
		loss := at.Drop(ikeMessage(informational, owner == 1), netlab.All())
		wantLost(t, loss, name)
		f.members[owner].Kill()
		f.site.Lead(f.site.Members[survivor])
		wire := f.site.ClientWAN.Capture("udp port 500 or udp port 4500")
		loss.Remove()
		pingThrough(t, f)
		f.waitRole(f.members[survivor], "vpn1_1", "primary")
		wantSameSAs(t, before, f.client.SAs())
		wantNoneNegotiated(t, wire)
		if n := f.members[survivor].Stat("ike.dead_peers"); n != 0 {
			t.Errorf("the owner died with the %s, and the survivor took the client for dead", name)
		}
		// The windows of both directions are in step.
		if err := f.client.RekeyChild("lan"); err != nil {
			t.Errorf("the owner died with the %s, and the client cannot rekey: %v", name, err)
		}
		pair := fmt.Sprint(spisOfClient(f))
		if err := f.members[survivor].Rekey("vpn1_1", false); err != nil {
			t.Error(err)
		}
		f.wantOnePair(f.members[survivor], pair, "after the owner died with the "+name)
		f.members[owner].Restart()
		f.waitSynced(f.members...)
	}
}

func wantLost(t *testing.T, loss *netlab.Loss, name string) {
	t.Helper()
	netlab.Eventually(t, limit, "the "+name+" is lost", func() error {
		if loss.Count() == 0 {
			return errors.New("none was")
		}
		return nil
	})
}

// wantOnePair waits until the client and a member have one IKE SA with one pair
// of SAs, the same, and others than before.
func (f *fgsp) wantOnePair(d *gateway.Daemon, before, when string) {
	f.t.Helper()
	netlab.Eventually(f.t, time.Minute, "both ends have one new pair, "+when, func() error {
		client := spisOfClient(f)
		tunnels := d.Tunnels("vpn1")
		if len(client) != 1 || fmt.Sprint(client) == before || len(tunnels) != 1 {
			return fmt.Errorf("the client has %v, and had %s; the member has %d tunnels", client, before, len(tunnels))
		}
		var member []string
		for _, p := range tunnels[0].Proxies {
			for _, sa := range p.SAs {
				member = append(member, fmt.Sprintf("%s/%s ike %s/%s", sa.Enc.SPI, sa.Dec.SPI, tunnels[0].IKESPIs[0], tunnels[0].IKESPIs[1]))
			}
		}
		if fmt.Sprint(member) != fmt.Sprint(client) {
			return fmt.Errorf("the client has %v, the member %v", client, member)
		}
		return nil
	})
}

// spisOfClient names each pair of SAs that the client has, with their IKE SA, but
// for those whose end it waits for: charon forgets that it does when a survivor
// synchronizes Message IDs (RFC 6311) before it has heard the answer to its Delete.
func spisOfClient(f *fgsp) (pairs []string) {
	for _, sa := range f.client.SAs() {
		for _, c := range sa.Children {
			if c.State == "DELETING" || c.State == "DELETED" {
				continue
			}
			pairs = append(pairs, fmt.Sprintf("%08x/%08x ike %016x/%016x", c.SPIIn, c.SPIOut, sa.InitiatorSPI, sa.ResponderSPI))
		}
	}
	return pairs
}
