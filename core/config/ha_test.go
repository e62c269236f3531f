package config_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/config"
)

// pair is minimal as a member of a unit. The section is the last, so that tests can
// put lines behind it.
const pair = `phase1:
  - name: vpn1
    type: dynamic
    local-gw: 192.0.2.1
    psksecret: a secret that nobody guesses
phase2:
  - name: net1
    phase1name: vpn1
ha:
  mode: a-p
  member-id: 1
  hbdev: [port4, port5]
  peers:
    - {member-id: 2, peerip: [172.31.1.2, 172.31.2.2]}
  password: another secret that nobody guesses
`

func TestPairIsAGroupOfItsOwn(t *testing.T) { // C7
	c := loadShipped(t, "fgcp-pair.yaml")
	u, g := c.Unit(), c.Group()
	if u == nil || g == nil {
		t.Fatal("The pair makes no unit, or no group.")
	}
	want(t, "the priority", u.Priority, 200)
	want(t, "override", u.Override, false)
	want(t, "the margin of ages", u.UptimeMargin, 5*time.Minute)
	want(t, "what is monitored", fmt.Sprint(u.Monitor), "[port2 port3]")
	want(t, "the announcements", fmt.Sprint(u.ARPs, u.ARPsInterval), "5 1s")
	want(t, "the routes' times", fmt.Sprint(u.RouteTTL, u.RouteWait), "10s 0s")
	want(t, "the addresses", fmt.Sprintf("%s %v %v", u.Addresses[0].Interface, u.Addresses[0].IPs, u.Addresses[1].IPs), "port2 [192.0.2.10/24] [172.16.101.1/24]")
	want(t, "who we are", fmt.Sprintf("%d %d %s %d", g.Group, g.Member, g.Interface, g.Port), "1 1 port4 708")
	want(t, "the other member", fmt.Sprint(*g.Peers[0].Member, g.Peers[0].IP), "2 172.31.1.2")
	want(t, "the password", string(g.Secret.Reveal()), "a secret that nobody guesses")
	links := c.HeartbeatLinks()
	if len(links) != 1 || links[0].Interface != "port5" || links[0].Peers[2].String() != "172.31.2.2" {
		t.Errorf("The further heartbeat links are %v.", links)
	}
	if !c.Connections()[0].Sync {
		t.Error("A unit does not hold all tunnels.")
	}
	if reference := loadShipped(t, "full-reference.yaml"); reference.Unit() != nil || reference.HA == nil {
		t.Error("mode: standalone makes a unit.")
	}
}

func TestPairsAreMembersOfAGroup(t *testing.T) { // FGCP over FGSP
	const ha = "ha:\n  mode: a-p\n  group-id: 3\n  hbdev: port5\n  peers: [{member-id: 2, peerip: 172.31.2.2}]\n"
	c := mustLoad(t, cluster+ha)
	want(t, "the group's interface", c.Group().Interface, "port4")
	want(t, "the unit", c.Unit().Group, 3)
	links := c.HeartbeatLinks()
	if len(links) != 1 || links[0].Interface != "port5" || links[0].Peers[2].String() != "172.31.2.2" {
		t.Errorf("The further heartbeat links are %v.", links)
	}
	wantProblems(t, cluster+ha+"  member-id: 1\n",
		"gw.yaml:22: ha.member-id: is the standalone-cluster's to say, of which this unit is a part")
	wantProblems(t, strings.Replace(cluster, "fgsp-sync: enable", "fgsp-sync: disable", 1)+ha,
		"gw.yaml:5: phase1[0].fgsp-sync: must be enable where a standalone-cluster is made of units: the tunnels of vpn1 would end with each change of the primary")
	wantProblems(t, cluster+ha+"  session-pickup: disable\n",
		"gw.yaml:22: ha.session-pickup: must be enable where a standalone-cluster is made of units: the other units hold the tunnels too")
	wantProblems(t, cluster+strings.Replace(ha, "member-id: 2", "member-id: 3", 1),
		"gw.yaml:21: ha.peers[0].member-id: 3 is that of no entry of standalone-cluster.cluster-peers")
	wantProblems(t, cluster+"ha:\n  mode: a-p\n  hbdev: port5\n",
		"gw.yaml:19: ha.hbdev: and peers belong together: further ways to the members of this unit beside the standalone-cluster's")
}

