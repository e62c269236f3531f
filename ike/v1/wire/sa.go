package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Limits of one SA payload.
const (
	MaxProposals  = 32  // in a payload
	MaxTransforms = 255 // in all proposals of a payload
	MaxAttributes = 32  // of a transform, and of a Config payload
)

const (
	doiIPsec              = 1 // RFC 2407 section 4.2
	situationIdentityOnly = 1 // RFC 2407 section 4.2.1
	proposalLen           = 8 // of a proposal payload, without SPI
	transformLen          = 8 // of a transform payload, without attributes
	moreProposals         = 2 // Next Payload of a proposal
	moreTransforms        = 3 // Next Payload of a transform
	formatTV              = 0x8000
)

// Protocol is a Protocol-ID of RFC 2407 section 4.4.1.
type Protocol uint8

// The protocols.
const (
	ProtocolISAKMP Protocol = 1
	ProtocolAH     Protocol = 2
	ProtocolESP    Protocol = 3
)

// String is the RFC's name.
func (p Protocol) String() string {
	switch p {
	case ProtocolISAKMP:
		return "ISAKMP"
	case ProtocolAH:
		return "AH"
	case ProtocolESP:
		return "ESP"
	default:
		return fmt.Sprintf("protocol(%d)", uint8(p))
	}
}

// SA is the Security Association payload (RFC 2408 section 3.4) of the IPsec DOI
// with SIT_IDENTITY_ONLY.
type SA struct {
	Proposals []Proposal
	// Raw is the body as it was received: HASH_I and HASH_R cover the
	// initiator's, octet by octet (RFC 2409 section 5). Encoding ignores it.
	Raw []byte
}

// Proposal is one proposal payload (RFC 2408 section 3.5). Those of one number
// are for one bundle.
type Proposal struct {
	Number     uint8
	Protocol   Protocol
	SPI        []byte
	Transforms []Transform
}

// Transform is one transform payload (RFC 2408 section 3.6).
type Transform struct {
	Number     uint8
	ID         uint8
	Attributes []Attribute
}

// Attribute is a data attribute (RFC 2408 section 3.3): 15 bits of type, and a
// value of two octets in the short format.
type Attribute struct {
	Type  uint16
	Short bool
	Value []byte
}

// Number makes an attribute of a number, short where it fits.
func Number(t uint16, v uint32) Attribute {
	if v < 1<<16 {
		return Attribute{Type: t, Short: true, Value: binary.BigEndian.AppendUint16(nil, uint16(v))}
	}
	return Attribute{Type: t, Value: binary.BigEndian.AppendUint32(nil, v)}
}

// Uint is the value as a number; false for one of more than eight octets.
func (a Attribute) Uint() (uint64, bool) {
	if len(a.Value) > 8 {
		return 0, false
	}
	var v uint64
	for _, b := range a.Value {
		v = v<<8 | uint64(b)
	}
	return v, true
}

// Type is PayloadSA.
func (*SA) Type() PayloadType { return PayloadSA }

func (p *SA) appendBody(dst []byte) ([]byte, error) {
	if len(p.Proposals) == 0 || len(p.Proposals) > MaxProposals {
		return nil, fmt.Errorf("%d proposals, want 1 to %d", len(p.Proposals), MaxProposals)
	}
	dst = binary.BigEndian.AppendUint32(dst, doiIPsec)
	dst = binary.BigEndian.AppendUint32(dst, situationIdentityOnly)
	all := 0
	for i, proposal := range p.Proposals {
		more := byte(moreProposals)
		if i == len(p.Proposals)-1 {
			more = 0
		}
		all += len(proposal.Transforms)
		var err error
		if dst, err = proposal.append(dst, more); err != nil {
			return nil, fmt.Errorf("proposal %d: %w", proposal.Number, err)
		}
	}
	if all > MaxTransforms {
		return nil, fmt.Errorf("%d transforms, want at most %d", all, MaxTransforms)
	}
	return dst, nil
}

func (p Proposal) append(dst []byte, more byte) ([]byte, error) {
	if len(p.Transforms) == 0 || len(p.Transforms) > 255 || len(p.SPI) > 255 {
		return nil, fmt.Errorf("%d transforms and an SPI of %d octets", len(p.Transforms), len(p.SPI))
	}
	start := len(dst)
	dst = append(dst, more, 0, 0, 0, p.Number, byte(p.Protocol), byte(len(p.SPI)), byte(len(p.Transforms)))
	dst = append(dst, p.SPI...)
	for i, t := range p.Transforms {
		at := len(dst)
		dst = append(dst, moreTransforms, 0, 0, 0, t.Number, t.ID, 0, 0)
		if i == len(p.Transforms)-1 {
			dst[at] = 0
		}
		var err error
		if dst, err = appendAttributes(dst, t.Attributes); err != nil {
			return nil, err
		}
		if err := putLength(dst[at:]); err != nil {
			return nil, err
		}
	}
	return dst, putLength(dst[start:])
}

// AppendAttributes encodes attributes by themselves: the data of a
// RESPONDER-LIFETIME notification (RFC 2407 section 4.6.3.1).
func AppendAttributes(dst []byte, attributes []Attribute) ([]byte, error) {
	return appendAttributes(dst, attributes)
}

