package config_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/config"
)

// speaker is minimal with a router to tell. The neighbor is the last, so that
// tests can put lines behind it.
const speaker = minimal + `bgp:
  as: 65001
  router-id: 10.0.0.1
  neighbors:
    - address: 10.0.0.2
      remote-as: 65000
`

func TestSpeakerWithoutMoreThanItNeeds(t *testing.T) { // F4
	c := mustLoad(t, speaker)
	want(t, "as", c.BGP.AS, 65001)
	want(t, "the router", fmt.Sprint(c.BGP.Neighbors[0].Address, c.BGP.Neighbors[0].RemoteAS), "10.0.0.2 65000")
	want(t, "the times", fmt.Sprint(c.BGP.HoldTime, c.BGP.Keepalive, c.BGP.GracefulShutdown.Delay), "3s 1s 5s")
	want(t, "what is announced", c.BGP.Announce, config.Announce{LocalGW: true, Clients: true})
	want(t, "the addresses to announce", fmt.Sprint(c.SharedGateways()), "[192.0.2.1]")
	if c := mustLoad(t, minimal); c.BGP != nil || c.Cluster != nil || c.Health.Listen.IsValid() {
		t.Error("A gateway that says nothing of others has a speaker, a group or a health endpoint.")
	}
}

func TestSpeakerWithEverything(t *testing.T) { // F4
	c := loadShipped(t, "full-reference.yaml")
	n := c.BGP.Neighbors[0]
	want(t, "source", n.Source, netip.MustParseAddr("192.168.125.254"))
	want(t, "password", string(n.Password.Reveal()), "a third one")
	want(t, "passive, ttl-security", fmt.Sprint(n.Passive, n.TTLSecurity), "true true")
	want(t, "families", fmt.Sprint(n.Families), "[4 6]")
	want(t, "ebgp-multihop", c.BGP.Neighbors[1].MultihopTTL, 4)
	want(t, "the health endpoint", c.Health.Listen, netip.MustParseAddrPort("192.168.125.254:8080"))
}

func TestKeepaliveIsAThirdOfTheHoldTime(t *testing.T) { // RFC 4271 section 4.4
	c := mustLoad(t, strings.Replace(speaker, "  neighbors", "  hold-time: 20\n  neighbors", 1))
	want(t, "keepalive", c.BGP.Keepalive, 6*time.Second)
}

func TestMistakesOfANeighbor(t *testing.T) {
	const at = "gw.yaml:15: bgp.neighbors[0]."
	for _, m := range []struct{ line, want string }{
		{"source: 2001:db8::1", at + "source: 2001:db8::1 and address 10.0.0.2 are of different address families"},
		{"source: 192.0.2.1", at + "source: 192.0.2.1 is the local-gw of phase 1 vpn1, which all members share; want one that a single member has"},
		{"passive: enable", at + "passive: needs source: where the router connects to"},
		{"ebgp-multihop: 1", at + `ebgp-multihop: "1" is not allowed; allowed: 2-255`},
		{"families: [ipv6]", at + "families: ipv6 over a session of IPv4 needs bgp.next-hop6: the address to send it to"},
		{"families: ipx", at + "families: allowed: ipv4, ipv6"},
		{"password: " + strings.Repeat("x", 81), at + "password: the password has 81 octets; it has at most 80"},
	} {
		t.Run(m.line, func(t *testing.T) { wantProblems(t, speaker+"      "+m.line+"\n", m.want) })
	}
	wantProblems(t, speaker+"      ebgp-multihop: 2\n      ttl-security: enable\n",
		"gw.yaml:16: bgp.neighbors[0].ttl-security: accepts the same network only, and ebgp-multihop is for others; want one of them")
	wantProblems(t, speaker+"    - {address: 10.0.0.2, remote-as: 65000}\n",
		"gw.yaml:15: bgp.neighbors[1].address: 10.0.0.2 is that of bgp.neighbors[0] too")
}

func TestMistakesOfASpeaker(t *testing.T) {
	for _, m := range []struct{ old, new, want string }{
		{"as: 65001", "as: 0", `10: bgp.as: "0" is not allowed; allowed: 1-4294967295`},
		{"router-id: 10.0.0.1", "router-id: 2001:db8::1", "11: bgp.router-id: 2001:db8::1 is not an IPv4 address"},
		{"router-id: 10.0.0.1", "router-id: 192.0.2.1", "11: bgp.router-id: 192.0.2.1 is the local-gw of phase 1 vpn1, which all members share; want one that a single member has"},
		{"  router-id: 10.0.0.1\n", "", "9: bgp.router-id: is missing: an IPv4 address that no other speaker has"},
		{"  neighbors", "  hold-time: 2\n  neighbors", `12: bgp.hold-time: "2" is not allowed; allowed: 3-65535 seconds, or a duration with its unit, such as 90m`},
		{"  neighbors", "  hold-time: 3500ms\n  neighbors", "12: bgp.hold-time: 3.5s is not in whole seconds"},
		{"  neighbors", "  keepalive: 3\n  neighbors", "12: bgp.keepalive: 3s is not shorter than hold-time 3s, so the router would give us up in between"},
		{"  neighbors", "  next-hop: 2001:db8::1\n  neighbors", "12: bgp.next-hop: 2001:db8::1 is not an IPv4 address; next-hop6 is for IPv6"},
		{"address: 10.0.0.2", "address: fe80::2", "13: bgp.neighbors[0].address: fe80::2 is no address that a next hop can have; want one of a network"},
	} {
		wantProblems(t, strings.Replace(speaker, m.old, m.new, 1), "gw.yaml:"+m.want)
	}
	wantProblems(t, minimal+"health: {listen: 8080}\n",
		`gw.yaml:9: health.listen: "8080" is not an address with a port, such as 192.0.2.1:8080 or [2001:db8::1]:8080`)
}

func TestAnotherPasswordNeedsARestart(t *testing.T) {
	changes := config.Diff(mustLoad(t, speaker+"      password: one\n"), mustLoad(t, speaker+"      password: two\n"))
	want(t, "what needs a restart", strings.Join(changes.Restart, " "), "bgp")
}
