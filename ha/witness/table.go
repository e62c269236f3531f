package witness

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// maxPrefixes bounds the table: what clients ask for ends in the routers'
// memory, too.
const maxPrefixes = 1 << 18

// role is what this member is for a prefix.
type role uint8

const (
	none role = iota
	standby
	owner   // of a tunnel to it
	gateway // it is an address of our own
)

// table is what this member would announce were it fit. The zero table is
// empty.
type table struct {
	gateways map[netip.Prefix]bool
	tunnels  map[string]holding
	// prefixes counts the tunnels to each prefix, because a client that dials in
	// again has its new tunnel before it loses the old one.
	prefixes map[netip.Prefix]claims
	// reserved are addresses that no client may have announced, beside the
	// gateways.
	reserved map[netip.Addr]bool
	// changed are the prefixes whose role may have changed since take.
	changed map[netip.Prefix]bool
}

type holding struct {
	role     role
	prefixes []netip.Prefix
	// refused were asked for, too; they are refused once, however often the rest
	// changes.
	refused []netip.Prefix
}

type claims struct{ owners, standbys int }

// newTable returns a table of the gateways.
func newTable(c Config) *table {
	t := &table{
		gateways: make(map[netip.Prefix]bool),
		tunnels:  make(map[string]holding),
		prefixes: make(map[netip.Prefix]claims),
		reserved: make(map[netip.Addr]bool),
		changed:  make(map[netip.Prefix]bool),
	}
	t.setGateways(c.Gateways)
	for _, n := range c.BGP.Neighbors {
		t.reserved[n.Address] = true
		t.reserved[n.Source] = true
	}
	t.reserved[c.BGP.NextHop4] = true
	t.reserved[c.BGP.NextHop6] = true
	return t
}

// setGateways replaces the addresses that are announced by every fit member.
func (t *table) setGateways(addrs []netip.Addr) {
	clear(t.gateways)
	for _, a := range addrs {
		a = a.Unmap()
		t.gateways[netip.PrefixFrom(a, a.BitLen())] = true
	}
}

// hold replaces what a tunnel holds. It returns what it refused of that and did
// not refuse before, and why; the other prefixes count.
func (t *table) hold(tunnel string, r role, prefixes []netip.Prefix) (refused []error) {
	before := t.tunnels[tunnel]
	now := holding{role: r}
	refuse := func(p netip.Prefix, why error) {
		if !slices.Contains(now.refused, p) && !slices.Contains(before.refused, p) {
			refused = append(refused, why)
		}
		now.refused = append(now.refused, p)
	}
	seen := make(map[netip.Prefix]bool, len(prefixes))
	for _, p := range prefixes {
		p, err := t.admit(p)
		if err != nil {
			refuse(p, err)
			continue
		}
		if !seen[p] {
			seen[p] = true
			now.prefixes = append(now.prefixes, p)
		}
	}
	// The new claims come first: a prefix in both never drops to no claim.
	now.prefixes = slices.DeleteFunc(now.prefixes, func(p netip.Prefix) bool {
		if _, known := t.prefixes[p]; !known && len(t.prefixes) >= maxPrefixes {
			refuse(p, fmt.Errorf("%v: the table is full with %d prefixes", p, maxPrefixes))
			return true
		}
		t.count(p, r, 1)
		return false
	})
	for _, p := range before.prefixes {
		t.count(p, before.role, -1)
	}
	if len(now.prefixes)+len(now.refused) > 0 {
		t.tunnels[tunnel] = now
	} else {
		delete(t.tunnels, tunnel)
	}
	return refused
}

func (t *table) count(p netip.Prefix, r role, n int) {
	c := t.prefixes[p]
	if r == owner {
		c.owners += n
	} else {
		c.standbys += n
	}
	if c == (claims{}) {
		delete(t.prefixes, p)
	} else {
		t.prefixes[p] = c
	}
	t.changed[p] = true
}

// admit returns p in its canonical form, or why a client's tunnel must not
// attract that traffic to us.
func (t *table) admit(p netip.Prefix) (netip.Prefix, error) {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	p = p.Masked()
	switch a := p.Addr(); {
	case !p.IsValid():
		return p, fmt.Errorf("%v is no prefix", p)
	case p.Bits() == 0:
		return p, fmt.Errorf("%v is a default route", p)
	case a.IsMulticast(), a.IsLoopback(), a.IsLinkLocalUnicast(), a.IsUnspecified():
		return p, fmt.Errorf("%v is not for unicast between networks", p)
	case t.gateways[p], p.IsSingleIP() && t.reserved[a]:
		return p, fmt.Errorf("%v is an address of the gateways or their routers", p)
	}
	return p, nil
}

// role returns what this member is for p.
func (t *table) role(p netip.Prefix) role {
	c := t.prefixes[p]
	switch {
	case t.gateways[p]:
		return gateway
	case c.owners > 0:
		return owner
	case c.standbys > 0:
		return standby
	}
	return none
}

// all returns every prefix of the table, in no order.
func (t *table) all() []netip.Prefix {
	return slices.AppendSeq(slices.Collect(maps.Keys(t.gateways)), maps.Keys(t.prefixes))
}

// take returns the prefixes that have changed since the last take.
func (t *table) take() []netip.Prefix {
	changed := slices.Collect(maps.Keys(t.changed))
	clear(t.changed)
	return changed
}
