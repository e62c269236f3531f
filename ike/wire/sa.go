package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
)

// Limits of one SA payload.
const (
	MaxProposals  = 64  // in a payload
	MaxTransforms = 512 // in all proposals of a payload
	MaxAttributes = 16  // of a transform, the key length apart
)

// keyLength is the only transform attribute that RFC 7296 section 3.3.5 knows.
const keyLength = 14

const (
	proposalLen    = 8      // of a proposal substructure, without SPI
	transformLen   = 8      // of a transform substructure, without attributes
	moreProposals  = 2      // Last Substruc of a proposal
	moreTransforms = 3      // Last Substruc of a transform
	formatTV       = 0x8000 // AF bit of an attribute: no length
)

// SA is the Security Association payload (RFC 7296 section 3.3). The decoder
// does not require the proposals to be numbered 1, 2, 3: it cannot know whether
// this is an offer or an answer.
type SA struct {
	Proposals []Proposal
}

// Proposal is one proposal substructure (RFC 7296 section 3.3.1).
type Proposal struct {
	Number     uint8
	Protocol   ProtocolID
	SPI        []byte // empty in IKE_SA_INIT, 8 octets for IKE, 4 for ESP and AH
	Transforms []Transform
}

// Transform is one transform substructure (RFC 7296 section 3.3.2).
type Transform struct {
	ipsec.Transform
	// Attributes are those that cannot be understood, a key length of zero or a
	// second one included. A transform with any is not acceptable: see Offer.
	Attributes []Attribute
}

// Attribute is one transform attribute (RFC 7296 section 3.3.5).
type Attribute struct {
	Type  uint16 // 15 bits
	Short bool   // the format without a length: Value has two octets
	Value []byte
}

// NewProposal makes the substructure that offers, or accepts, p. It keeps spi.
func NewProposal(number uint8, protocol ProtocolID, spi []byte, p ipsec.Proposal) Proposal {
	out := Proposal{Number: number, Protocol: protocol, SPI: spi, Transforms: make([]Transform, len(p.Transforms))}
	for i, t := range p.Transforms {
		out.Transforms[i].Transform = t
	}
	return out
}

// Offer returns what can be chosen from p: its transforms without those that
// have an unknown attribute. It is false when that leaves a transform type of
// the proposal empty, so that the whole proposal cannot be chosen.
//
// "[...] if the responder receives a transform that it does not understand, or
// one that contains a Transform Attribute it does not understand, it MUST
// consider this transform unacceptable; other transforms with the same
// Transform Type are processed as usual." RFC 7296 section 3.3.6.
func (p Proposal) Offer() (ipsec.Proposal, bool) {
	out := ipsec.Proposal{Transforms: make([]ipsec.Transform, 0, len(p.Transforms))}
	var offered, kept [256]bool
	for _, t := range p.Transforms {
		offered[t.Type] = true
		if len(t.Attributes) == 0 {
			kept[t.Type] = true
			out.Transforms = append(out.Transforms, t.Transform)
		}
	}
	return out, offered == kept
}

// ESPSPI is the SPI of an ESP or AH proposal; false when it has another length.
func (p Proposal) ESPSPI() (ipsec.SPI, bool) { return parseSPI(p.SPI) }

// IKESPI is the SPI of an IKE proposal that rekeys; false when it has another
// length.
func (p Proposal) IKESPI() (ipsec.IKESPI, bool) {
	if len(p.SPI) != 8 {
		return 0, false
	}
	return ipsec.IKESPI(binary.BigEndian.Uint64(p.SPI)), true
}

// SPIBytes encodes the SPI of an ESP or AH SA, for Proposal and Notify.
func SPIBytes(s ipsec.SPI) []byte { return binary.BigEndian.AppendUint32(nil, uint32(s)) }

// IKESPIBytes encodes the SPI of an IKE SA, for Proposal.
func IKESPIBytes(s ipsec.IKESPI) []byte { return binary.BigEndian.AppendUint64(nil, uint64(s)) }

