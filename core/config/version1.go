package config

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
)

// Version1 is what a phase 1 of ike-version 1 says besides.
type Version1 struct {
	Aggressive bool `json:"mode"`

	// XAuth says who asks whom for a user: the members of Group are let in, or we
	// are User.
	XAuth    XAuth     `json:"xauthtype"`
	Group    string    `json:"authusrgrp"`
	User     string    `json:"authusr"`
	Password ipsec.Key `json:"-"`

	// ModeConfig: a dialup server assigns addresses from StartIP to EndIP, others
	// take one. Push: the server does so unasked.
	ModeConfig bool           `json:"mode-cfg"`
	Push       bool           `json:"mode-cfg-method"`
	StartIP    netip.Addr     `json:"ipv4-start-ip"`
	EndIP      netip.Addr     `json:"ipv4-end-ip"`
	DNS        [3]netip.Addr  `json:"ipv4-dns-server"`
	Split      []netip.Prefix `json:"ipv4-split-include"`

	// MaxSeq has standbys' outbound SAs stand at the last sequence number.
	MaxSeq bool `json:"v1-maxseq"`
}

// XAuth is the part that we have in extended authentication.
type XAuth uint8

// The parts.
const (
	XAuthDisabled XAuth = iota
	XAuthServer
	XAuthClient
)

func version1Fields(dir string) []field[Phase1] {
	out := []field[Phase1]{
		{"mode", func(p *Phase1, v value) {
			oneOf(v, &p.Aggressive, choice[bool]{"main", false}, choice[bool]{"aggressive", true})
		}},
		{"xauthtype", func(p *Phase1, v value) {
			oneOf(v, &p.XAuth, choice[XAuth]{"disable", XAuthDisabled}, choice[XAuth]{"client", XAuthClient},
				choice[XAuth]{"auto", XAuthServer}, choice[XAuth]{"pap", XAuthServer})
		}},
		{"authusrgrp", func(p *Phase1, v value) { v.text(&p.Group) }},
		{"authusr", func(p *Phase1, v value) { v.text(&p.User) }},
		{"authpasswd", func(p *Phase1, v value) { v.secret(&p.Password, dir, userPassword()) }},
		{"mode-cfg", func(p *Phase1, v value) { v.enable(&p.ModeConfig) }},
		{"mode-cfg-method", func(p *Phase1, v value) {
			oneOf(v, &p.Push, choice[bool]{"pull", false}, choice[bool]{"push", true})
		}},
		{"ipv4-start-ip", func(p *Phase1, v value) { v.ipv4(&p.StartIP) }},
		{"ipv4-end-ip", func(p *Phase1, v value) { v.ipv4(&p.EndIP) }},
		{"ipv4-split-include", func(p *Phase1, v value) { listOf(v, &p.Split, false, parseIPv4Subnet) }},
		{"v1-maxseq", func(p *Phase1, v value) { v.enable(&p.MaxSeq) }},
	}
	for i := range (Version1{}).DNS {
		out = append(out, field[Phase1]{fmt.Sprintf("ipv4-dns-server%d", i+1), func(p *Phase1, v value) { v.ipv4(&p.DNS[i]) }})
	}
	return out
}

// ipv4 sets an IPv4 address.
func (v value) ipv4(dst *netip.Addr) {
	var a netip.Addr
	v.address(&a)
	switch {
	case a.Is4():
		*dst = a
	case a.IsValid():
		v.problem("%v is not an IPv4 address; mode config has no other ones", a)
	}
}

