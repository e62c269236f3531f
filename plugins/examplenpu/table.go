package examplenpu

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// table holds the installed SAs, and finds them in the ways in which they are
// asked for.
type table struct {
	all      map[ipsec.SAID]*sa
	bySPI    map[ipsec.SPI]*sa // inbound: an endpoint may move, so not by address
	byTunnel map[ipsec.TunnelID][]*sa
	policy   policy                   // outbound, but for links
	links    map[ipsec.MemberID][]*sa // outbound
}

func newTable() table {
	return table{
		all: make(map[ipsec.SAID]*sa), bySPI: make(map[ipsec.SPI]*sa), byTunnel: make(map[ipsec.TunnelID][]*sa),
		policy: newPolicy(), links: make(map[ipsec.MemberID][]*sa),
	}
}

func (t *table) add(s *sa) {
	t.all[s.ID] = s
	if s.Link == nil {
		t.byTunnel[s.Tunnel] = append(t.byTunnel[s.Tunnel], s)
	}
	switch {
	case s.Direction == ipsec.Inbound:
		t.bySPI[s.ID.SPI] = s
	case s.Link != nil:
		t.links[s.Link.Member] = append(t.links[s.Link.Member], s)
	default:
		t.policy.add(s)
	}
}

func (t *table) remove(s *sa) {
	delete(t.all, s.ID)
	if s.Link == nil {
		without(t.byTunnel, s.Tunnel, s)
	}
	switch {
	case s.Direction == ipsec.Inbound:
		delete(t.bySPI, s.ID.SPI)
	case s.Link != nil:
		without(t.links, s.Link.Member, s)
	default:
		t.policy.remove(s)
	}
}

// without takes s out of a list and leaves no empty list behind.
func without[K comparable](lists map[K][]*sa, key K, s *sa) {
	lists[key] = slices.DeleteFunc(lists[key], func(o *sa) bool { return o == s })
	if len(lists[key]) == 0 {
		delete(lists, key)
	}
}

// linkTo returns the outbound SA of the newest link to the owner of g, nil for
// none.
func (t *table) linkTo(g offload.Group) *sa {
	links := t.links[ipsec.MemberID(g)]
	if len(links) == 0 {
		return nil
	}
	return slices.MaxFunc(links, bySerial)
}

// inOrder returns all SAs in the order of their first installation.
func (t *table) inOrder() []*sa { return slices.SortedFunc(maps.Values(t.all), bySerial) }

func bySerial(a, b *sa) int { return cmp.Compare(a.serial, b.serial) }

// policy finds the outbound SA of a packet: the newest one of those with the
// longest prefix of remote addresses that select it. So a client's own SA goes
// before one for a whole network, and the replacement of a rekeying takes over
// at once.
type policy struct {
	byPrefix map[netip.Prefix][]*sa
	lengths  [2][129]int // prefixes of each length, IPv4 and IPv6
}

func newPolicy() policy { return policy{byPrefix: make(map[netip.Prefix][]*sa)} }

func (p *policy) add(s *sa) {
	for prefix := range prefixesOf(s) {
		p.byPrefix[prefix] = append(p.byPrefix[prefix], s)
		p.lengths[family(prefix.Addr())][prefix.Bits()]++
	}
}

func (p *policy) remove(s *sa) {
	for prefix := range prefixesOf(s) {
		without(p.byPrefix, prefix, s)
		p.lengths[family(prefix.Addr())][prefix.Bits()]--
	}
}

// prefixesOf returns those that the SA's remote selectors are made of, each once.
func prefixesOf(s *sa) map[netip.Prefix]bool {
	all := make(map[netip.Prefix]bool)
	for _, t := range s.Selectors.Remote {
		for _, prefix := range t.Prefixes() {
			all[prefix] = true
		}
	}
	return all
}

func family(a netip.Addr) int {
	if a.Is6() {
		return 1
	}
	return 0
}

// find returns the SA of an outbound packet, nil for none.
func (p *policy) find(f flow) *sa {
	for bits := f.dst.BitLen(); bits >= 0; bits-- {
		if p.lengths[family(f.dst)][bits] == 0 {
			continue
		}
		prefix, err := f.dst.Prefix(bits)
		if err != nil {
			return nil
		}
		var newest *sa
		for _, s := range p.byPrefix[prefix] {
			if (newest == nil || s.serial > newest.serial) && f.leavesBy(s.Selectors) {
				newest = s
			}
		}
		if newest != nil {
			return newest
		}
	}
	return nil
}
