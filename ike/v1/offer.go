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

// What transforms say. An IKEv2 proposal with several algorithms of a type stands
// for many of them: IKEv1 names each combination.

const keyIKE = 1 // the transform of PROTO_ISAKMP (RFC 2407 section 4.4.2)

// Attributes of phase 1 (RFC 2409 appendix A).
const (
	p1Encryption   = 1
	p1Hash         = 2
	p1Method       = 3
	p1Group        = 4
	p1LifeType     = 11
	p1LifeDuration = 12
	p1KeyLength    = 14
)

// Attributes of phase 2 (RFC 2407 section 4.5, RFC 4304 section 3).
const (
	p2LifeType     = 1
	p2LifeDuration = 2
	p2Group        = 3
	p2Mode         = 4
	p2Auth         = 5
	p2KeyLength    = 6
	p2ESN          = 11
)

// Life types of both phases.
const (
	lifeSeconds   = 1
	lifeKilobytes = 2
)

// Authentication methods (RFC 2409 appendix A, XAUTH draft section 7.2).
const (
	methodPSK          = 1
	methodXAuthInitPSK = 65001 // the initiator proves himself to the responder
	methodXAuthRespPSK = 65002
)

// Encapsulation modes (RFC 2407 section 4.5, RFC 3947 section 5.1).
const (
	modeTunnel       = 1
	modeTransport    = 2
	modeUDPTunnel    = 3
	modeUDPTransport = 4
)

// numbers that differ from those of IKEv2.
type number struct{ ike, v1 uint16 }

// cipherNumbers are Encryption Algorithm values of phase 1 (RFC 2409 appendix A,
// RFC 3602 section 5.2). Those of ESP are the same in both versions.
func cipherNumbers() []number {
	return []number{{uint16(ipsec.Encr3DES), 5}, {uint16(ipsec.EncrAESCBC), 7}}
}

// hashNumbers are Hash Algorithm values of phase 1 (RFC 2409 appendix A, RFC 4868
// section 4).
func hashNumbers() []number {
	return []number{
		{uint16(ipsec.PRFHMACSHA1), 2},
		{uint16(ipsec.PRFHMACSHA2_256), 4},
		{uint16(ipsec.PRFHMACSHA2_384), 5},
		{uint16(ipsec.PRFHMACSHA2_512), 6},
	}
}

// authNumbers are Authentication Algorithm values of phase 2 (RFC 2407 section
// 4.5, RFC 4868 section 4).
func authNumbers() []number {
	return []number{
		{uint16(ipsec.AuthHMACSHA1_96), 2},
		{uint16(ipsec.AuthHMACSHA2_256_128), 5},
		{uint16(ipsec.AuthHMACSHA2_384_192), 6},
		{uint16(ipsec.AuthHMACSHA2_512_256), 7},
	}
}

func toV1(table []number, ike uint16) (uint16, bool) {
	for _, n := range table {
		if n.ike == ike {
			return n.v1, true
		}
	}
	return 0, false
}

func fromV1(table []number, v1 uint64) (uint16, bool) {
	for _, n := range table {
		if uint64(n.v1) == v1 {
			return n.ike, true
		}
	}
	return 0, false
}

// integrityOf is the integrity algorithm whose hash is that of a PRF: one hash
// serves for both in IKEv1.
func integrityOf(p ipsec.PRFID) ipsec.IntegrityID {
	switch p {
	case ipsec.PRFHMACSHA1:
		return ipsec.AuthHMACSHA1_96
	case ipsec.PRFHMACSHA2_256:
		return ipsec.AuthHMACSHA2_256_128
	case ipsec.PRFHMACSHA2_384:
		return ipsec.AuthHMACSHA2_384_192
	case ipsec.PRFHMACSHA2_512:
		return ipsec.AuthHMACSHA2_512_256
	default:
		return ipsec.AuthNone
	}
}

// suites are the combinations for phase 1 that proposals stand for, the preferred
// first. AEADs and a PRF of another hash than the integrity algorithm's have no
// place in IKEv1.
func suites(ps []ipsec.Proposal) []suite.Suite {
	var out []suite.Suite
	for _, p := range ps {
		for _, e := range p.OfType(ipsec.TypeEncryption) {
			if _, ok := toV1(cipherNumbers(), e.ID); !ok {
				continue
			}
			for _, f := range p.OfType(ipsec.TypePRF) {
				for _, g := range p.OfType(ipsec.TypeKE) {
					s := suite.Suite{
						Encryption: ipsec.EncryptionID(e.ID), KeyBits: e.KeyBits,
						PRF: ipsec.PRFID(f.ID), Integrity: integrityOf(ipsec.PRFID(f.ID)), Group: ipsec.GroupID(g.ID),
					}
					if names(p, ipsec.TypeIntegrity, uint16(s.Integrity)) && s.Validate() == nil && len(out) < maxTransforms {
						out = append(out, s)
					}
				}
			}
		}
	}
	return out
}

func names(p ipsec.Proposal, t ipsec.TransformType, id uint16) bool {
	for _, tr := range p.OfType(t) {
		if tr.ID == id {
			return true
		}
	}
	return false
}

// phase1Offer is the SA payload that offers suites.
func phase1Offer(all []suite.Suite, method uint16, life time.Duration) *wire.SA {
	p := wire.Proposal{Number: 1, Protocol: wire.ProtocolISAKMP}
	for i, s := range all {
		p.Transforms = append(p.Transforms, phase1Transform(uint8(i+1), s, method, life))
	}
	return &wire.SA{Proposals: []wire.Proposal{p}}
}

