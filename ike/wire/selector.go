package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
)

// MaxSelectors limits the traffic selectors of one payload.
const MaxSelectors = 128

// The types of traffic selectors (RFC 7296 section 3.13.1).
const (
	tsIPv4Range = 7
	tsIPv6Range = 8
)

const (
	selectorHeaderLen = 4 // type, protocol, length
	portsLen          = 4
	ipv4SelectorLen   = selectorHeaderLen + portsLen + 2*4 // the shortest known one
)

// TS is the body of both Traffic Selector payloads (RFC 7296 section 3.13).
type TS struct {
	Selectors []ipsec.TrafficSelector
	// Unknown are those of other types than IPv4 and IPv6 address ranges, in
	// their own order; they are encoded behind Selectors.
	Unknown []UnknownSelector
}

// UnknownSelector is a traffic selector of a type that this package does not
// know.
type UnknownSelector struct {
	Type  uint8
	Proto uint8 // the octet that is the IP protocol in the known types
	Body  []byte
}

// TSi is the Traffic Selector payload of the initiator's side.
type TSi struct{ TS }

// TSr is the Traffic Selector payload of the responder's side.
type TSr struct{ TS }

// PayloadType is PayloadTSi.
func (*TSi) PayloadType() PayloadType { return PayloadTSi }

// PayloadType is PayloadTSr.
func (*TSr) PayloadType() PayloadType { return PayloadTSr }

func (p *TS) decode(body []byte) error {
	if err := wantOctets(body, 4); err != nil {
		return err
	}
	count, pos := int(body[0]), 4
	if count < 1 || count > MaxSelectors {
		return fmt.Errorf("%d selectors, want 1 to %d", count, MaxSelectors)
	}
	p.Selectors = make([]ipsec.TrafficSelector, 0, min(count, len(body)/ipv4SelectorLen))
	for i := range count {
		rest := body[pos:]
		if len(rest) < selectorHeaderLen {
			return fmt.Errorf("octet %d: %d of %d selectors", pos, i, count)
		}
		length := int(binary.BigEndian.Uint16(rest[2:]))
		if length < selectorHeaderLen || length > len(rest) {
			return fmt.Errorf("octet %d: selector of length %d with %d octets left", pos, length, len(rest))
		}
		if err := p.add(rest[:length:length]); err != nil {
			return fmt.Errorf("octet %d: %w", pos, err)
		}
		pos += length
	}
	if pos != len(body) {
		return fmt.Errorf("octet %d: %d octets behind the last selector", pos, len(body)-pos)
	}
	return nil
}

// add reads one selector, b being as long as it says.
func (p *TS) add(b []byte) error {
	var size int
	switch b[0] {
	case tsIPv4Range:
		size = 4
	case tsIPv6Range:
		size = 16
	default:
		p.Unknown = append(p.Unknown, UnknownSelector{Type: b[0], Proto: b[1], Body: b[selectorHeaderLen:]})
		return nil
	}
	if want := selectorHeaderLen + portsLen + 2*size; len(b) != want {
		return fmt.Errorf("selector of type %d and length %d, want %d", b[0], len(b), want)
	}
	addrs := b[selectorHeaderLen+portsLen:]
	lowest, _ := netip.AddrFromSlice(addrs[:size])
	highest, _ := netip.AddrFromSlice(addrs[size:])
	s := ipsec.TrafficSelector{
		Proto:   b[1],
		PortMin: binary.BigEndian.Uint16(b[4:]),
		PortMax: binary.BigEndian.Uint16(b[6:]),
		Min:     lowest,
		Max:     highest,
	}
	if err := s.Validate(); err != nil {
		return err
	}
	p.Selectors = append(p.Selectors, s)
	return nil
}

func (p *TS) appendBody(dst []byte) ([]byte, error) {
	count := len(p.Selectors) + len(p.Unknown)
	if count < 1 || count > MaxSelectors {
		return nil, fmt.Errorf("%d selectors, want 1 to %d", count, MaxSelectors)
	}
	dst = append(dst, byte(count), 0, 0, 0)
	for _, s := range p.Selectors {
		if err := s.Validate(); err != nil {
			return nil, err
		}
		dst = appendSelector(dst, s)
	}
	for _, u := range p.Unknown {
		if u.Type == tsIPv4Range || u.Type == tsIPv6Range {
			return nil, fmt.Errorf("unknown selector of the known type %d", u.Type)
		}
		length := selectorHeaderLen + len(u.Body)
		if length > 1<<16-1 {
			return nil, fmt.Errorf("selector of %d octets", length)
		}
		dst = append(dst, u.Type, u.Proto)
		dst = binary.BigEndian.AppendUint16(dst, uint16(length))
		dst = append(dst, u.Body...)
	}
	return dst, nil
}

func appendSelector(dst []byte, s ipsec.TrafficSelector) []byte {
	kind, size := byte(tsIPv4Range), 4
	if s.Is6() {
		kind, size = tsIPv6Range, 16
	}
	dst = append(dst, kind, s.Proto)
	dst = binary.BigEndian.AppendUint16(dst, uint16(selectorHeaderLen+portsLen+2*size))
	dst = binary.BigEndian.AppendUint16(dst, s.PortMin)
	dst = binary.BigEndian.AppendUint16(dst, s.PortMax)
	dst = append(dst, s.Min.AsSlice()...)
	return append(dst, s.Max.AsSlice()...)
}
