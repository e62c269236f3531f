package config_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/config"
)

// wantProblems loads text and compares what is wrong with it, line by line, with
// the file's name left out.
func wantProblems(t *testing.T, text string, lines ...string) {
	t.Helper()
	_, err := load(t, text)
	var ps config.Problems
	if !errors.As(err, &ps) {
		t.Fatalf("The mistakes should be told as Problems, got %T: %v.\n%s", err, err, text)
	}
	var got []string
	for _, p := range ps {
		if filepath.IsAbs(p.Source) {
			p.Source = filepath.Base(p.Source)
		}
		got = append(got, p.Error())
	}
	if !slices.Equal(got, lines) {
		t.Errorf("The mistakes should be\n\t%s\nbut are\n\t%s\nin\n%s", strings.Join(lines, "\n\t"), strings.Join(got, "\n\t"), text)
	}
}

func TestMistakesOfPhase1(t *testing.T) {
	for _, m := range []struct{ line, want string }{
		{"dhgrp: 3", "phase1[0].dhgrp: 3 is not a group; allowed: 1, 2, 5, 14-21, 31"},
		{"dhgrp: [14, 14]", "phase1[0].dhgrp: 14 stands in the list twice"},
		{"dhgrp: []", "phase1[0].dhgrp: is an empty list; leave the key out for the default"},
		{"dhgrp: {a: b}", "phase1[0].dhgrp: want a value or a list of values, got keys with values"},
		{"ike-version: 3", `phase1[0].ike-version: "3" is not allowed; allowed: 1, 2`},
		{"keylife: 119", `phase1[0].keylife: "119" is not allowed; allowed: 120-172800 seconds, or a duration with its unit, such as 90m`},
		{"keylife: 1d", `phase1[0].keylife: "1d" is not allowed; allowed: 120-172800 seconds, or a duration with its unit, such as 90m`},
		{"keylife: [1h]", `phase1[0].keylife: want a single value, got a list`},
		{"keylife:", "phase1[0].keylife: has no value; leave the key out for the default"},
		{"peertype: some", `phase1[0].peertype: "some" is not allowed; allowed: any, one`},
		{"peertype: one", "phase1[0].peertype: one needs a peerid: whom to accept"},
		{"peerid: somebody", "phase1[0].peerid: is looked at only with peertype: one"},
		{"remote-gw: 192.0.2.9", "phase1[0].remote-gw: peers of type dynamic come from anywhere; want type: static for a peer at a known address"},
		{"net-device: enable", "phase1[0].net-device: an interface for each tunnel is not implemented; allowed: disable"},
		{"nattraversal: yes", `phase1[0].nattraversal: "yes" is not allowed; allowed: enable, disable, forced`},
		{"nattraversal: true", `phase1[0].nattraversal: "true" is not allowed; allowed: enable, disable, forced`},
		{"proposal: aes128gcm-sha256", "phase1[0].proposal: proposal \"aes128gcm-sha256\": want a PRF after aes128gcm-, one of prfsha1, prfsha256, prfsha384, prfsha512"},
		{"proposal: [aes128]", `phase1[0].proposal: proposal "aes128": want a hash after aes128-, one of sha1, sha256, sha384, sha512`},
		{"localid-type: fqdn", "phase1[0].localid-type: needs a localid"},
		{"localid: {a: b}", "phase1[0].localid: want a single value, got keys with values"},
		{"fragmentation-mtu: 499", `phase1[0].fragmentation-mtu: "499" is not allowed; allowed: 500-16000`},
		{"keepalive: 9", `phase1[0].keepalive: "9" is not allowed; allowed: 10-900 seconds, or a duration with its unit, such as 90m`},
		{"dpd-retrycount: -1", `phase1[0].dpd-retrycount: "-1" is not allowed; allowed: 1-10`},
		{"interface: an-interface-with-a-name", "phase1[0].interface: an-interface-with-a-name is too long for an interface; it has at most 15 octets"},
		{"local-gv: 192.0.2.1", "phase1[0].local-gv: unknown key; did you mean local-gw?"},
		{"Proposal: aes128-sha1", "phase1[0].Proposal: unknown key; did you mean proposal?"},
		{"authmethod: signature", "phase1[0].authmethod: unknown key: the pre-shared key (psksecret) is the only method"},
		{"type: static", "phase1[0].type: given twice, first in line 3"},
	} {
		t.Run(m.line, func(t *testing.T) {
			wantProblems(t, withPhase1(minimal, m.line), "gw.yaml:6: "+m.want)
		})
	}
}

