package wire

import (
	"fmt"
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
)

// IDType is an Identification Type of RFC 2407 section 4.6.2.1.
type IDType uint8

// The types.
const (
	IDIPv4       IDType = 1
	IDFQDN       IDType = 2
	IDUserFQDN   IDType = 3
	IDIPv4Subnet IDType = 4
	IDIPv6       IDType = 5
	IDIPv6Subnet IDType = 6
	IDIPv4Range  IDType = 7
	IDIPv6Range  IDType = 8
	IDDERDN      IDType = 9
	IDDERGN      IDType = 10
	IDKeyID      IDType = 11
)

// SelectorID is a traffic selector as quick mode writes it (RFC 2409 section
// 5.5). It has no way to write a range of ports, nor ports that cannot be seen.
func SelectorID(s ipsec.TrafficSelector) (*ID, error) {
	id := &ID{Proto: s.Proto}
	switch {
	case s.AnyPort():
	case s.PortMin == s.PortMax && s.PortMin != 0:
		id.Port = s.PortMin
	default:
		return nil, fmt.Errorf("wire: IKEv1 cannot name the ports of %v", s)
	}
	single, subnet, ranged := IDIPv4, IDIPv4Subnet, IDIPv4Range
	if s.Is6() {
		single, subnet, ranged = IDIPv6, IDIPv6Subnet, IDIPv6Range
	}
	prefixes := s.Prefixes()
	switch {
	case s.Min == s.Max:
		id.Kind, id.Data = single, s.Min.AsSlice()
	case len(prefixes) == 1:
		id.Kind, id.Data = subnet, append(s.Min.AsSlice(), mask(prefixes[0])...)
	default:
		id.Kind, id.Data = ranged, append(s.Min.AsSlice(), s.Max.AsSlice()...)
	}
	return id, nil
}

// Selector is what an ID of quick mode selects. An error tells why it selects
// nothing that we know.
func (p *ID) Selector() (ipsec.TrafficSelector, error) {
	s := ipsec.TrafficSelector{Proto: p.Proto, PortMax: 65535}
	if p.Port != 0 {
		s.PortMin, s.PortMax = p.Port, p.Port
	}
	size, pair := 4, true
	switch p.Kind {
	case IDIPv4:
		pair = false
	case IDIPv6:
		size, pair = 16, false
	case IDIPv4Subnet, IDIPv4Range:
	case IDIPv6Subnet, IDIPv6Range:
		size = 16
	default:
		return s, fmt.Errorf("wire: an ID of type %d selects no traffic", p.Kind)
	}
	want := size
	if pair {
		want = 2 * size
	}
	if len(p.Data) != want {
		return s, fmt.Errorf("wire: an ID of type %d has %d octets, want %d", p.Kind, len(p.Data), want)
	}
	s.Min, _ = netip.AddrFromSlice(p.Data[:size])
	s.Max = s.Min
	switch {
	case !pair:
	case p.Kind == IDIPv4Range || p.Kind == IDIPv6Range:
		s.Max, _ = netip.AddrFromSlice(p.Data[size:])
	default:
		bits, ok := maskBits(p.Data[size:])
		if !ok {
			return s, fmt.Errorf("wire: an ID has the mask %x", p.Data[size:])
		}
		all := ipsec.SelectorOf(netip.PrefixFrom(s.Min, bits))
		s.Min, s.Max = all.Min, all.Max
	}
	return s, s.Validate()
}

func mask(p netip.Prefix) []byte {
	b := make([]byte, p.Addr().BitLen()/8)
	for i := range p.Bits() {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return b
}

// maskBits is the length of a mask; false for one with holes.
func maskBits(b []byte) (int, bool) {
	bits, open := 0, true
	for i := range 8 * len(b) {
		set := b[i/8]&(0x80>>(i%8)) != 0
		if set && !open {
			return 0, false
		}
		if open = set; set {
			bits++
		}
	}
	return bits, true
}