func parseSPI(b []byte) (ipsec.SPI, bool) {
	if len(b) != 4 {
		return 0, false
	}
	return ipsec.SPI(binary.BigEndian.Uint32(b)), true
}

// PayloadType is PayloadSA.
func (*SA) PayloadType() PayloadType { return PayloadSA }

func (p *SA) decode(body []byte) error {
	transforms := 0
	for pos := 0; pos < len(body); {
		if len(p.Proposals) == MaxProposals {
			return fmt.Errorf("octet %d: more than %d proposals", pos, MaxProposals)
		}
		b, err := substructure(body[pos:], proposalLen, moreProposals)
		if err != nil {
			return fmt.Errorf("octet %d: proposal: %w", pos, err)
		}
		if transforms += int(b[7]); transforms > MaxTransforms {
			return fmt.Errorf("octet %d: more than %d transforms", pos, MaxTransforms)
		}
		var prop Proposal
		if err := prop.decode(b, pos); err != nil {
			return err
		}
		p.Proposals = append(p.Proposals, prop)
		pos += len(b)
	}
	if len(p.Proposals) == 0 {
		return errors.New("no proposal")
	}
	return nil
}

// substructure returns the proposal or transform at the start of b, at least
// fixed octets of it. more is what its first octet is when it is not the last
// one.
func substructure(b []byte, fixed int, more byte) ([]byte, error) {
	if err := wantOctets(b, fixed); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	if length < fixed || length > len(b) {
		return nil, fmt.Errorf("length %d with %d octets left", length, len(b))
	}
	want := more
	if length == len(b) {
		want = 0
	}
	if b[0] != want {
		return nil, fmt.Errorf("marker %d with %d octets behind it, want %d", b[0], len(b)-length, want)
	}
	return b[:length:length], nil
}

// decode reads the proposal b, which starts at octet pos of the body.
func (p *Proposal) decode(b []byte, pos int) error {
	spi, count := int(b[6]), int(b[7])
	if len(b) < proposalLen+spi {
		return fmt.Errorf("octet %d: SPI of %d octets with %d left", pos, spi, len(b)-proposalLen)
	}
	*p = Proposal{
		Number:   b[4],
		Protocol: ProtocolID(b[5]),
		SPI:      b[proposalLen : proposalLen+spi : proposalLen+spi],
	}
	// A transform takes transformLen octets at least, which bounds what a wrong
	// count can make us allocate.
	p.Transforms = make([]Transform, 0, min(count, len(b)/transformLen))
	for off := proposalLen + spi; off < len(b); {
		t, err := substructure(b[off:], transformLen, moreTransforms)
		if err != nil {
			return fmt.Errorf("octet %d: transform: %w", pos+off, err)
		}
		if len(p.Transforms) == count {
			return fmt.Errorf("octet %d: more than %d transforms", pos+off, count)
		}
		p.Transforms = append(p.Transforms, Transform{})
		if err := p.Transforms[len(p.Transforms)-1].decode(t, pos+off); err != nil {
			return err
		}
		off += len(t)
	}
	if len(p.Transforms) != count || count == 0 {
		return fmt.Errorf("octet %d: %d transforms, announced %d", pos, len(p.Transforms), count)
	}
	return nil
}

// decode reads the transform b, which starts at octet pos of the body.
func (t *Transform) decode(b []byte, pos int) error {
	t.Type = ipsec.TransformType(b[4])
	t.ID = binary.BigEndian.Uint16(b[6:])
	for off := transformLen; off < len(b); {
		rest := b[off:]
		if len(rest) < 4 {
			return fmt.Errorf("octet %d: %d octets of attribute, want at least 4", pos+off, len(rest))
		}
		kind, value := binary.BigEndian.Uint16(rest), rest[2:4:4]
		if kind&formatTV == 0 {
			n := int(binary.BigEndian.Uint16(value))
			if len(rest) < 4+n {
				return fmt.Errorf("octet %d: attribute of length %d with %d octets left", pos+off, n, len(rest)-4)
			}
			value = rest[4 : 4+n : 4+n]
			off += n
		}
		off += 4
		if err := t.add(Attribute{Type: kind &^ formatTV, Short: kind&formatTV != 0, Value: value}); err != nil {
			return fmt.Errorf("octet %d: %w", pos, err)
		}
	}
	return nil
}

