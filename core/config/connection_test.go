package config_test

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/config"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/suite"
)

func TestPerfectForwardSecrecyAndESN(t *testing.T) {
	base := withPhase2(withPhase1(minimal, "dhgrp: [2, 14]"), "proposal: [aes128gcm]")
	for _, c := range []struct{ lines, want string }{
		{"", "aes128gcm/modp1024 (2)/modp2048 (14)/esn/no-esn, aes128gcm/esn/no-esn"},
		{"pfs: optional", "aes128gcm/modp1024 (2)/modp2048 (14)/esn/no-esn, aes128gcm/esn/no-esn"},
		{"pfs: enable", "aes128gcm/modp1024 (2)/modp2048 (14)/esn/no-esn"},
		{"pfs: disable", "aes128gcm/esn/no-esn"},
		{"dhgrp: 19", "aes128gcm/ecp256 (19)/esn/no-esn"},
		{"pfs: optional\n    dhgrp: 19", "aes128gcm/ecp256 (19)/esn/no-esn, aes128gcm/esn/no-esn"},
		{"pfs: disable\n    esn: disable", "aes128gcm/no-esn"},
		{"pfs: disable\n    esn: require", "aes128gcm/esn"},
	} {
		conn := first(t, withPhase2(base, c.lines))
		want(t, fmt.Sprintf("what %q offers", c.lines), proposals(conn.Children[0].Proposals), c.want)
	}
}

// TestOptionalPFSMeetsEveryPeer: a peer that insists on PFS and one that refuses
// it both find something to accept.
func TestOptionalPFSMeetsEveryPeer(t *testing.T) {
	ours := first(t, withPhase2(withPhase1(minimal, "dhgrp: 14"), "proposal: aes128-sha1")).Children[0].Proposals
	bare, err := ipsec.ParseESPProposal("aes128-sha1")
	if err != nil {
		t.Fatalf("The peer's proposal is none: %v.", err)
	}
	for _, peer := range []ipsec.Proposal{bare, bare.WithGroups(ipsec.GroupMODP2048)} {
		chosen, _, err := suite.Select(ours, []ipsec.Proposal{peer})
		if err != nil {
			t.Errorf("A peer that offers %v is refused: %v.", peer, err)
		}
		if len(chosen.OfType(ipsec.TypeKE)) != len(peer.OfType(ipsec.TypeKE)) {
			t.Errorf("A peer that offers %v gets %v.", peer, chosen)
		}
	}
}

func TestLifetimes(t *testing.T) {
	for lines, limits := range map[string]ipsec.Limits{
		"keylifeseconds: 10800":                      {Time: 3 * time.Hour},
		"keylifeseconds: 90m":                        {Time: 90 * time.Minute},
		"keylife-type: kbs\n    keylifekbs: 10000":   {Bytes: 10000 * 1024},
		"keylife-type: both\n    keylifekbs: 10000":  {Time: 12 * time.Hour, Bytes: 10000 * 1024},
		"keylife-type: both\n    keylifeseconds: 1h": {Time: time.Hour, Bytes: 5120 * 1024},
	} {
		want(t, "the lifetime of "+lines, first(t, withPhase2(minimal, lines)).Children[0].Lifetime, ipsec.Lifetime{Hard: limits})
	}
}

func TestSelectors(t *testing.T) {
	for _, c := range []struct{ lines, local, remote string }{
		{"src-subnet: 10.1.0.0/16", "0:10.1.0.0-10.1.255.255:0", "0:0.0.0.0-255.255.255.255:0"},
		{"src-subnet: 10.1.0.0 255.255.0.0", "0:10.1.0.0-10.1.255.255:0", "0:0.0.0.0-255.255.255.255:0"},
		{"dst-subnet: 10.1.2.3", "0:0.0.0.0-255.255.255.255:0", "0:10.1.2.3-10.1.2.3:0"},
		{"dst-subnet: 10.1.0.1-10.1.0.9", "0:0.0.0.0-255.255.255.255:0", "0:10.1.0.1-10.1.0.9:0"},
		{"dst-subnet: 2001:db8::/32", "0:::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:0", "0:2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff:0"},
		{
			"dst-subnet: [10.0.0.0/8, 2001:db8::1]",
			"0:0.0.0.0-255.255.255.255:0 0:::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:0",
			"0:10.0.0.0-10.255.255.255:0 0:2001:db8::1-2001:db8::1:0",
		},
		{"protocol: 1", "1:0.0.0.0-255.255.255.255:0", "1:0.0.0.0-255.255.255.255:0"},
		{"protocol: 6\n    src-port: 443\n    dst-port: 1024-65535", "6:0.0.0.0-255.255.255.255:443", "6:0.0.0.0-255.255.255.255:1024-65535"},
	} {
		s := first(t, withPhase2(minimal, c.lines)).Children[0].Selectors
		want(t, "the local side of "+c.lines, selectors(s.Local), c.local)
		want(t, "the remote side of "+c.lines, selectors(s.Remote), c.remote)
		for _, ts := range append(slices.Clone(s.Local), s.Remote...) {
			if err := ts.Validate(); err != nil {
				t.Errorf("%s makes a selector that is none: %v.", c.lines, err)
			}
		}
	}
}

