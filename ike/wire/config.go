package wire

import (
	"encoding/binary"
	"fmt"
)

// MaxConfigAttributes limits the attributes of one CP payload.
const MaxConfigAttributes = 256

// CFGType is the kind of a Configuration payload (RFC 7296 section 3.15).
type CFGType uint8

// The kinds.
const (
	CFGRequest CFGType = 1
	CFGReply   CFGType = 2
	CFGSet     CFGType = 3
	CFGAck     CFGType = 4
)

// CP is the Configuration payload (RFC 7296 section 3.15).
type CP struct {
	Type       CFGType
	Attributes []ConfigAttribute
}

// ConfigAttribute is one attribute of a Configuration payload, uninterpreted.
type ConfigAttribute struct {
	Type  uint16 // IANA's "IKEv2 Configuration Payload Attribute Types", 15 bits
	Value []byte
}

// PayloadType is PayloadCP.
func (*CP) PayloadType() PayloadType { return PayloadCP }

func (p *CP) decode(body []byte) error {
	if err := wantOctets(body, 4); err != nil {
		return err
	}
	p.Type = CFGType(body[0])
	for pos := 4; pos < len(body); {
		rest := body[pos:]
		if len(rest) < 4 {
			return fmt.Errorf("octet %d: %d octets of attribute, want at least 4", pos, len(rest))
		}
		length := 4 + int(binary.BigEndian.Uint16(rest[2:]))
		if length > len(rest) {
			return fmt.Errorf("octet %d: attribute of length %d with %d octets left", pos, length-4, len(rest)-4)
		}
		if len(p.Attributes) == MaxConfigAttributes {
			return fmt.Errorf("octet %d: more than %d attributes", pos, MaxConfigAttributes)
		}
		p.Attributes = append(p.Attributes, ConfigAttribute{
			Type:  binary.BigEndian.Uint16(rest) & 0x7fff,
			Value: rest[4:length:length],
		})
		pos += length
	}
	return nil
}

func (p *CP) appendBody(dst []byte) ([]byte, error) {
	if len(p.Attributes) > MaxConfigAttributes {
		return nil, fmt.Errorf("%d attributes, want at most %d", len(p.Attributes), MaxConfigAttributes)
	}
	dst = append(dst, byte(p.Type), 0, 0, 0)
	for _, a := range p.Attributes {
		if a.Type > 0x7fff || len(a.Value) > 1<<16-1 {
			return nil, fmt.Errorf("attribute of type %d with %d octets", a.Type, len(a.Value))
		}
		dst = binary.BigEndian.AppendUint16(dst, a.Type)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(a.Value)))
		dst = append(dst, a.Value...)
	}
	return dst, nil
}
