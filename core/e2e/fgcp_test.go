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
)

// fgcp is a unit of two members with a strongSwan client, whose tunnel is up, and
// numbered packets flow through it both ways.
type fgcp struct {
	t       *testing.T
	site    *gateway.PairSite
	members []*gateway.Daemon
	client  *strongswan.Daemon
	before  []strongswan.IKESA
	wire    *netlab.Capture
	up      *netlab.Streaming
	down    *netlab.Streaming
	// network is behind the client, as its tunnel has it.
	network string
}

// dialect is how the client of a unit speaks, and what the unit must know of it. The
// zero value is IKEv2.
type dialect struct {
	unit    string // further lines of the ha section
	phase1  string // further lines of it
	more    string // further sections
	network string // behind the client; empty for its network
	speak   func(strongswan.Connection) strongswan.Connection
}

// newFGCPOf is newFGCP with a client of a dialect.
func newFGCPOf(t *testing.T, speaks dialect) *fgcp {
	t.Helper()
	f := &fgcp{t: t, site: gateway.NewPairSite(netlab.New(t), 2), network: gateway.ClientNet}
	for _, m := range f.site.Members {
		text := strings.Replace(f.site.Config(m, speaks.unit), "    dpd: on-idle\n", speaks.phase1+"    dpd: on-idle\n", 1)
		f.members = append(f.members, startGateway(m.Host, text+speaks.more))
	}
	f.waitPrimary(0, f.members...)
	f.waitReady()
	c := f.office()
	if speaks.speak != nil {
		c = speaks.speak(c)
	}
	if speaks.network != "" {
		f.network = speaks.network
	}
	f.connectAs(c)
	return f
}

// newFGCP starts the unit, with further lines of the ha section, and connects the
// client to its primary, member 1.
func newFGCP(t *testing.T, more string) *fgcp {
	t.Helper()
	f := startFGCP(t, more)
	f.connect()
	return f
}

func startFGCP(t *testing.T, more string) *fgcp {
	t.Helper()
	return startPair(t, gateway.NewPairSite(netlab.New(t), 2), more)
}

// startPair is startFGCP in a site that is there.
func startPair(t *testing.T, site *gateway.PairSite, more string) *fgcp {
	t.Helper()
	f := &fgcp{t: t, site: site, network: gateway.ClientNet}
	for _, m := range f.site.Members {
		f.members = append(f.members, startGateway(m.Host, f.site.Config(m, more)))
	}
	f.waitPrimary(0, f.members...)
	f.waitReady()
	return f
}

// connect brings the client's tunnel up, and watches it.
func (f *fgcp) connect() {
	f.t.Helper()
	f.connectAs(f.office())
}

// office is the client's connection.
func (f *fgcp) office() strongswan.Connection {
	return strongswan.Connection{
		Name: "office", LocalAddrs: []string{gateway.ClientAddr}, RemoteAddrs: []string{gateway.PairAddr},
		Proposals: []string{"aes128-sha256-curve25519"}, Local: strongswan.Auth{ID: strongswan.FQDN("client.example")},
		Remote: strongswan.Auth{ID: strongswan.IPv4(gateway.PairAddr)}, PSK: gateway.GroupPSK,
		Children: []strongswan.Child{{
			Name: "lan", LocalTS: []string{gateway.ClientNet}, RemoteTS: []string{gateway.ServerNet}, Proposals: []string{"aes128gcm16"},
		}},
	}
}

// connectAs is connect with another connection.
func (f *fgcp) connectAs(c strongswan.Connection) {
	f.t.Helper()
	f.site.WAN.Single() // so that packets are counted as they are on a wire
	f.client = strongswan.Start(f.site.Client, anyMode())
	f.client.Load(c)
	if err := f.client.Initiate("lan"); err != nil {
		f.t.Fatal(err)
	}
	f.waitStandby(f.members[1])
	f.before = f.client.SAs()
	f.wire = f.site.ClientWAN.Capture("udp port 500 or udp port 4500 or esp")
	f.up = netlab.Stream{
		From: f.site.Client, Source: gateway.ClientHost, To: f.site.Server, Dest: gateway.ServerHost, Every: every,
	}.Start(f.t)
	f.down = netlab.Stream{
		From: f.site.Server, Source: gateway.ServerHost, To: f.site.Client, Dest: gateway.ClientHost, Every: every,
	}.Start(f.t)
	f.flows()
}

// flows waits for traffic in both directions.
func (f *fgcp) flows() {
	f.t.Helper()
	f.up.WaitFor(50, time.Minute)
	f.down.WaitFor(50, time.Minute)
}

// waitPrimary waits until all of these members take one for the primary, and it has
// the addresses.
func (f *fgcp) waitPrimary(member int, members ...*gateway.Daemon) {
	f.t.Helper()
	id := f.site.Members[member].ID
	netlab.Eventually(f.t, time.Minute, fmt.Sprintf("member %d is primary", id), func() error {
		for _, d := range members {
			s, err := d.HAStatus()
			if err != nil {
				return err
			}
			if s.Primary == nil || int(*s.Primary) != id || s.Held != (int(s.Member) == id) || s.Trouble != "" {
				return fmt.Errorf("it says %+v", s)
			}
		}
		return nil
	})
}