func phase1Transform(n uint8, s suite.Suite, method uint16, life time.Duration) wire.Transform {
	e, _ := toV1(cipherNumbers(), uint16(s.Encryption)) // suites has looked
	h, _ := toV1(hashNumbers(), uint16(s.PRF))
	t := wire.Transform{Number: n, ID: keyIKE, Attributes: []wire.Attribute{wire.Number(p1Encryption, uint32(e))}}
	if s.Encryption == ipsec.EncrAESCBC {
		t.Attributes = append(t.Attributes, wire.Number(p1KeyLength, uint32(s.KeyBits)))
	}
	t.Attributes = append(t.Attributes,
		wire.Number(p1Hash, uint32(h)), wire.Number(p1Group, uint32(s.Group)), wire.Number(p1Method, uint32(method)))
	if life > 0 {
		t.Attributes = append(t.Attributes,
			wire.Number(p1LifeType, lifeSeconds), wire.Number(p1LifeDuration, seconds(life)))
	}
	return t
}

// phase1Choice is what a transform of phase 1 says.
type phase1Choice struct {
	suite  suite.Suite
	method uint16
	life   time.Duration
}

// readPhase1 reads a transform of phase 1. It is false for one with an attribute
// or a value that we do not know.
func readPhase1(t wire.Transform) (phase1Choice, bool) {
	c := phase1Choice{}
	if t.ID != keyIKE {
		return c, false
	}
	life := lifeReader{}
	for _, a := range t.Attributes {
		v, ok := a.Uint()
		if !ok || v > 1<<16-1 && a.Type != p1LifeDuration {
			return c, false
		}
		var id uint16
		switch a.Type {
		case p1Encryption:
			id, ok = fromV1(cipherNumbers(), v)
			c.suite.Encryption = ipsec.EncryptionID(id)
		case p1Hash:
			id, ok = fromV1(hashNumbers(), v)
			c.suite.PRF = ipsec.PRFID(id)
			c.suite.Integrity = integrityOf(c.suite.PRF)
		case p1Method:
			c.method = uint16(v)
		case p1Group:
			c.suite.Group = ipsec.GroupID(v)
		case p1KeyLength:
			c.suite.KeyBits = uint16(v)
		case p1LifeType:
			ok = life.kind(v)
		case p1LifeDuration:
			ok = life.duration(v)
		default:
			ok = false
		}
		if !ok {
			return c, false
		}
	}
	c.life = life.time
	return c, c.suite.Validate() == nil
}

// lifeReader reads pairs of life type and duration.
type lifeReader struct {
	unit      uint64
	time      time.Duration
	kilobytes uint64
}

func (l *lifeReader) kind(v uint64) bool {
	l.unit = v
	return v == lifeSeconds || v == lifeKilobytes
}

func (l *lifeReader) duration(v uint64) bool {
	switch l.unit {
	case lifeSeconds:
		// More than a lifetime of the gateway is as good as that.
		l.time = time.Duration(min(v, 1<<32-1)) * time.Second
	case lifeKilobytes:
		l.kilobytes = min(v, 1<<50)
	default:
		return false
	}
	return true
}

// seconds is a lifetime as the wire has it: whole seconds, at least one.
func seconds(d time.Duration) uint32 {
	return uint32(min(max(d/time.Second, 1), 1<<32-1))
}

// choosePhase1 finds the first of our suites that an SA payload offers with the
// wanted method. It returns the proposal to answer with: the chosen transform as
// it was offered.
//
// "The initiator MUST verify that the Security Association payload received from
// the responder matches one of the proposals sent": so nothing of it may change
// (RFC 2408 section 4.2).
func choosePhase1(c *ike.Connection, offered *wire.SA, method uint16) (phase1Choice, wire.Proposal, bool) {
	for _, s := range suites(c.Proposals) {
		for _, p := range offered.Proposals {
			if p.Protocol != wire.ProtocolISAKMP {
				continue
			}
			for _, t := range p.Transforms {
				choice, ok := readPhase1(t)
				if ok && choice.suite == s && choice.method == method {
					return choice, wire.Proposal{Number: p.Number, Protocol: p.Protocol, SPI: p.SPI, Transforms: []wire.Transform{t}}, true
				}
			}
		}
	}
	return phase1Choice{}, wire.Proposal{}, false
}

// method is the authentication method of a phase 1 that we initiate, or that the
// peer does.
func method(c *ike.Connection, initiator bool) uint16 {
	switch client := c.V1.XAuth.As != nil; {
	case !usesXAuth(c):
		return methodPSK
	case client == initiator:
		return methodXAuthInitPSK
	default:
		return methodXAuthRespPSK
	}
}

func usesXAuth(c *ike.Connection) bool { return c.V1.XAuth.As != nil || len(c.V1.XAuth.Users) > 0 }

// offeredNames says for the operator what a peer offers in phase 1.
func offeredNames(sa *wire.SA) string {
	var out []string
	for _, p := range sa.Proposals {
		for _, t := range p.Transforms {
			if len(out) == 16 {
				return strings.Join(out, ", ") + " and more"
			}
			if c, ok := readPhase1(t); ok {
				out = append(out, fmt.Sprintf("%v (method %d)", c.suite, c.method))
			} else {
				out = append(out, "one that we do not know")
			}
		}
	}
	return strings.Join(out, ", ")
}

func acceptedNames(conns []*ike.Connection, initiator bool) string {
	var out []string
	for _, c := range conns {
		for _, s := range suites(c.Proposals) {
			out = append(out, fmt.Sprintf("%s: %v (method %d)", c.Name, s, method(c, initiator)))
		}
	}
	return strings.Join(out, ", ")
}