func TestMistakesOfPhase2(t *testing.T) {
	for _, m := range []struct{ line, want string }{
		{"proposal: aes128gcm-sha1", `phase2[0].proposal: proposal "aes128gcm-sha1": aes128gcm authenticates by itself, nothing goes behind it`},
		{"replay: disable", "phase2[0].replay: anti-replay cannot be turned off; allowed: enable (replay-window widens it, up to 4096 packets)"},
		{"replay-window: 5000", `phase2[0].replay-window: "5000" is not allowed; allowed: 64-4096`},
		{"src-subnet: 10.0.0.1/24", "phase2[0].src-subnet: 10.0.0.1/24 has bits set behind its prefix length; did you mean 10.0.0.0/24, or the single address 10.0.0.1?"},
		{"src-subnet: 10.0.0.9-10.0.0.1", `phase2[0].src-subnet: "10.0.0.9-10.0.0.1" ends before it starts`},
		{"src-subnet: 10.0.0.1-2001:db8::1", `phase2[0].src-subnet: "10.0.0.1-2001:db8::1" mixes address families`},
		{"src-subnet: 10.0.0.0 255.0.255.0", `phase2[0].src-subnet: "10.0.0.0 255.0.255.0": 255.0.255.0 is not a network mask`},
		{"src-subnet: here", `phase2[0].src-subnet: "here" is not a subnet; allowed: 10.1.0.0/16, 10.1.0.0 255.255.0.0, 10.1.0.1-10.1.0.9, 2001:db8::/32, or a single address`},
		{"src-port: 80", "phase2[0].src-port: needs a protocol with ports; allowed: protocol 6 (TCP), 17 (UDP), 33 (DCCP), 132 (SCTP)"},
		{"src-port: 70000", `phase2[0].src-port: "70000" is not a port; allowed: 0-65535, 0 for any, or a range such as 5000-5010`},
		{"dscp: 64", `phase2[0].dscp: "64" is not allowed; allowed: copy, 0-63`},
		{"keylifekbs: 6000", "phase2[0].keylifekbs: counts only with keylife-type: kbs or both"},
		{"auto-negotiate: enable", "phase2[0].auto-negotiate: phase 1 vpn1 is of type dynamic and has nobody to call"},
		{"src-subnet6: 2001:db8::/32", "phase2[0].src-subnet6: unknown key: src-subnet takes IPv6 too"},
	} {
		t.Run(m.line, func(t *testing.T) {
			wantProblems(t, withPhase2(minimal, m.line), "gw.yaml:9: "+m.want)
		})
	}
}

func TestMistakesBetweenEntries(t *testing.T) {
	for _, m := range []struct {
		name, text string
		want       []string
	}{
		{
			"a phase 2 of no phase 1", strings.Replace(minimal, "phase1name: vpn1", "phase1name: vpm1", 1),
			[]string{
				"gw.yaml:2: phase1[0]: vpn1 has no phase2 that names it in phase1name, so nothing could pass",
				"gw.yaml:8: phase2[0].phase1name: there is no phase 1 vpm1; did you mean vpn1?",
			},
		},
		{
			"two of a name", minimal + "  - {name: net1, phase1name: vpn1}\n",
			[]string{"gw.yaml:9: phase2[1].name: net1 is taken by phase2[0] in line 7"},
		},
		{
			"the name of an instance", strings.Replace(minimal+"  - {name: n, phase1name: vpn1_0}\n", "phase2:",
				"  - {name: vpn1_0, type: dynamic, local-gw: 192.0.2.1, psksecret: a secret that nobody guesses}\nphase2:", 1),
			[]string{"gw.yaml:6: phase1[1].name: vpn1_0 is what tunnels of vpn1 are called; choose another name"},
		},
		{
			"a peer of another family", strings.Replace(static, "192.0.2.2", "2001:db8::2", 1),
			[]string{"gw.yaml:5: phase1[0].remote-gw: 2001:db8::2 and local-gw 192.0.2.1 are of different address families"},
		},
		{
			"a peer that is us", strings.Replace(static, "192.0.2.2", "192.0.2.1", 1),
			[]string{"gw.yaml:5: phase1[0].remote-gw: 192.0.2.1 is our own local-gw"},
		},
		{
			"a passive caller", withPhase2(withPhase1(static, "passive-mode: enable"), "auto-negotiate: enable"),
			[]string{"gw.yaml:11: phase2[0].auto-negotiate: phase 1 vpn1 has passive-mode: enable and never calls"},
		},
		{
			"subnets of different families", minimal + "    src-subnet: 10.0.0.0/8\n    dst-subnet: 2001:db8::/32\n",
			[]string{"gw.yaml:10: phase2[0].dst-subnet: src-subnet and dst-subnet are of different address families, so some of it can match no packet"},
		},
		{
			"groups for no exchange", minimal + "    pfs: disable\n    dhgrp: 14\n",
			[]string{"gw.yaml:10: phase2[0].dhgrp: has no meaning with pfs: disable"},
		},
		{
			"a hash of what is built in", minimal + "dataplane: {sha256: " + strings.Repeat("0", 64) + "}\n",
			[]string{"gw.yaml:9: dataplane.sha256: softesp is built in and has no executable of its own to check; name the path of one"},
		},
		{
			"everything is missing", "phase1: [{}]\nphase2: [{}]\n",
			[]string{
				"gw.yaml:1: phase1[0].name: is missing: every phase 1 has a name",
				"gw.yaml:1: phase1[0].type: is missing: dynamic for a dialup server, static for one peer with a remote-gw",
				"gw.yaml:1: phase1[0].local-gw: is missing: our address, to which peers send",
				"gw.yaml:1: phase1[0].psksecret: is missing: every peer is authenticated with a pre-shared key",
				"gw.yaml:2: phase2[0].name: is missing: every phase 2 has a name",
				"gw.yaml:2: phase2[0].phase1name: is missing: the phase 1 that this belongs to",
			},
		},
		{"an empty file", "", []string{"gw.yaml:1: phase1: is missing: there is nothing to do without a phase 1"}},
		{"an unknown section", minimal + "logg: {}\n", []string{"gw.yaml:9: logg: unknown key; did you mean log?"}},
		{"no list", "phase1: {name: x}\n", []string{"gw.yaml:1: phase1: want a list of entries, each beginning with '- name: ...', got keys with values"}},
		{"a comment alone", "# nothing\n", []string{"gw.yaml:1: phase1: is missing: there is nothing to do without a phase 1"}},
		{"no mapping", minimal + "log: loud\n", []string{`gw.yaml:9: log: want keys with values below it, got "loud"`}},
		{"not YAML", "phase1:\n  - name: x\n local-gw: y\n", []string{"gw.yaml:2: cannot be read as YAML: did not find expected key"}},
		{"a second document", minimal + "---\nlog: {level: debug}\n", []string{"gw.yaml:9: cannot be read as YAML: a second document begins here; want one"}},
		{"a list", "- phase1\n", []string{"gw.yaml:1: want keys with values below it, got a list"}},
		{"an anchor within itself", minimal + "log: &l {<<: *l}\n", []string{"gw.yaml:9: log.<<: want one anchor of a mapping, such as *defaults"}},
	} {
		t.Run(m.name, func(t *testing.T) { wantProblems(t, m.text, m.want...) })
	}
}