func TestPacketHeaders(t *testing.T) {
	for lines, header := range map[string]ipsec.HeaderPolicy{
		"df-bit: copy":  {DF: ipsec.DFCopy},
		"df-bit: clear": {DF: ipsec.DFClear},
		"df-bit: set":   {DF: ipsec.DFSet},
		"dscp: copy":    {},
		"dscp: 0":       {HideDSCP: true},
		"dscp: 46":      {HideDSCP: true, DSCP: 46},
	} {
		want(t, "the outer header of "+lines, first(t, withPhase2(minimal, lines)).Children[0].Header, header)
	}
	want(t, "the mode", first(t, withPhase2(minimal, "encapsulation: transport-mode")).Children[0].Mode, ipsec.Transport)
}

func TestLocalIdentities(t *testing.T) {
	for lines, id := range map[string]ike.Identity{
		"priority: 1":             {},
		"localid: gw.example.org": {Type: ike.IDText, Data: "gw.example.org"},
		"localid: gw.example.org\n    localid-type: fqdn":       {Type: ike.IDFQDN, Data: "gw.example.org"},
		"localid: ops@example.org\n    localid-type: user-fqdn": {Type: ike.IDRFC822, Data: "ops@example.org"},
		"localid: gw 1\n    localid-type: keyid":                {Type: ike.IDKeyID, Data: "gw 1"},
		"localid: 10.0.0.1\n    localid-type: address":          {Type: ike.IDIPv4, Data: "\x0a\x00\x00\x01"},
		"localid: ::1\n    localid-type: address":               {Type: ike.IDIPv6, Data: strings.Repeat("\x00", 15) + "\x01"},
	} {
		want(t, "the identity of "+lines, first(t, withPhase1(minimal, lines)).LocalID, id)
	}
	wantProblems(t, withPhase1(minimal, "localid: gw\n    localid-type: address"),
		`gw.yaml:6: phase1[0].localid: "gw" is not an address, which localid-type: address asks for`)
}

func TestDistinguishedName(t *testing.T) {
	id := first(t, withPhase1(minimal, `localid: 'C=CH, O=A\, B, E=x@y'`+"\n    localid-type: asn1dn")).LocalID
	want(t, "the type", id.Type, ike.IDDERDN)
	want(t, "the name", hex.EncodeToString([]byte(id.Data)), "3030"+
		"310b3009060355040613024348"+ // SET { SEQUENCE { countryName, PrintableString CH } }
		"310d300b060355040a1304412c2042"+ // organizationName, PrintableString "A, B"
		"3112301006092a864886f70d0109011603784079") // emailAddress, IA5String x@y
	for name, part := range map[string]string{"gw1": "gw1", "CN=": "CN=", "XX=1": "XX=1", "C=CH,": ""} {
		wantProblems(t, withPhase1(minimal, "localid: '"+name+"'\n    localid-type: asn1dn"), fmt.Sprintf(
			"gw.yaml:6: phase1[0].localid: %q is not part of a distinguished name; want one such as C=CH, O=Example, CN=gw1 (known: C, CN, DC, E, L, O, OU, SERIALNUMBER, ST, UID)", part))
	}
}

func TestWhoInitiates(t *testing.T) {
	call := withPhase2(static, "auto-negotiate: enable")
	want(t, "what is initiated at start", fmt.Sprint(first(t, call).AutoNegotiate), "[net1]")
	want(t, "what is initiated without being told to", fmt.Sprint(first(t, static).AutoNegotiate), "[]")
	want(t, "what is initiated when phase 1 forbids it", fmt.Sprint(first(t, withPhase1(call, "auto-negotiate: disable")).AutoNegotiate), "[]")
	want(t, "passive", first(t, withPhase1(static, "passive-mode: enable")).Passive, true)
}

func TestWhoGetsRoutes(t *testing.T) {
	want(t, "add-route of a dialup server", first(t, minimal).AddRoute, true)
	want(t, "add-route of a static tunnel", first(t, static).AddRoute, false)
	want(t, "add-route that is disabled", first(t, withPhase1(minimal, "add-route: disable")).AddRoute, false)
	want(t, "add-route that is enabled", first(t, withPhase1(static, "add-route: enable")).AddRoute, true)
	want(t, "the metric", first(t, withPhase1(minimal, "priority: 77")).Priority, 77)
}

func TestListsAsFortiOSWritesThem(t *testing.T) {
	a := first(t, withPhase1(withPhase1(minimal, "proposal: aes128-sha1 aes256-sha256"), "dhgrp: 14 5"))
	b := first(t, withPhase1(withPhase1(minimal, "proposal: [aes128-sha1, aes256-sha256]"), "dhgrp: [14, 5]"))
	want(t, "what a line of words offers", proposals(a.Proposals), proposals(b.Proposals))
}

