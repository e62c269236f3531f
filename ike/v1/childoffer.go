package v1

import (
	"fmt"
	"strings"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/v1/wire"
)

// phase2Choice is what a transform of ESP says.
type phase2Choice struct {
	child suite.Child
	mode  ipsec.Mode
	udp   bool // encapsulation in UDP
	life  ipsec.Limits
}

// same tells whether two choices are the same SA. Lifetimes may differ.
func (c phase2Choice) same(o phase2Choice) bool {
	return c.child == o.child && c.mode == o.mode && c.udp == o.udp
}

// choices are the combinations that the proposals of a child stand for, the
// preferred first. A quick mode has one key exchange, so all are of one group:
// that of the first.
func choices(conf *ike.Child, udp bool) []phase2Choice {
	var out []phase2Choice
	for _, p := range conf.Proposals {
		for _, e := range p.OfType(ipsec.TypeEncryption) {
			for _, i := range orNone(p.OfType(ipsec.TypeIntegrity)) {
				for _, g := range orNone(p.OfType(ipsec.TypeKE)) {
					for _, n := range orNone(p.OfType(ipsec.TypeESN)) {
						c := phase2Choice{mode: conf.Mode, udp: udp, life: conf.Lifetime.Hard}
						c.child = suite.Child{
							Algorithms: ipsec.Algorithms{
								Encryption: ipsec.EncryptionID(e.ID), KeyBits: e.KeyBits,
								Integrity: ipsec.IntegrityID(i.ID), ESN: n.ID == ipsec.UseESN,
							},
							Group: ipsec.GroupID(g.ID),
						}
						if c.child.Encryption.AEAD() {
							c.child.Integrity = ipsec.AuthNone
						}
						if sound(c.child) && !contains(out, c) && len(out) < maxTransforms {
							out = append(out, c)
						}
					}
				}
			}
		}
	}
	return out
}

func contains(list []phase2Choice, c phase2Choice) bool {
	for _, o := range list {
		if o.same(c) {
			return true
		}
	}
	return false
}

// orNone is a list for which nothing stands for NONE.
func orNone(ts []ipsec.Transform) []ipsec.Transform {
	if len(ts) == 0 {
		return []ipsec.Transform{{}}
	}
	return ts
}

// sound tells whether c is complete.
func sound(c suite.Child) bool {
	p := ipsec.Proposal{Transforms: []ipsec.Transform{{Type: ipsec.TypeEncryption, ID: uint16(c.Encryption), KeyBits: c.KeyBits}}}
	if c.Integrity != ipsec.AuthNone {
		p.Transforms = append(p.Transforms, ipsec.Transform{Type: ipsec.TypeIntegrity, ID: uint16(c.Integrity)})
	}
	if c.Group != ipsec.GroupNone {
		p = p.WithGroups(c.Group)
	}
	_, err := suite.ChildFromProposal(p)
	return err == nil
}

// phase2Offer is the SA payload that offers a child. All transforms of an ESP
// algorithm are one proposal with one SPI.
func phase2Offer(all []phase2Choice, spi ipsec.SPI) *wire.SA {
	p := wire.Proposal{Number: 1, Protocol: wire.ProtocolESP, SPI: wire.SPIBytes(spi)}
	for i, c := range all {
		p.Transforms = append(p.Transforms, phase2Transform(uint8(i+1), c))
	}
	return &wire.SA{Proposals: []wire.Proposal{p}}
}

func phase2Transform(n uint8, c phase2Choice) wire.Transform {
	t := wire.Transform{Number: n, ID: uint8(c.child.Encryption)}
	add := func(kind uint16, v uint32) { t.Attributes = append(t.Attributes, wire.Number(kind, v)) }
	if c.child.KeyBits != 0 {
		add(p2KeyLength, uint32(c.child.KeyBits))
	}
	if auth, ok := toV1(authNumbers(), uint16(c.child.Integrity)); ok {
		add(p2Auth, uint32(auth))
	}
	mode := uint32(modeTunnel)
	if c.mode == ipsec.Transport {
		mode = modeTransport
	}
	if c.udp {
		mode += modeUDPTunnel - modeTunnel
	}
	add(p2Mode, mode)
	if c.child.Group != ipsec.GroupNone {
		add(p2Group, uint32(c.child.Group))
	}
	if c.child.ESN {
		add(p2ESN, 1)
	}
	t.Attributes = append(t.Attributes, lifeAttributes(c.life)...)
	return t
}

// lifeAttributes are the limits of a phase 2 SA.
func lifeAttributes(l ipsec.Limits) []wire.Attribute {
	var out []wire.Attribute
	if l.Time > 0 {
		out = append(out, wire.Number(p2LifeType, lifeSeconds), wire.Number(p2LifeDuration, seconds(l.Time)))
	}
	if l.Bytes > 0 {
		out = append(out, wire.Number(p2LifeType, lifeKilobytes), wire.Number(p2LifeDuration, uint32(min(max(l.Bytes/1024, 1), 1<<32-1))))
	}
	return out
}