// TestAllMistakesAtOnce: an operator corrects a file once, not once per mistake.
func TestAllMistakesAtOnce(t *testing.T) {
	text := strings.Replace(static, "local-gw: 192.0.2.1", "local-gw: 192.0.2.256", 1)
	text = withPhase2(withPhase1(text, "dhgrp: 22"), "esn: maybe") + "log: {level: loud}\n"
	wantProblems(t, text,
		`gw.yaml:4: phase1[0].local-gw: "192.0.2.256" is not an IP address, such as 192.0.2.1 or 2001:db8::1`,
		"gw.yaml:7: phase1[0].dhgrp: 22 is not a group; allowed: 1, 2, 5, 14-21, 31",
		`gw.yaml:11: phase2[0].esn: "maybe" is not allowed; allowed: enable, disable, require`,
		`gw.yaml:12: log.level: "loud" is not allowed; allowed: debug, info, warn, error`)
}

func TestAddressesThatAreNone(t *testing.T) {
	for address, why := range map[string]string{
		"0.0.0.0":         "0.0.0.0 is not the address of a host",
		"224.0.0.1":       "224.0.0.1 is not the address of a host",
		"255.255.255.255": "255.255.255.255 is not the address of a host",
		"fe80::1%eth0":    "fe80::1%eth0 has a zone; want an address that is the same on every interface",
		"::ffff:10.0.0.1": "::ffff:10.0.0.1 is an IPv4 address in IPv6 clothes; write 10.0.0.1",
	} {
		wantProblems(t, strings.Replace(minimal, "192.0.2.1", address, 1), "gw.yaml:4: phase1[0].local-gw: "+why)
	}
}

func TestServiceSettings(t *testing.T) {
	for _, m := range []struct{ line, want string }{
		{"metrics: {listen: 9708}", `metrics.listen: "9708" is not host:port, such as 127.0.0.1:9708 or [::1]:9708`},
		{"metrics: {listen: 'localhost:0'}", `metrics.listen: "localhost:0" is not host:port, such as 127.0.0.1:9708 or [::1]:9708`},
		{"dataplane: {plugin: a b}", `dataplane.plugin: "a b" is not a name; allowed: letters, digits, '-', '_' and '.', at most 35 of them`},
		{"dataplane: {plugin: x, sha256: 00ff}", `dataplane.sha256: "00ff" is not a SHA-256 hash; want 64 hexadecimal digits, as sha256sum prints them`},
		{"dataplane: {settings: [a]}", "dataplane.settings: want keys with values below it, got a list"},
		{"admin: {socket: /" + strings.Repeat("x", 107) + "}", fmt.Sprintf("admin.socket: /%s is 108 octets long, a unix socket's path has at most 107", strings.Repeat("x", 107))},
		{"admin: {socket: /}", "admin.socket: / is a directory"},
		{"plugin-dirs: ['']", "plugin-dirs: is empty; want a path"},
	} {
		t.Run(m.line, func(t *testing.T) { wantProblems(t, minimal+m.line+"\n", "gw.yaml:9: "+m.want) })
	}
}