// ParseAttributes reads what AppendAttributes writes.
func ParseAttributes(b []byte) ([]Attribute, error) { return decodeAttributes(b) }

func appendAttributes(dst []byte, attributes []Attribute) ([]byte, error) {
	if len(attributes) > MaxAttributes {
		return nil, fmt.Errorf("%d attributes, want at most %d", len(attributes), MaxAttributes)
	}
	for _, a := range attributes {
		switch {
		case a.Type >= formatTV || a.Short && len(a.Value) != 2 || len(a.Value) > 1<<16-1:
			return nil, fmt.Errorf("attribute %d of %d octets has no encoding", a.Type, len(a.Value))
		case a.Short:
			dst = binary.BigEndian.AppendUint16(dst, a.Type|formatTV)
		default:
			dst = binary.BigEndian.AppendUint16(dst, a.Type)
			dst = binary.BigEndian.AppendUint16(dst, uint16(len(a.Value)))
		}
		dst = append(dst, a.Value...)
	}
	return dst, nil
}

func (p *SA) decode(b []byte) error {
	p.Raw = b
	if len(b) < 8 {
		return fmt.Errorf("%d octets, want at least 8", len(b))
	}
	if doi := binary.BigEndian.Uint32(b); doi != doiIPsec {
		return notifyError{DOINotSupported, fmt.Sprintf("domain of interpretation %d, want %d", doi, doiIPsec)}
	}
	if sit := binary.BigEndian.Uint32(b[4:]); sit != situationIdentityOnly {
		return notifyError{SituationNotSupported, fmt.Sprintf("situation %#x, want %d", sit, situationIdentityOnly)}
	}
	all := 0
	for b = b[8:]; ; {
		if len(p.Proposals) == MaxProposals {
			return fmt.Errorf("more than %d proposals", MaxProposals)
		}
		body, more, rest, err := substructure(b, proposalLen, moreProposals)
		if err != nil {
			return fmt.Errorf("proposal %d: %w", len(p.Proposals)+1, err)
		}
		proposal, err := decodeProposal(body)
		if err != nil {
			return fmt.Errorf("proposal %d: %w", len(p.Proposals)+1, err)
		}
		if all += len(proposal.Transforms); all > MaxTransforms {
			return fmt.Errorf("more than %d transforms", MaxTransforms)
		}
		p.Proposals = append(p.Proposals, proposal)
		if b = rest; !more {
			break
		}
	}
	if len(b) > 0 {
		return fmt.Errorf("%d octets behind the last proposal", len(b))
	}
	return nil
}

// substructure takes a proposal or transform of at least least octets off b, and
// tells whether it announces another one.
func substructure(b []byte, least int, another byte) (body []byte, more bool, rest []byte, err error) {
	if len(b) < least {
		return nil, false, nil, fmt.Errorf("%d octets left, want at least %d", len(b), least)
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case n < least || n > len(b):
		return nil, false, nil, fmt.Errorf("length %d with %d octets left", n, len(b))
	case b[0] != 0 && b[0] != another:
		return nil, false, nil, fmt.Errorf("announces a payload of type %d", b[0])
	}
	return b[:n:n], b[0] != 0, b[n:], nil
}

func decodeProposal(b []byte) (Proposal, error) {
	p := Proposal{Number: b[4], Protocol: Protocol(b[5])}
	spi, count := int(b[6]), int(b[7])
	b = b[proposalLen:]
	if len(b) < spi || count == 0 {
		return p, fmt.Errorf("SPI of %d octets with %d left, %d transforms", spi, len(b), count)
	}
	p.SPI, b = b[:spi:spi], b[spi:]
	for i := range count {
		body, more, rest, err := substructure(b, transformLen, moreTransforms)
		if err != nil {
			return p, fmt.Errorf("transform %d: %w", i+1, err)
		}
		if more != (i < count-1) {
			return p, fmt.Errorf("transform %d of %d announces another: %t", i+1, count, more)
		}
		t := Transform{Number: body[4], ID: body[5]}
		if t.Attributes, err = decodeAttributes(body[transformLen:]); err != nil {
			return p, fmt.Errorf("transform %d: %w", i+1, err)
		}
		p.Transforms = append(p.Transforms, t)
		b = rest
	}
	if len(b) > 0 {
		return p, fmt.Errorf("%d octets behind the last transform", len(b))
	}
	return p, nil
}

func decodeAttributes(b []byte) ([]Attribute, error) {
	var out []Attribute
	for len(b) > 0 {
		if len(out) == MaxAttributes {
			return nil, fmt.Errorf("more than %d attributes", MaxAttributes)
		}
		if len(b) < 4 {
			return nil, errors.New("attribute cut short")
		}
		a := Attribute{Type: binary.BigEndian.Uint16(b)}
		if a.Type&formatTV != 0 {
			a.Type, a.Short, a.Value, b = a.Type&^formatTV, true, b[2:4:4], b[4:]
		} else {
			n := int(binary.BigEndian.Uint16(b[2:]))
			if len(b) < 4+n {
				return nil, fmt.Errorf("attribute %d of %d octets with %d left", a.Type, n, len(b)-4)
			}
			a.Value, b = b[4:4+n:4+n], b[4+n:]
		}
		out = append(out, a)
	}
	return out, nil
}