// readLife reads what lifeAttributes writes.
func readLife(attributes []wire.Attribute) (ipsec.Limits, bool) {
	l := lifeReader{}
	for _, a := range attributes {
		v, ok := a.Uint()
		switch {
		case !ok:
		case a.Type == p2LifeType:
			ok = l.kind(v)
		case a.Type == p2LifeDuration:
			ok = l.duration(v)
		default:
			ok = false
		}
		if !ok {
			return ipsec.Limits{}, false
		}
	}
	return ipsec.Limits{Time: l.time, Bytes: l.kilobytes * 1024}, true
}

// readPhase2 reads a transform of ESP. It is false for one with an attribute or a
// value that we do not know.
func readPhase2(t wire.Transform) (phase2Choice, bool) {
	c := phase2Choice{}
	c.child.Encryption = ipsec.EncryptionID(t.ID)
	var life []wire.Attribute
	for _, a := range t.Attributes {
		if a.Type == p2LifeType || a.Type == p2LifeDuration {
			life = append(life, a)
			continue
		}
		v, ok := a.Uint()
		if !ok || v > 1<<16-1 || !c.read(a.Type, v) {
			return c, false
		}
	}
	var ok bool
	if c.life, ok = readLife(life); !ok {
		return c, false
	}
	// A key length that says what the algorithm has anyway says nothing.
	if _, err := ipsec.EncryptionKeyLen(c.child.Encryption, 0); err == nil {
		c.child.KeyBits = 0
	}
	return c, sound(c.child)
}

func (c *phase2Choice) read(kind uint16, v uint64) bool {
	ok := true
	switch kind {
	case p2KeyLength:
		c.child.KeyBits = uint16(v)
	case p2Auth:
		var id uint16
		id, ok = fromV1(authNumbers(), v)
		c.child.Integrity = ipsec.IntegrityID(id)
	case p2Group:
		c.child.Group = ipsec.GroupID(v)
	case p2ESN:
		c.child.ESN = true
		ok = v == 1
	case p2Mode:
		switch v {
		case modeTunnel:
		case modeTransport:
			c.mode = ipsec.Transport
		case modeUDPTunnel:
			c.udp = true
		case modeUDPTransport:
			c.mode, c.udp = ipsec.Transport, true
		default:
			ok = false
		}
	default:
		ok = false
	}
	return ok
}

// choosePhase2 finds the first of our choices that an SA payload offers for ESP
// alone, and the proposal to answer with. Proposals of one number are for a
// bundle of SAs, which we do not make (RFC 2408 section 4.2).
func choosePhase2(ours []phase2Choice, offered *wire.SA) (phase2Choice, wire.Proposal, bool) {
	numbers := make(map[uint8]int)
	for _, p := range offered.Proposals {
		numbers[p.Number]++
	}
	for _, our := range ours {
		for _, p := range offered.Proposals {
			if p.Protocol != wire.ProtocolESP || numbers[p.Number] > 1 {
				continue
			}
			for _, t := range p.Transforms {
				if c, ok := readPhase2(t); ok && c.same(our) {
					return c, wire.Proposal{Number: p.Number, Protocol: p.Protocol, SPI: p.SPI, Transforms: []wire.Transform{t}}, true
				}
			}
		}
	}
	return phase2Choice{}, wire.Proposal{}, false
}

// shorter is the shorter one of two limits; zero is no limit.
func shorter(a, b ipsec.Limits) ipsec.Limits {
	pick := func(a, b uint64) uint64 {
		if a == 0 || b != 0 && b < a {
			return b
		}
		return a
	}
	return ipsec.Limits{
		Time:    time.Duration(pick(uint64(a.Time), uint64(b.Time))),
		Bytes:   pick(a.Bytes, b.Bytes),
		Packets: pick(a.Packets, b.Packets),
	}
}

// choiceNames says for the operator what is offered or accepted.
func choiceNames(all []phase2Choice) string {
	var out []string
	for _, c := range all {
		s := c.child.Algorithms.String()
		if c.child.Group != ipsec.GroupNone {
			s += "/" + c.child.Group.String()
		}
		if c.udp {
			s += " in udp"
		}
		out = append(out, fmt.Sprintf("%s %v mode", s, c.mode))
	}
	return strings.Join(out, ", ")
}

// readAll reads all transforms of an SA payload that we understand.
func readAll(sa *wire.SA) []phase2Choice {
	var out []phase2Choice
	for _, p := range sa.Proposals {
		for _, t := range p.Transforms {
			if c, ok := readPhase2(t); ok && len(out) < 16 {
				out = append(out, c)
			}
		}
	}
	return out
}

// attributes are the data of a RESPONDER-LIFETIME notification.
func attributes(list ...wire.Attribute) []byte {
	b, err := wire.AppendAttributes(nil, list)
	if err != nil {
		panic(fmt.Sprintf("ike/v1: attributes of a lifetime have no encoding: %v", err))
	}
	return b
}

// readLifetime reads the limits of phase 2 in a RESPONDER-LIFETIME notification.
func readLifetime(n *wire.Notify) (ipsec.Limits, bool) {
	list, err := wire.ParseAttributes(n.Data)
	if err != nil {
		return ipsec.Limits{}, false
	}
	return readLife(list)
}
