package ipsec

import (
	"fmt"
	"net/netip"
)

// TrafficSelector is a range of addresses, ports and protocols (RFC 7296
// section 3.13.1). For ICMP and ICMPv6 the ports hold type and code, type in
// the upper octet (RFC 4301 section 4.4.1.1).
//
// PortMin 65535 with PortMax 0 is OPAQUE: fragments and protocols without
// ports. The zero value is invalid and selects nothing; AnySelector makes the
// widest ones.
type TrafficSelector struct {
	Proto            uint8 // IP protocol, 0 for any
	PortMin, PortMax uint16
	Min, Max         netip.Addr // one family, Min <= Max
}

// AnySelector covers all traffic of one family.
func AnySelector(ipv6 bool) TrafficSelector {
	if ipv6 {
		return SelectorOf(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	}
	return SelectorOf(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
}

// SelectorOf covers all protocols and ports of a prefix; of an invalid prefix
// it is the zero value.
func SelectorOf(p netip.Prefix) TrafficSelector {
	if !p.IsValid() {
		return TrafficSelector{}
	}
	return TrafficSelector{PortMax: 65535, Min: p.Masked().Addr(), Max: lastAddr(p)}
}

// Validate tells what is wrong with t, if anything.
func (t TrafficSelector) Validate() error {
	switch {
	case !t.Min.IsValid() || !t.Max.IsValid():
		return fmt.Errorf("ipsec: traffic selector without addresses")
	case t.Min.Zone() != "" || t.Max.Zone() != "":
		return fmt.Errorf("ipsec: traffic selector %v-%v has a zone, which no packet carries", t.Min, t.Max)
	case t.Min.Is4() != t.Max.Is4():
		return fmt.Errorf("ipsec: traffic selector %v-%v mixes address families", t.Min, t.Max)
	case t.Max.Less(t.Min):
		return fmt.Errorf("ipsec: traffic selector %v-%v ends before it starts", t.Min, t.Max)
	case t.PortMin > t.PortMax && !t.Opaque():
		return fmt.Errorf("ipsec: traffic selector port range %d-%d ends before it starts", t.PortMin, t.PortMax)
	}
	return nil
}

// Opaque tells whether t is for packets whose ports cannot be seen.
func (t TrafficSelector) Opaque() bool { return t.PortMin == 65535 && t.PortMax == 0 }

// Is6 tells whether t selects IPv6.
func (t TrafficSelector) Is6() bool { return t.Min.Is6() }

// AnyPort tells whether t covers all ports, opaque ones included.
func (t TrafficSelector) AnyPort() bool { return t.PortMin == 0 && t.PortMax == 65535 }

// Intersect returns what t and o have in common; false means nothing.
func (t TrafficSelector) Intersect(o TrafficSelector) (TrafficSelector, bool) {
	if !t.Min.IsValid() || t.Min.Is4() != o.Min.Is4() {
		return TrafficSelector{}, false
	}
	r := TrafficSelector{Proto: t.Proto, Min: maxAddr(t.Min, o.Min), Max: minAddr(t.Max, o.Max)}
	switch {
	case t.Proto == 0:
		r.Proto = o.Proto
	case o.Proto != 0 && o.Proto != t.Proto:
		return TrafficSelector{}, false
	}
	if r.Max.Less(r.Min) {
		return TrafficSelector{}, false
	}
	switch {
	case t.AnyPort():
		r.PortMin, r.PortMax = o.PortMin, o.PortMax
	case o.AnyPort():
		r.PortMin, r.PortMax = t.PortMin, t.PortMax
	case t.Opaque() || o.Opaque():
		if t.Opaque() != o.Opaque() {
			return TrafficSelector{}, false
		}
		r.PortMin, r.PortMax = t.PortMin, t.PortMax
	default:
		r.PortMin, r.PortMax = max(t.PortMin, o.PortMin), min(t.PortMax, o.PortMax)
		if r.PortMin > r.PortMax {
			return TrafficSelector{}, false
		}
	}
	return r, true
}

// Contains tells whether all that o selects is selected by t.
func (t TrafficSelector) Contains(o TrafficSelector) bool {
	r, ok := t.Intersect(o)
	return ok && r == o
}

// ContainsPacket tells whether t selects a packet with this address, protocol
// and port on the selector's side. hasPort is false for fragments and for
// protocols without ports; those match only where all ports or OPAQUE are
// selected.
func (t TrafficSelector) ContainsPacket(a netip.Addr, proto uint8, port uint16, hasPort bool) bool {
	if !a.IsValid() || a.Is4() != t.Min.Is4() || a.Less(t.Min) || t.Max.Less(a) {
		return false
	}
	if t.Proto != 0 && t.Proto != proto {
		return false
	}
	if t.AnyPort() {
		return true
	}
	if !hasPort {
		return t.Opaque()
	}
	return t.PortMin <= port && port <= t.PortMax
}

// Prefixes returns the fewest prefixes that cover exactly the address range.
func (t TrafficSelector) Prefixes() []netip.Prefix {
	var out []netip.Prefix
	for a := t.Min; a.IsValid() && !t.Max.Less(a); {
		p := widestFrom(a, t.Max)
		out = append(out, p)
		a = lastAddr(p).Next()
	}
	return out
}

// String formats t as FortiOS does: "0:10.10.1.0-10.10.1.255:0", that is
// protocol, addresses and ports, with 0 for any.
func (t TrafficSelector) String() string {
	switch {
	case t.AnyPort():
		return fmt.Sprintf("%d:%v-%v:0", t.Proto, t.Min, t.Max)
	case t.Opaque():
		return fmt.Sprintf("%d:%v-%v:opaque", t.Proto, t.Min, t.Max)
	case t.PortMin == t.PortMax:
		return fmt.Sprintf("%d:%v-%v:%d", t.Proto, t.Min, t.Max, t.PortMin)
	default:
		return fmt.Sprintf("%d:%v-%v:%d-%d", t.Proto, t.Min, t.Max, t.PortMin, t.PortMax)
	}
}

// Selectors are those of an SA pair: traffic between any of Local and any of
// Remote belongs to it (RFC 7296 section 2.9). Local is our side.
type Selectors struct {
	Local, Remote []TrafficSelector
}

// Contains tells whether every pair that o selects is selected by s. It looks
// for each selector of o in one of s: one that only two of s together cover
// counts as not contained.
func (s Selectors) Contains(o Selectors) bool {
	return listContains(s.Local, o.Local) && listContains(s.Remote, o.Remote)
}

func listContains(have, want []TrafficSelector) bool {
	for _, w := range want {
		found := false
		for _, h := range have {
			found = found || h.Contains(w)
		}
		if !found {
			return false
		}
	}
	return true
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func widestFrom(a, last netip.Addr) netip.Prefix {
	bits := a.BitLen()
	for bits > 0 {
		p := netip.PrefixFrom(a, bits-1)
		if p.Masked().Addr() != a || last.Less(lastAddr(p)) {
			break
		}
		bits--
	}
	return netip.PrefixFrom(a, bits)
}

func maxAddr(a, b netip.Addr) netip.Addr {
	if a.Less(b) {
		return b
	}
	return a
}

func minAddr(a, b netip.Addr) netip.Addr {
	if b.Less(a) {
		return b
	}
	return a
}