// add takes in an attribute: the key length, or one that is not understood.
func (t *Transform) add(a Attribute) error {
	if a.Type == keyLength && a.Short && t.KeyBits == 0 {
		if bits := binary.BigEndian.Uint16(a.Value); bits != 0 {
			t.KeyBits = bits
			return nil
		}
	}
	if len(t.Attributes) == MaxAttributes {
		return fmt.Errorf("more than %d attributes", MaxAttributes)
	}
	t.Attributes = append(t.Attributes, a)
	return nil
}

func (p *SA) appendBody(dst []byte) ([]byte, error) {
	if len(p.Proposals) == 0 || len(p.Proposals) > MaxProposals {
		return nil, fmt.Errorf("%d proposals, want 1 to %d", len(p.Proposals), MaxProposals)
	}
	transforms := 0
	for i, prop := range p.Proposals {
		if transforms += len(prop.Transforms); transforms > MaxTransforms {
			return nil, fmt.Errorf("more than %d transforms", MaxTransforms)
		}
		start := len(dst)
		var err error
		if dst, err = prop.append(dst); err != nil {
			return nil, fmt.Errorf("proposal %d: %w", i+1, err)
		}
		if i < len(p.Proposals)-1 {
			dst[start] = moreProposals
		}
	}
	return dst, nil
}

// append encodes p as the last proposal.
func (p *Proposal) append(dst []byte) ([]byte, error) {
	if len(p.SPI) > 255 || len(p.Transforms) == 0 || len(p.Transforms) > 255 {
		return nil, fmt.Errorf("SPI of %d octets and %d transforms, want at most 255, and 1 to 255", len(p.SPI), len(p.Transforms))
	}
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, p.Number, byte(p.Protocol), byte(len(p.SPI)), byte(len(p.Transforms)))
	dst = append(dst, p.SPI...)
	for i, t := range p.Transforms {
		at := len(dst)
		var err error
		if dst, err = t.append(dst); err != nil {
			return nil, fmt.Errorf("transform %d: %w", i+1, err)
		}
		if i < len(p.Transforms)-1 {
			dst[at] = moreTransforms
		}
	}
	return dst, setPayloadLength(dst[start:])
}

// append encodes t as the last transform.
func (t *Transform) append(dst []byte) ([]byte, error) {
	if len(t.Attributes) > MaxAttributes {
		return nil, fmt.Errorf("%d attributes, want at most %d", len(t.Attributes), MaxAttributes)
	}
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, byte(t.Type), 0)
	dst = binary.BigEndian.AppendUint16(dst, t.ID)
	if t.KeyBits != 0 {
		dst = binary.BigEndian.AppendUint16(dst, formatTV|keyLength)
		dst = binary.BigEndian.AppendUint16(dst, t.KeyBits)
	}
	for _, a := range t.Attributes {
		switch {
		case a.Type > 0x7fff || a.Short && len(a.Value) != 2 || len(a.Value) > 1<<16-1:
			return nil, fmt.Errorf("attribute of type %d with %d octets", a.Type, len(a.Value))
		case a.Short:
			dst = binary.BigEndian.AppendUint16(dst, formatTV|a.Type)
		default:
			dst = binary.BigEndian.AppendUint16(dst, a.Type)
			dst = binary.BigEndian.AppendUint16(dst, uint16(len(a.Value)))
		}
		dst = append(dst, a.Value...)
	}
	return dst, setPayloadLength(dst[start:])
}
