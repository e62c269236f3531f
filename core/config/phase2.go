package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// Phase2 is how to protect traffic over a phase 1.
type Phase2 struct {
	Name   string `json:"name"`
	Phase1 string `json:"phase1name"`

	Proposals []ipsec.Proposal `json:"proposal"`
	PFS       PFS              `json:"pfs"`
	// Groups for PFS; empty for those of phase 1.
	Groups []ipsec.GroupID `json:"dhgrp"`
	ESN    ESN             `json:"esn"`

	// Life and Kilobytes are how long an SA lives; LifeType says which counts.
	Life      time.Duration `json:"keylifeseconds"`
	Kilobytes uint64        `json:"keylifekbs"`
	LifeType  LifeType      `json:"keylife-type"`

	Replay       bool   `json:"replay"`
	ReplayWindow uint32 `json:"replay-window"`

	// Src and Dst are address ranges, ours and the peer's; empty for any.
	Src      []Range   `json:"src-subnet"`
	Dst      []Range   `json:"dst-subnet"`
	SrcPort  PortRange `json:"src-port"`
	DstPort  PortRange `json:"dst-port"`
	Protocol uint8     `json:"protocol"`

	Mode ipsec.Mode     `json:"encapsulation"`
	DF   ipsec.DFPolicy `json:"df-bit"`
	// DSCP of the outer header; negative copies the inner one.
	DSCP          int  `json:"dscp"`
	AutoNegotiate bool `json:"auto-negotiate"`

	file section
}

// PFS says whether a rekey has a key exchange of its own.
type PFS uint8

// The choices. The zero value is PFSRequired where groups are named for it, else
// PFSOptional.
const (
	PFSDefault  PFS = iota
	PFSOptional     // with it or without, as the peer likes
	PFSRequired
	PFSDisabled
)

// ESN says whether extended sequence numbers are used (RFC 4303 section 2.2.1).
type ESN uint8

// The choices. The zero value uses them with peers that can.
const (
	ESNPreferred ESN = iota
	ESNRequired
	ESNDisabled
)

// LifeType says what ends an SA.
type LifeType uint8

// The choices.
const (
	LifeSeconds LifeType = iota
	LifeKilobytes
	LifeBoth
)

// PortRange is a range of ports. The zero value is any.
type PortRange struct{ Min, Max uint16 }

func (r PortRange) any() bool { return r == PortRange{} }

func newPhase2() *Phase2 {
	return &Phase2{
		Proposals: defaultESPProposals(),
		Life:      43200 * time.Second,
		Kilobytes: 5120,
		Replay:    true, ReplayWindow: ipsec.DefaultReplayWindow,
		DSCP: -1,
	}
}

func phase2Fields() []field[Phase2] {
	return []field[Phase2]{
		{"name", func(p *Phase2, v value) { v.name(&p.Name) }},
		{"phase1name", func(p *Phase2, v value) { v.text(&p.Phase1) }},
		{"proposal", func(p *Phase2, v value) { listOf(v, &p.Proposals, true, ipsec.ParseESPProposal) }},
		{"pfs", func(p *Phase2, v value) {
			oneOf(v, &p.PFS,
				choice[PFS]{"enable", PFSRequired}, choice[PFS]{"disable", PFSDisabled},
				choice[PFS]{"optional", PFSOptional})
		}},
		{"dhgrp", func(p *Phase2, v value) { listOf(v, &p.Groups, true, parseGroup) }},
		{"esn", func(p *Phase2, v value) {
			oneOf(v, &p.ESN,
				choice[ESN]{"enable", ESNPreferred}, choice[ESN]{"disable", ESNDisabled},
				choice[ESN]{"require", ESNRequired})
		}},
		{"keylifeseconds", func(p *Phase2, v value) { v.seconds(&p.Life, 120, 172800) }},
		{"keylifekbs", func(p *Phase2, v value) { number(v, &p.Kilobytes, 5120, 1<<32-1) }},
		{"keylife-type", func(p *Phase2, v value) {
			oneOf(v, &p.LifeType,
				choice[LifeType]{"seconds", LifeSeconds}, choice[LifeType]{"kbs", LifeKilobytes},
				choice[LifeType]{"both", LifeBoth})
		}},
		{"replay", func(p *Phase2, v value) { v.enable(&p.Replay) }},
		{"replay-window", func(p *Phase2, v value) { number(v, &p.ReplayWindow, 64, ipsec.MaxReplayWindow) }},
		{"src-subnet", func(p *Phase2, v value) { listOf(v, &p.Src, false, ParseRange) }},
		{"dst-subnet", func(p *Phase2, v value) { listOf(v, &p.Dst, false, ParseRange) }},
		{"src-port", func(p *Phase2, v value) { v.ports(&p.SrcPort) }},
		{"dst-port", func(p *Phase2, v value) { v.ports(&p.DstPort) }},
		{"protocol", func(p *Phase2, v value) { number(v, &p.Protocol, 0, 255) }},
		{"encapsulation", func(p *Phase2, v value) {
			oneOf(v, &p.Mode,
				choice[ipsec.Mode]{"tunnel-mode", ipsec.Tunnel}, choice[ipsec.Mode]{"transport-mode", ipsec.Transport})
		}},
		{"df-bit", func(p *Phase2, v value) {
			oneOf(v, &p.DF,
				choice[ipsec.DFPolicy]{"copy", ipsec.DFCopy}, choice[ipsec.DFPolicy]{"set", ipsec.DFSet},
				choice[ipsec.DFPolicy]{"clear", ipsec.DFClear})
		}},
		{"dscp", func(p *Phase2, v value) { v.dscp(&p.DSCP) }},
		{"auto-negotiate", func(p *Phase2, v value) { v.enable(&p.AutoNegotiate) }},
	}
}

func (v value) dscp(dst *int) {
	s, ok := v.scalar()
	if !ok {
		return
	}
	if s == "copy" {
		*dst = -1
		return
	}
	n, err := strconv.ParseUint(s, 10, 6)
	if err != nil {
		v.problem("%q is not allowed; allowed: copy, 0-63", s)
		return
	}
	*dst = int(n)
}

// ports sets a port or a range of them; 0 is any.
func (v value) ports(dst *PortRange) {
	s, ok := v.scalar()
	if !ok {
		return
	}
	r, err := parsePorts(s)
	if err != nil {
		v.problem("%v", err)
		return
	}
	*dst = r
}

func parsePorts(s string) (PortRange, error) {
	first, last, ranged := strings.Cut(s, "-")
	low, err := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
	high := low
	if err == nil && ranged {
		high, err = strconv.ParseUint(strings.TrimSpace(last), 10, 16)
	}
	if err != nil || low > high {
		return PortRange{}, fmt.Errorf("%q is not a port; allowed: 0-65535, 0 for any, or a range such as 5000-5010", s)
	}
	return PortRange{uint16(low), uint16(high)}, nil
}