func TestEveryGroupIsAllowed(t *testing.T) {
	for n := range 64 {
		_, err := ipsec.ParseGroup(n)
		_, bad := load(t, withPhase1(minimal, fmt.Sprintf("dhgrp: %d", n)))
		if (err == nil) != (bad == nil) {
			t.Errorf("Group %d: the vocabulary says %v, the configuration says %v.", n, err, bad)
		}
		said := n == 1 || n == 2 || n == 5 || n >= 14 && n <= 21 || n == 31
		want(t, fmt.Sprintf("whether the list of allowed groups has %d", n), said, err == nil)
	}
}

// TestHashes: a hash stays when nothing that matters changes, and changes with
// everything that does.
func TestHashes(t *testing.T) {
	base := first(t, minimal)
	same := first(t, strings.Replace(minimal, "type: dynamic", "type: dynamic  # a comment", 1)+"log: {level: debug}\n")
	want(t, "the hash of the same connection", same.Hash, base.Hash)
	for _, text := range []string{
		withPhase1(minimal, "dhgrp: 14"), withPhase1(minimal, "keylife: 2h"), withPhase2(minimal, "esn: require"),
		withSecret("another secret"), minimal + "  - {name: net2, phase1name: vpn1}\n",
	} {
		conn := first(t, text)
		if conn.Hash == base.Hash || conn.Shared == base.Shared {
			t.Errorf("The hashes should differ from those of the minimal configuration:\n%s", text)
		}
	}
	// What members may have each for themselves.
	for _, line := range []string{"interface: port3", "priority: 9"} {
		conn := first(t, withPhase1(minimal, line))
		if conn.Hash == base.Hash {
			t.Errorf("%q should change the hash.", line)
		}
		want(t, "what members share with "+line, conn.Shared, base.Shared)
	}
}

func TestDiff(t *testing.T) {
	from := mustLoad(t, minimal+"log: {level: info}\n")
	for _, c := range []struct{ name, to, want string }{
		{"nothing", "# a comment\n" + minimal, ""},
		{"a key of phase 1", withPhase1(minimal, "keylife: 2h\n    dhgrp: 14"), "phase1 vpn1 changed: dhgrp, keylife"},
		{"the secret", withSecret("another secret"), "phase1 vpn1 changed: psksecret"},
		{"a key of phase 2", withPhase2(minimal, "esn: require"), "phase2 net1 changed: esn"},
		{"another phase 2", minimal + "  - {name: net2, phase1name: vpn1}\n", "phase2 net2 added"},
		{"another name", strings.ReplaceAll(minimal, "net1", "net2"), "phase2 net2 added, phase2 net1 removed"},
		{"a section", minimal + "log: {level: debug}\nmetrics: {listen: 'localhost:9708'}\n", "log changed, metrics changed, metrics takes effect with the next start of evergated"},
	} {
		changes := config.Diff(from, mustLoad(t, c.to))
		want(t, "the difference of "+c.name, strings.Join(changes.Lines(), ", "), c.want)
		want(t, "whether "+c.name+" is no change", changes.Empty(), c.want == "")
	}
}

func TestDiffSeesTheOrderOfPhase1(t *testing.T) {
	entry := func(n string) string {
		return "  - {name: " + n + ", type: dynamic, local-gw: 192.0.2.1, psksecret: a secret that nobody guesses}\n"
	}
	const rest = "phase2:\n  - {name: a, phase1name: a}\n  - {name: b, phase1name: b}\n"
	changes := config.Diff(
		mustLoad(t, "phase1:\n"+entry("a")+entry("b")+rest),
		mustLoad(t, "phase1:\n"+entry("b")+entry("a")+rest))
	want(t, "the difference", strings.Join(changes.Lines(), ", "), "order of phase1 changed")
}

func selectors(ts []ipsec.TrafficSelector) string {
	words := make([]string, len(ts))
	for i, t := range ts {
		words[i] = t.String()
	}
	return strings.Join(words, " ")
}

func TestPlaintextIsWarnedOf(t *testing.T) {
	transport := func(base string) string { return withPhase2(base, "encapsulation: transport-mode") }
	const says = "encapsulation: transport-mode wants add-route: enable in phase 1 vpn1: without a route into the tunnel, packets for the peer leave in plaintext"
	for _, tt := range []struct{ name, text, want string }{
		{"tunnel mode", static, ""},
		{"transport mode", transport(static), says},
		{"transport mode with a route", withPhase1(transport(static), "add-route: enable"), ""},
		{"transport mode of a dialup server", transport(minimal), ""},
		{"transport mode of a dialup server without routes", withPhase1(transport(minimal), "add-route: disable"), says},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, got, _ := strings.Cut(mustLoad(t, tt.text).Warnings.Error(), "phase2[0].")
			want(t, "the warning", got, tt.want)
		})
	}
}