// TestWhatSubordinatesKnow: nothing, or all but the sequence numbers, where the
// configuration wants it as FortiOS has it without those settings.
func TestWhatSubordinatesKnow(t *testing.T) {
	for line, want := range map[string]string{
		"": "true false", "session-pickup: disable": "false false", "ha-sync-esp-seqno: disable": "true true",
	} {
		c := mustLoad(t, pair+"  "+line+"\n").Connections()[0]
		if got := fmt.Sprint(c.Sync, c.MaxSeq); got != want {
			t.Errorf("With %q, that subordinates hold tunnels and make new keys for them is %s, want %s.", line, got, want)
		}
	}
}

func TestMistakesOfAPair(t *testing.T) {
	for _, m := range []struct{ line, want string }{
		{"mode: a-a", `10: ha.mode: "a-a" is not allowed; allowed: standalone, a-p`},
		{"priority: 256", `16: ha.priority: "256" is not allowed; allowed: 0-255`},
		{"route-ttl: 1", `16: ha.route-ttl: "1" is not allowed; allowed: 5-3600 seconds, or a duration with its unit, such as 90m`},
		{"monitor: [no/interface]", `16: ha.monitor: "no/interface" is not the name of an interface`},
		{"virtual-mac: enable", "16: ha.virtual-mac: has no addresses to be for"},
		{"addresses: [{interface: port2, ip: 192.0.2.1}]", `16: ha.addresses[0].ip: "192.0.2.1" is not an address with its prefix length, such as 192.0.2.1/24 or 2001:db8::1/64`},
		{"addresses: [{interface: port2, ip: 192.0.2.1/0}]", "16: ha.addresses[0].ip: a prefix length of 0 would make everything one network"},
		{"addresses: [{ip: 192.0.2.1/24}]", "16: ha.addresses[0].interface: is missing: where the addresses are"},
		{"addresses: [{interface: a, ip: 192.0.2.1/24}, {interface: b, ip: 192.0.2.1/32}]", "16: ha.addresses[1].ip: 192.0.2.1 is one of ha.addresses[0] too"},
	} {
		t.Run(m.line, func(t *testing.T) {
			text := pair + "  " + m.line + "\n"
			if strings.HasPrefix(m.line, "mode") {
				text = strings.Replace(pair, "mode: a-p", m.line, 1)
			}
			wantProblems(t, text, "gw.yaml:"+m.want)
		})
	}
}

func TestMistakesBetweenMembersOfAPair(t *testing.T) {
	for _, m := range []struct{ old, new, want string }{
		{"  member-id: 1\n", "", "9: ha.member-id: is missing: which member of the unit this is, 0-15; each has its own"},
		{"member-id: 2,", "member-id: 1,", "14: ha.peers[0].member-id: 1 is our own"},
		{"{member-id: 2, ", "{", "14: ha.peers[0].member-id: is missing: which member that is"},
		{", 172.31.2.2]", "]", "14: ha.peers[0].peerip: has 1 addresses; want one for each interface of hbdev, in their order, that is 2"},
		{"172.31.2.2", "172.31.1.2", "14: ha.peers[0].peerip: 172.31.1.2 stands in the list twice"},
		{"172.31.1.2,", "192.0.2.1,", "14: ha.peers[0].peerip: 192.0.2.1 is the local-gw of phase 1 vpn1, which all members share; want one that a single member has"},
		{"  password: another secret that nobody guesses\n", "", "9: ha.password: is missing: members trust each other by a password, or by ca, cert and key; nothing is synchronized in the clear"},
	} {
		t.Run(m.new, func(t *testing.T) {
			_, err := load(t, strings.Replace(pair, m.old, m.new, 1))
			if err == nil || !strings.Contains(err.Error(), "gw.yaml:"+m.want) {
				t.Errorf("The mistakes are\n%v\nand should have\n%s", err, m.want)
			}
		})
	}
}

func TestAnotherUnitNeedsARestart(t *testing.T) {
	for _, m := range []struct{ old, new string }{
		{"another secret", "a third secret"},
		{"172.31.2.2", "172.31.2.3"},
		{"member-id: 1", "priority: 7\n  member-id: 1"},
	} {
		changes := config.Diff(mustLoad(t, pair), mustLoad(t, strings.Replace(pair, m.old, m.new, 1)))
		want(t, "what needs a restart with "+m.new, strings.Join(changes.Restart, " "), "ha")
	}
}

func TestOnlyThePrimaryCalls(t *testing.T) {
	static := strings.Replace(pair, "type: dynamic\n", "type: static\n    remote-gw: 192.0.2.2\n", 1)
	want(t, "the warnings", mustLoad(t, static).Warnings.Error(), "")
}
