package config_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/config"
	"github.com/evergate/evergate/ike"
)

// version1 is a dialup server of IKEv1 with users and addresses.
const version1 = `user-local:
  - {name: alice, passwd: wonderland}
  - {name: bob, passwd: builder}
  - {name: eve, passwd: snake}
user-group:
  - {name: clients, member: [bob, alice]}
phase1:
  - name: vpn1
    type: dynamic
    local-gw: 192.0.2.1
    psksecret: a secret that nobody guesses
    ike-version: 1
    mode: aggressive
    xauthtype: auto
    authusrgrp: clients
    mode-cfg: enable
    ipv4-start-ip: 10.1.0.1
    ipv4-end-ip: 10.1.0.99
    ipv4-dns-server2: 10.9.0.53
    ipv4-split-include: 10.9.0.0/16
phase2:
  - name: net1
    phase1name: vpn1
`

func TestVersion1Server(t *testing.T) { // C3
	v := first(t, version1).V1
	if v == nil || !v.Aggressive {
		t.Fatalf("The connection is %+v, want aggressive mode of IKEv1.", v)
	}
	var users []string
	for _, u := range v.XAuth.Users {
		users = append(users, u.Name+":"+string(u.Password.Reveal()))
	}
	want(t, "the users", strings.Join(users, " "), "bob:builder alice:wonderland")
	want(t, "the role", v.Config.Role, ike.ModeConfigServer)
	want(t, "push", v.Config.Push, false)
	want(t, "the first address", v.Config.First, netip.MustParseAddr("10.1.0.1"))
	want(t, "the last address", v.Config.Last, netip.MustParseAddr("10.1.0.99"))
	if !slices.Equal(v.Config.DNS, []netip.Addr{netip.MustParseAddr("10.9.0.53")}) {
		t.Errorf("The name servers are %v, want 10.9.0.53.", v.Config.DNS)
	}
	if !slices.Equal(v.Config.Subnets, []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}) {
		t.Errorf("The subnets are %v, want 10.9.0.0/16.", v.Config.Subnets)
	}
}

func TestVersion1Client(t *testing.T) {
	text := withPhase1(static, "ike-version: 1")
	for _, line := range []string{"xauthtype: client", "authusr: alice", "authpasswd: wonderland", "mode-cfg: enable", "mode-cfg-method: push"} {
		text = withPhase1(text, line)
	}
	v := first(t, text).V1
	if v == nil || v.XAuth.As == nil {
		t.Fatalf("The connection is %+v, want a user of IKEv1.", v)
	}
	want(t, "main mode", v.Aggressive, false)
	want(t, "the user", v.XAuth.As.Name, "alice")
	want(t, "the password", string(v.XAuth.As.Password.Reveal()), "wonderland")
	want(t, "the role", v.Config.Role, ike.ModeConfigClient)
	want(t, "push", v.Config.Push, true)
	want(t, "IKEv1 by default", first(t, static).V1 == nil, true)
}

func TestChangedUsersKeepTheTunnels(t *testing.T) {
	before, err := load(t, version1)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ old, new, want string }{
		{"wonderland", "glass", "user-local changed"},
		{"member: [bob, alice]", "member: [bob]", "user-group changed"},
	} {
		after, err := load(t, strings.Replace(version1, row.old, row.new, 1))
		if err != nil {
			t.Fatal(err)
		}
		want(t, "the change of "+row.old, strings.Join(config.Diff(before, after).Lines(), "; "), row.want)
		want(t, "the hash after a change of "+row.old, after.Connections()[0].Hash, before.Connections()[0].Hash)
	}
	client := withPhase1(withPhase1(withPhase1(withPhase1(static, "ike-version: 1"), "xauthtype: client"), "authusr: alice"), "authpasswd: wonderland")
	one, err := load(t, client)
	if err != nil {
		t.Fatal(err)
	}
	other, err := load(t, strings.Replace(client, "wonderland", "glass", 1))
	if err != nil {
		t.Fatal(err)
	}
	want(t, "the change of our own password", strings.Join(config.Diff(one, other).Lines(), "; "), "phase1 vpn1 changed: authpasswd")
	if one.Connections()[0].Hash == other.Connections()[0].Hash {
		t.Error("The connection with another password of ours has the same hash.")
	}
}

func TestMistakesOfVersion1(t *testing.T) {
	for _, m := range []struct{ old, new, want string }{
		{"    mode: aggressive", "    mode: quick", `phase1[0].mode: "quick" is not allowed; allowed: main, aggressive`},
		{"member: [bob, alice]", "member: [bob, alica]", "user-group[0].member: there is no user alica in user-local; did you mean alice?"},
		{"name: bob", "name: alice", "user-local[1].name: alice is taken by user-local[0] in line 2"},
		{"authusrgrp: clients", "authusrgrp: client", "phase1[0].authusrgrp: there is no user-group client; did you mean clients?"},
		{"    authusrgrp: clients\n", "", "phase1[0].authusrgrp: is missing: the user-group whose members are let in"},
		{"xauthtype: auto", "xauthtype: disable", "phase1[0].authusrgrp: is looked at only with xauthtype: auto"},
		{"mode-cfg: enable", "mode-cfg: disable", "phase1[0].ipv4-start-ip: is for servers: type: dynamic with mode-cfg: enable"},
		{"10.1.0.99", "10.0.0.99", "phase1[0].ipv4-end-ip: 10.0.0.99 is before ipv4-start-ip 10.1.0.1"},
		{"10.1.0.99", "2001:db8::1", "phase1[0].ipv4-end-ip: 2001:db8::1 is not an IPv4 address; mode config has no other ones"},
		{"10.9.0.0/16", "2001:db8::/32", `phase1[0].ipv4-split-include: "2001:db8::/32" is not an IPv4 subnet, such as 10.1.0.0/16`},
		{"    mode: aggressive", "    proposal: aes128gcm-prfsha256", "phase1[0].proposal: IKEv1 has no aes*gcm* and no chacha20poly1305 in phase 1; want one such as aes256-sha256"},
		{"ike-version: 1", "ike-version: 2", "phase1[0].mode: has a meaning only with ike-version: 1"},
	} {
		_, err := load(t, strings.Replace(version1, m.old, m.new, 1))
		if err == nil || !strings.Contains(err.Error(), m.want) {
			t.Errorf("With %q for %q the mistakes are\n\t%v\nwant among them\n\t%s", m.new, m.old, err, m.want)
		}
	}
}
