package ike

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/evergate/evergate/core/ipsec"
)

// Traffic selector negotiation, RFC 7296 section 2.9.

// narrow returns what two lists have in common, in the order of offered, without
// what other entries cover already. The specific selector of a packet, which an
// initiator puts first, stays where it is acceptable.
func narrow(have, offered []ipsec.TrafficSelector) []ipsec.TrafficSelector {
	var out []ipsec.TrafficSelector
	for _, o := range offered {
		for _, h := range have {
			if s, ok := h.Intersect(o); ok {
				out = addSelector(out, s)
			}
		}
	}
	return out
}

// addSelector appends s unless it is covered, or the list is full: a shorter
// list only narrows more.
func addSelector(list []ipsec.TrafficSelector, s ipsec.TrafficSelector) []ipsec.TrafficSelector {
	kept := list[:0:0]
	for _, l := range list {
		if l.Contains(s) {
			return list
		}
		if !s.Contains(l) {
			kept = append(kept, l)
		}
	}
	if len(kept) >= maxSelectors {
		return list
	}
	return append(kept, s)
}

// overlap is what both sides of two selectors have in common; false when one
// side has nothing.
func overlap(have, offered ipsec.Selectors) (ipsec.Selectors, bool) {
	s := ipsec.Selectors{Local: narrow(have.Local, offered.Local), Remote: narrow(have.Remote, offered.Remote)}
	return s, len(s.Local) > 0 && len(s.Remote) > 0
}

// hostPair narrows selectors to the two ends of the tunnel: all that transport
// mode can carry.
func hostPair(s ipsec.Selectors, local, remote netip.Addr) (ipsec.Selectors, bool) {
	return overlap(s, ipsec.Selectors{Local: []ipsec.TrafficSelector{hostSelector(local)}, Remote: []ipsec.TrafficSelector{hostSelector(remote)}})
}

func hostSelector(a netip.Addr) ipsec.TrafficSelector {
	a = a.Unmap()
	return ipsec.SelectorOf(netip.PrefixFrom(a, a.BitLen()))
}

// readdress puts an address into selectors of transport mode that name one host,
// because a NAT changed it on the way (RFC 7296 section 2.23.1).
func readdress(list []ipsec.TrafficSelector, a netip.Addr) []ipsec.TrafficSelector {
	out := make([]ipsec.TrafficSelector, len(list))
	for i, s := range list {
		if s.Min == s.Max && s.Min.Is4() == a.Unmap().Is4() {
			s.Min, s.Max = a.Unmap(), a.Unmap()
		}
		out[i] = s
	}
	return out
}

func selectorNames(s ipsec.Selectors) string {
	return fmt.Sprintf("local %s remote %s", selectorList(s.Local), selectorList(s.Remote))
}

func selectorList(list []ipsec.TrafficSelector) string {
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = s.String()
	}
	return strings.Join(names, ",")
}
