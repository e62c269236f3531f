package config

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/evergate/evergate/core/ipsec"
)

// Range is a range of addresses of one family, both ends included.
type Range struct{ Min, Max netip.Addr }

// ParseRange reads a subnet in one of the forms that FortiOS and people use:
// 10.1.0.0/16, 10.1.2.3, 10.1.0.0 255.255.0.0, 10.1.0.1-10.1.0.9, 2001:db8::/32.
func ParseRange(s string) (Range, error) {
	if first, last, ok := strings.Cut(s, "-"); ok {
		return addressRange(s, strings.TrimSpace(first), strings.TrimSpace(last))
	}
	text := s
	if fields := strings.Fields(s); len(fields) == 2 {
		mask := net.IPMask(net.ParseIP(fields[1]).To4())
		bits, size := mask.Size()
		if size == 0 {
			return Range{}, fmt.Errorf("%q: %s is not a network mask", s, fields[1])
		}
		text = fmt.Sprintf("%s/%d", fields[0], bits)
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return Range{a.Unmap(), a.Unmap()}, nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return Range{}, fmt.Errorf("%q is not a subnet; allowed: 10.1.0.0/16, 10.1.0.0 255.255.0.0, 10.1.0.1-10.1.0.9, 2001:db8::/32, or a single address", s)
	}
	if p != p.Masked() {
		return Range{}, fmt.Errorf("%v has bits set behind its prefix length; did you mean %v, or the single address %v?", p, p.Masked(), p.Addr())
	}
	t := ipsec.SelectorOf(p)
	return Range{t.Min, t.Max}, nil
}

func addressRange(s, first, last string) (Range, error) {
	low, err := netip.ParseAddr(first)
	high, err2 := netip.ParseAddr(last)
	switch {
	case err != nil || err2 != nil || low.Zone() != "" || high.Zone() != "":
		return Range{}, fmt.Errorf("%q is not a range; want two addresses, such as 10.1.0.1-10.1.0.9", s)
	case low.Is4() != high.Is4():
		return Range{}, fmt.Errorf("%q mixes address families", s)
	case high.Less(low):
		return Range{}, fmt.Errorf("%q ends before it starts", s)
	default:
		return Range{low, high}, nil
	}
}

// anyRange is all addresses of a family.
func anyRange(ipv6 bool) Range {
	t := ipsec.AnySelector(ipv6)
	return Range{t.Min, t.Max}
}

// selectors are what p protects. A side that the configuration leaves out is any
// address of the families of the other side, and of IPv4 where both are left out.
func (p *Phase2) selectors() ipsec.Selectors {
	src, dst := p.Src, p.Dst
	if len(src) == 0 && len(dst) == 0 {
		src = []Range{anyRange(false)}
	}
	if len(src) == 0 {
		src = anyLike(dst)
	}
	if len(dst) == 0 {
		dst = anyLike(src)
	}
	return ipsec.Selectors{
		Local:  selectorsOf(src, p.SrcPort, p.Protocol),
		Remote: selectorsOf(dst, p.DstPort, p.Protocol),
	}
}

func anyLike(other []Range) []Range {
	var out []Range
	for _, v6 := range []bool{false, true} {
		if hasFamily(other, v6) {
			out = append(out, anyRange(v6))
		}
	}
	return out
}

func hasFamily(rs []Range, v6 bool) bool {
	for _, r := range rs {
		if r.Min.Is6() == v6 {
			return true
		}
	}
	return false
}

func selectorsOf(rs []Range, ports PortRange, proto uint8) []ipsec.TrafficSelector {
	if ports.any() {
		ports.Max = 65535
	}
	out := make([]ipsec.TrafficSelector, len(rs))
	for i, r := range rs {
		out[i] = ipsec.TrafficSelector{Proto: proto, PortMin: ports.Min, PortMax: ports.Max, Min: r.Min, Max: r.Max}
	}
	return out
}