// waitReady waits until each member could take over from the other, with the same
// keys.
func (f *fgcp) waitReady() {
	f.t.Helper()
	for _, d := range f.members {
		netlab.Eventually(f.t, time.Minute, "the members are synced, and hear each other over all links", func() error {
			s, err := d.HAStatus()
			if err != nil {
				return err
			}
			if s.Unsettled || len(s.Members) != 2 || !s.Members[0].Synced || !s.Members[1].Synced || len(s.Heartbeats) != 2 || !s.Heartbeats[0].Up || !s.Heartbeats[1].Up {
				return fmt.Errorf("it says %+v", s)
			}
			return nil
		})
	}
}

// waitStandby waits until a member holds the client's tunnel as a subordinate.
func (f *fgcp) waitStandby(d *gateway.Daemon) {
	f.t.Helper()
	netlab.Eventually(f.t, time.Minute, "the subordinate holds the tunnel", func() error {
		if got := role(d, "vpn1"); got != "standby" {
			return fmt.Errorf("its role is %q", got)
		}
		return nil
	})
}

// unbroken ends the traffic and checks what the client has seen: the SAs of before,
// none negotiated on the way, no number of an SA twice on the wire, and no packet
// that it had to refuse, but for those under way when a primary that lives was replaced.
func (f *fgcp) unbroken() {
	f.t.Helper()
	up, down := f.up.Stop(), f.down.Stop()
	f.t.Logf("of the client's packets %d of %d were lost, of the server's %d of %d", len(up.Lost), up.Sent, len(down.Lost), down.Sent)
	wantSameSAs(f.t, f.before, f.client.SAs())
	wantNoneNegotiated(f.t, f.wire)
	wantNumbersOnce(f.t, f.wire)
	wantAllAccepted(f.t, f.client, f.before, f.wire, wantInFlight(f.t, f.wire))
}

// TestUnitGoesOnThroughAllThatFails moves the primary by everything that can: the
// operator, a dataplane that dies, a link, a daemon that stops or dies, and the loss
// of a whole machine. One client looks on, of each version of IKE.
func TestUnitGoesOnThroughAllThatFails(t *testing.T) { // C1, C2, C3, C7, C8
	t.Parallel()
	for name, speaks := range map[string]dialect{
		"IKEv2": {},
		"IKEv1 in aggressive mode, a user with an address": {
			phase1: "    ike-version: 1\n    mode: aggressive\n    xauthtype: auto\n    authusrgrp: clients\n    mode-cfg: enable\n" +
				"    ipv4-start-ip: 10.10.1.0\n    ipv4-end-ip: 10.10.1.15\n", // member 1 assigns the second one first
			more:    userSections,
			network: gateway.ClientHost + "/32",
			speak: func(c strongswan.Connection) strongswan.Connection {
				return asUser(ofV1(c, "aggressive"), "wonderland", false)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newFGCPOf(t, speaks).goesOnThroughAllThatFails()
		})
	}
}

func (f *fgcp) goesOnThroughAllThatFails() {
	f.t.Helper()
	t := f.t
	pair := saPair(f.members[0].Tunnel("vpn1_1"))
	if standby := saPair(f.members[1].Tunnel("vpn1_1")); standby != pair {
		t.Errorf("the SAs are %s at the primary and %s at the subordinate, want the same", pair, standby)
	}
	at := 0 // where the primary is
	for _, step := range []struct {
		what string
		do   func(from int)
		// back undoes it, nil for what undoes itself.
		back func(from int)
	}{
		{"the operator moves it", f.operator, nil},
		{"the operator moves it back", f.operator, nil},
		{"its dataplane is killed", func(from int) { f.members[from].KillPlugin() }, nil},
		{"its link to the server fails", func(from int) { f.site.Members[from].Port3.Down() }, func(from int) { f.site.Members[from].Port3.Up() }},
		{"its daemon is stopped", func(from int) { f.members[from].Stop() }, func(from int) { f.members[from].Restart() }},
		{"its daemon is killed", func(from int) { f.members[from].KillDaemon() }, func(from int) { f.members[from].Restart() }},
		{
			"it loses its power",
			func(from int) { f.site.Members[from].Unplug(); f.members[from].Kill() },
			func(from int) { f.site.Members[from].Plug(); f.members[from].Restart() },
		},
	} {
		t.Logf("%s: member %d", step.what, at+1)
		from := at
		at = 1 - at
		step.do(from)
		f.waitPrimary(at, f.members[at])
		f.flows()
		if step.back != nil {
			step.back(from)
		}
		f.waitPrimary(at, f.members...)
		f.waitReady()
		f.waitStandby(f.members[from])
		if now := saPair(f.members[at].Tunnel("vpn1_1")); now != pair {
			t.Errorf("%s: the new primary has the SAs %s, want those of before, %s", step.what, now, pair)
		}
	}
	f.unbroken()
	if err := f.client.RekeyChild("lan"); err != nil {
		t.Errorf("the last primary does not rekey: %v", err)
	}
	f.pings()
	f.wantEndedTogether()
}