func parseIPv4Subnet(s string) (netip.Prefix, error) {
	r, err := ParseRange(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	all := ipsec.TrafficSelector{PortMax: 65535, Min: r.Min, Max: r.Max}.Prefixes()
	if len(all) != 1 || !r.Min.Is4() {
		return netip.Prefix{}, fmt.Errorf("%q is not an IPv4 subnet, such as 10.1.0.0/16", s)
	}
	return all[0], nil
}

// ikev1 is p for ike, nil for IKEv2. users are those of its group.
func (p *Phase1) ikev1(users []ike.User) *ike.IKEv1 {
	if p.IKE != 1 {
		return nil
	}
	v := &ike.IKEv1{Aggressive: p.Aggressive}
	switch p.XAuth {
	case XAuthServer:
		v.XAuth.Users = users
	case XAuthClient:
		v.XAuth.As = &ike.User{Name: p.User, Password: p.Password}
	case XAuthDisabled:
	}
	switch {
	case !p.ModeConfig:
	case p.Dialup:
		v.Config = ike.ModeConfig{Role: ike.ModeConfigServer, Push: p.Push, First: p.StartIP, Last: p.EndIP, Subnets: p.Split}
		for _, a := range p.DNS {
			if a.IsValid() {
				v.Config.DNS = append(v.Config.DNS, a)
			}
		}
	default:
		v.Config = ike.ModeConfig{Role: ike.ModeConfigClient, Push: p.Push}
	}
	return v
}

// version1 looks at what only IKEv1 has.
func (k checker) version1(p *Phase1) {
	if p.IKE != 1 {
		for _, f := range version1Fields("") {
			if p.file.has(f.key) {
				k.at(p.file, f.key, "has a meaning only with ike-version: 1")
			}
		}
		return
	}
	if !slices.ContainsFunc(p.Proposals, func(prop ipsec.Proposal) bool { return len(prop.OfType(ipsec.TypeIntegrity)) > 0 }) {
		k.at(p.file, "proposal", "IKEv1 has no aes*gcm* and no chacha20poly1305 in phase 1; want one such as aes256-sha256")
	}
	if p.MaxSeq && !k.c.syncs(p) {
		k.warn(p.file, "v1-maxseq", "has no effect without other members that hold the tunnels")
	}
	k.xauth(p)
	k.modeConfig(p)
}

func (k checker) xauth(p *Phase1) {
	server, client := p.XAuth == XAuthServer, p.XAuth == XAuthClient
	k.lacks(p.file, "authusrgrp", server && p.Group == "", "the user-group whose members are let in")
	k.lacks(p.file, "authusr", client && p.User == "", "who we are for the peer")
	k.lacks(p.file, "authpasswd", client && p.Password.Len() == 0, "the password of authusr")
	switch {
	case p.Group != "" && !server:
		k.at(p.file, "authusrgrp", "is looked at only with xauthtype: auto")
	case p.Group != "" && k.c.group(p.Group) == nil:
		known := make([]string, 0, len(k.c.Groups))
		for _, g := range k.c.Groups {
			known = append(known, g.Name)
		}
		k.at(p.file, "authusrgrp", "there is no user-group %s%s", p.Group, suggest(p.Group, known, "there are"))
	case (p.User != "" || p.Password.Len() > 0) && !client:
		k.at(p.file, "authusr", "is used only with xauthtype: client")
	case client && p.Dialup:
		k.at(p.file, "xauthtype", "clients of a dialup server are asked for a user, not the server; allowed: disable, auto, pap")
	}
}

func (k checker) modeConfig(p *Phase1) {
	server := p.ModeConfig && p.Dialup
	k.lacks(p.file, "ipv4-start-ip", server && !p.StartIP.IsValid(), "the first address that clients are assigned")
	k.lacks(p.file, "ipv4-end-ip", server && !p.EndIP.IsValid(), "the last address that clients are assigned")
	if !server {
		for _, key := range []string{"ipv4-start-ip", "ipv4-end-ip", "ipv4-dns-server1", "ipv4-dns-server2", "ipv4-dns-server3", "ipv4-split-include"} {
			if p.file.has(key) {
				k.at(p.file, key, "is for servers: type: dynamic with mode-cfg: enable")
			}
		}
	}
	if !p.StartIP.IsValid() || !p.EndIP.IsValid() {
		return
	}
	if p.EndIP.Less(p.StartIP) {
		k.at(p.file, "ipv4-end-ip", "%v is before ipv4-start-ip %v", p.EndIP, p.StartIP)
		return
	}
	first, last := p.StartIP.As4(), p.EndIP.As4()
	if (k.c.Cluster != nil || k.c.Unit() != nil) && last[0] == first[0] && last[1] == first[1] && last[2] == first[2] && last[3]-first[3] < ipsec.MaxMembers-1 {
		k.at(p.file, "ipv4-end-ip", "members of a group divide the addresses: each assigns every %dth, so there must be %d at least", ipsec.MaxMembers, ipsec.MaxMembers)
	}
}
