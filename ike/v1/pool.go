package v1

import (
	"errors"
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
)

// Addresses hands out the internal addresses of mode config. Who owns the Demux
// owns it too.
type Addresses interface {
	// Assign returns the address of a tunnel: the one that it has, else wish when
	// that is valid and free, else any free one; false when there is none.
	Assign(t ipsec.TunnelID, c *ike.Connection, wish netip.Addr) (netip.Addr, bool)
	// Release frees the address of a tunnel. One without is no error.
	Release(t ipsec.TunnelID)
}

var errNoAddress = errors.New("ike/v1: no internal address")

// Pool is Addresses out of one prefix per connection. Members and shards that
// serve the same connection need prefixes of their own.
type Pool struct {
	prefixes map[string]netip.Prefix // by connection
	owner    map[netip.Addr]ipsec.TunnelID
	address  map[ipsec.TunnelID]netip.Addr
	next     map[string]netip.Addr // where the search goes on
}

// NewPool makes a Pool of prefixes by the names of their connections. The first
// and the last address of a prefix are not handed out.
func NewPool(prefixes map[string]netip.Prefix) *Pool {
	return &Pool{
		prefixes: prefixes,
		owner:    make(map[netip.Addr]ipsec.TunnelID),
		address:  make(map[ipsec.TunnelID]netip.Addr),
		next:     make(map[string]netip.Addr),
	}
}

// Assign is Addresses'.
func (p *Pool) Assign(t ipsec.TunnelID, c *ike.Connection, wish netip.Addr) (netip.Addr, bool) {
	if a, ok := p.address[t]; ok {
		return a, true
	}
	prefix, ok := p.prefixes[c.Name]
	if !ok {
		return netip.Addr{}, false
	}
	all := ipsec.SelectorOf(prefix)
	usable := func(a netip.Addr) bool {
		_, taken := p.owner[a]
		return prefix.Contains(a) && a != all.Min && a != all.Max && !taken
	}
	if usable(wish) {
		return p.give(t, wish), true
	}
	start := p.next[c.Name]
	if !prefix.Contains(start) {
		start = all.Min
	}
	for a, first := start, true; first || a != start; first = false {
		if usable(a) {
			p.next[c.Name] = a.Next()
			return p.give(t, a), true
		}
		if a = a.Next(); !prefix.Contains(a) {
			a = all.Min
		}
	}
	return netip.Addr{}, false
}

func (p *Pool) give(t ipsec.TunnelID, a netip.Addr) netip.Addr {
	p.owner[a], p.address[t] = t, a
	return a
}

// Release is Addresses'.
func (p *Pool) Release(t ipsec.TunnelID) {
	if a, ok := p.address[t]; ok {
		delete(p.address, t)
		delete(p.owner, a)
	}
}