// TestUnitWithoutSequenceNumbers: a primary that does not know what the last one sent
// accepts what comes, and makes new keys with its first packet of its own, which waits
// for them; the IKE SA stays.
func TestUnitWithoutSequenceNumbers(t *testing.T) { // C2, C5, C6
	t.Parallel()
	const unknown = "  ha-sync-esp-seqno: disable\n"
	for name, row := range map[string]struct {
		speaks dialect
		// keys is the exchange that makes new ones, which has so many messages.
		keys     uint8
		messages int
	}{
		"IKEv2": {dialect{unit: unknown}, createChildSA, 2},
		"IKEv1": {
			dialect{
				unit: unknown, phase1: "    ike-version: 1\n",
				speak: func(c strongswan.Connection) strongswan.Connection { return ofV1(c, "main") },
			}, quickMode, 3,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newFGCPOf(t, row.speaks).rekeysAtTheFirstPacket(row.keys, row.messages)
		})
	}
}

func (f *fgcp) rekeysAtTheFirstPacket(keys uint8, messages int) {
	f.t.Helper()
	two := f.members[1]
	before := f.members[0].Tunnel("vpn1_1")
	f.members[0].Kill()
	f.waitPrimary(1, two)
	f.flows()
	after := two.Tunnel("vpn1_1")
	if after.IKESPIs != before.IKESPIs || saPair(after) == saPair(before) {
		f.t.Errorf("the new primary has %s of the IKE SA %v, want other keys than %s, of %v", saPair(after), after.IKESPIs, saPair(before), before.IKESPIs)
	}
	f.up.Stop()
	f.down.Stop()
	wantNumbersOnce(f.t, f.wire)
	made := 0
	for _, m := range f.wire.IKE("") {
		switch m.ExchangeType {
		case ikeSAInit, mainMode, aggressiveMode:
			f.t.Errorf("the IKE SA was negotiated again: %+v", m)
		case keys:
			made++
		}
	}
	if made != messages {
		f.t.Errorf("%d messages that make keys crossed the wire, want one exchange of %d", made, messages)
	}
}

// TestOperatorsMoveLosesNothing: the next primary is at work before the last one stops,
// and has the addresses only then; what still comes to the last one finds its way.
func TestOperatorsMoveLosesNothing(t *testing.T) { // C1, C2, I2, I7
	t.Parallel()
	f := newFGCP(t, "")
	f.up.Stop() // those from before the members had a link
	f.down.Stop()
	for _, d := range f.members {
		d.Log().Wait("link to a member is up", limit)
	}
	f.up = netlab.Stream{From: f.site.Client, Source: gateway.ClientHost, To: f.site.Server, Dest: gateway.ServerHost, Every: every}.Start(t)
	f.down = netlab.Stream{From: f.site.Server, Source: gateway.ServerHost, To: f.site.Client, Dest: gateway.ClientHost, Every: every}.Start(t)
	f.flows()
	for from := range f.members {
		f.operator(from)
		f.waitPrimary(1-from, f.members...)
		f.flows()
		f.waitReady()
		f.waitStandby(f.members[from])
	}
	wantMovedWhole(t, f.up, f.down, f.wire)
	wantSameSAs(t, f.before, f.client.SAs())
	wantNoneNegotiated(t, f.wire)
}

// operator moves the unit to the other member.
func (f *fgcp) operator(from int) {
	f.t.Helper()
	if out := evergate(f.t, f.members[from], "ha", "failover", "set"); out != "" {
		f.t.Errorf("evergate ha failover set says %q", out)
	}
}

// wantEndedTogether closes the client's tunnel: its SAs and its routes go together,
// at all members.
func (f *fgcp) wantEndedTogether() { // C12, C13
	f.t.Helper()
	for i, m := range f.site.Members {
		if !m.Host.HasRoute(f.network) {
			f.t.Errorf("member %d has no route to the client's network while the tunnel is up", i+1)
		}
	}
	if err := f.client.TerminateIKE("office"); err != nil {
		f.t.Fatal(err)
	}
	for i, m := range f.site.Members {
		netlab.Eventually(f.t, time.Minute, fmt.Sprintf("member %d has neither the tunnel nor its route", i+1), func() error {
			if n := len(f.members[i].Tunnels("vpn1")); n > 0 || m.Host.HasRoute(f.network) {
				return fmt.Errorf("it has %d tunnels, and a route: %v", n, m.Host.HasRoute(f.network))
			}
			return nil
		})
	}
}

// pings goes from the client's network to the server and back.
func (f *fgcp) pings() {
	f.t.Helper()
	netlab.Eventually(f.t, time.Minute, "the client reaches the server", func() error {
		r, err := f.site.Client.Ping(f.t.Context(), netlab.Ping{To: gateway.ServerHost, From: gateway.ClientHost, Count: 3})
		return errors.Join(err, r.Err())
	})
}
