package config

import (
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
)

// Phase1 is how to talk to a peer or a class of peers.
type Phase1 struct {
	Name string `json:"name"`
	// Dialup is type dynamic: peers come from anywhere.
	Dialup bool `json:"type"`
	// RemoteGW is the peer's address, of type static only.
	RemoteGW  netip.Addr `json:"remote-gw"`
	Interface string     `json:"interface"`
	LocalGW   netip.Addr `json:"local-gw"`
	IKE       int        `json:"ike-version"`

	// LocalID is who we say we are, empty for our address.
	LocalID     string     `json:"localid"`
	LocalIDType ike.IDType `json:"localid-type"`
	// PeerOne is peertype one: the peer must be PeerID.
	PeerOne  bool   `json:"peertype"`
	PeerID   string `json:"peerid"`
	UniqueID bool   `json:"enforce-unique-id"`

	// Proposals have no key exchange methods; Groups are they.
	Proposals []ipsec.Proposal `json:"proposal"`
	Groups    []ipsec.GroupID  `json:"dhgrp"`
	PSK       ipsec.Key        `json:"-"`
	KeyLife   time.Duration    `json:"keylife"`

	DPD         ike.DPDMode   `json:"dpd"`
	DPDInterval time.Duration `json:"dpd-retryinterval"`
	DPDRetries  int           `json:"dpd-retrycount"`

	NATTraversal ike.NATT      `json:"nattraversal"`
	Keepalive    time.Duration `json:"keepalive"`
	Fragment     bool          `json:"fragmentation"`
	// FragmentSize in octets of IP packet; 0 for what RFC 7383 recommends.
	FragmentSize int `json:"fragmentation-mtu"`

	// MessageIDSync allows RFC 6311.
	MessageIDSync bool `json:"message-id-sync"`

	NetDevice bool `json:"net-device"`
	// AddRoute nil means that the type decides.
	AddRoute      *bool `json:"add-route"`
	Priority      int   `json:"priority"`
	Passive       bool  `json:"passive-mode"`
	AutoNegotiate bool  `json:"auto-negotiate"`
	FGSPSync      bool  `json:"fgsp-sync"`

	Version1

	file section
}

func newPhase1() *Phase1 {
	return &Phase1{
		IKE:         2,
		LocalIDType: ike.IDText,
		Proposals:   defaultIKEProposals(),
		Groups:      defaultGroups(),
		KeyLife:     86400 * time.Second,
		DPD:         ike.DPDOnDemand, DPDInterval: 20 * time.Second, DPDRetries: 3,
		Keepalive:     10 * time.Second,
		Fragment:      true,
		MessageIDSync: true,
		AutoNegotiate: true,
	}
}

func phase1Fields(dir string) []field[Phase1] {
	out := []field[Phase1]{
		{"name", func(p *Phase1, v value) { v.name(&p.Name) }},
		{"type", func(p *Phase1, v value) {
			oneOf(v, &p.Dialup, choice[bool]{"dynamic", true}, choice[bool]{"static", false})
		}},
		{"remote-gw", func(p *Phase1, v value) { v.address(&p.RemoteGW) }},
		{"interface", func(p *Phase1, v value) { v.iface(&p.Interface) }},
		{"local-gw", func(p *Phase1, v value) { v.address(&p.LocalGW) }},
		{"ike-version", func(p *Phase1, v value) { oneOf(v, &p.IKE, choice[int]{"1", 1}, choice[int]{"2", 2}) }},
		{"localid", func(p *Phase1, v value) { v.text(&p.LocalID) }},
		{"localid-type", func(p *Phase1, v value) {
			oneOf(v, &p.LocalIDType,
				choice[ike.IDType]{"auto", ike.IDText}, choice[ike.IDType]{"fqdn", ike.IDFQDN},
				choice[ike.IDType]{"user-fqdn", ike.IDRFC822}, choice[ike.IDType]{"keyid", ike.IDKeyID},
				choice[ike.IDType]{"address", ike.IDIPv4}, choice[ike.IDType]{"asn1dn", ike.IDDERDN})
		}},
		{"peertype", func(p *Phase1, v value) {
			oneOf(v, &p.PeerOne, choice[bool]{"any", false}, choice[bool]{"one", true})
		}},
		{"peerid", func(p *Phase1, v value) { v.text(&p.PeerID) }},
		{"enforce-unique-id", func(p *Phase1, v value) {
			oneOf(v, &p.UniqueID, choice[bool]{"disable", false}, choice[bool]{"keep-new", true})
		}},
		{"proposal", func(p *Phase1, v value) { listOf(v, &p.Proposals, true, ipsec.ParseIKEProposal) }},
		{"dhgrp", func(p *Phase1, v value) { listOf(v, &p.Groups, true, parseGroup) }},
		{"psksecret", func(p *Phase1, v value) { v.secret(&p.PSK, dir, preSharedKey()) }},
		{"keylife", func(p *Phase1, v value) { v.seconds(&p.KeyLife, 120, 172800) }},
		{"dpd", func(p *Phase1, v value) {
			oneOf(v, &p.DPD,
				choice[ike.DPDMode]{"disable", ike.DPDOff}, choice[ike.DPDMode]{"on-idle", ike.DPDOnIdle},
				choice[ike.DPDMode]{"on-demand", ike.DPDOnDemand})
		}},
		{"dpd-retryinterval", func(p *Phase1, v value) { v.seconds(&p.DPDInterval, 1, 3600) }},
		{"dpd-retrycount", func(p *Phase1, v value) { number(v, &p.DPDRetries, 1, 10) }},
		{"nattraversal", func(p *Phase1, v value) {
			oneOf(v, &p.NATTraversal,
				choice[ike.NATT]{"enable", ike.NATTDetect}, choice[ike.NATT]{"disable", ike.NATTOff},
				choice[ike.NATT]{"forced", ike.NATTForced})
		}},
		{"keepalive", func(p *Phase1, v value) { v.seconds(&p.Keepalive, 10, 900) }},
		{"fragmentation", func(p *Phase1, v value) { v.enable(&p.Fragment) }},
		{"message-id-sync", func(p *Phase1, v value) { v.enable(&p.MessageIDSync) }},
		{"fragmentation-mtu", func(p *Phase1, v value) { number(v, &p.FragmentSize, 500, 16000) }},
		{"net-device", func(p *Phase1, v value) { v.enable(&p.NetDevice) }},
		{"add-route", func(p *Phase1, v value) {
			oneOf(v, &p.AddRoute, choice[*bool]{"enable", new(true)}, choice[*bool]{"disable", new(false)})
		}},
		{"priority", func(p *Phase1, v value) { number(v, &p.Priority, 1, 65535) }},
		{"passive-mode", func(p *Phase1, v value) { v.enable(&p.Passive) }},
		{"auto-negotiate", func(p *Phase1, v value) { v.enable(&p.AutoNegotiate) }},
		{"fgsp-sync", func(p *Phase1, v value) { v.enable(&p.FGSPSync) }},
	}
	return append(out, version1Fields(dir)...)
}

// iface sets the name of a network interface, which need not be there yet.
func (v value) iface(dst *string) {
	const longest = 15 // IFNAMSIZ with the final zero is 16
	var s string
	v.name(&s)
	if len(s) > longest {
		v.problem("%s is too long for an interface; it has at most %d octets", s, longest)
		return
	}
	*dst = s
}
