package softesp

import (
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/gaissmai/bart"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/plugins/softesp/packet"
)

// The tables are read by the packet path and written by control calls, one at a
// time. A writer never changes what a reader may see: it publishes a new version
// of the part that changes.

// inboundShards is how many parts the table of inbound SAs has, by the low bits
// of the SPI, which are random. A change copies one of them.
const inboundShards = 1 << 12

// inboundTable finds inbound SAs by SPI and local address.
type inboundTable struct {
	shards [inboundShards]atomic.Pointer[[]inboundEntry]
}

type inboundEntry struct {
	spi ipsec.SPI
	sa  *association
}

func (t *inboundTable) shard(spi ipsec.SPI) *atomic.Pointer[[]inboundEntry] {
	return &t.shards[spi%inboundShards]
}

// find returns the SA, nil for none. The address is compared with where the SA's
// packets arrive now: its name keeps the first one.
func (t *inboundTable) find(spi ipsec.SPI, local netip.Addr) *association {
	entries := t.shard(spi).Load()
	if entries == nil {
		return nil
	}
	for _, e := range *entries {
		if e.spi == spi && e.sa.path.Load().local == local {
			return e.sa
		}
	}
	return nil
}

// replace puts a in the place of old; either may be nil.
func (t *inboundTable) replace(old, a *association) {
	at := a
	if at == nil {
		at = old
	}
	p := t.shard(at.ID.SPI)
	var next []inboundEntry
	if now := p.Load(); now != nil {
		next = slices.DeleteFunc(slices.Clone(*now), func(e inboundEntry) bool { return e.sa == old })
	}
	if a != nil {
		next = append(next, inboundEntry{spi: a.ID.SPI, sa: a})
	}
	p.Store(&next)
}

// policyTable finds the outbound SA of a packet: the longest prefix of the remote
// selectors that has a matching SA, and there the newest one.
type policyTable struct {
	root atomic.Pointer[bart.Table[*candidates]]
	// staged are the lists that commit puts into the place of those of root, nil
	// for none. Writers only know of it.
	staged *bart.Table[*candidates]
}

// candidates are the outbound SAs with one remote prefix, newest first.
type candidates struct {
	bits int
	sas  []*association
}

func newPolicyTable() *policyTable {
	t := new(policyTable)
	t.root.Store(new(bart.Table[*candidates]))
	return t
}

// find returns the SA for a packet, nil for none.
func (t *policyTable) find(h *packet.Header) *association {
	root := t.root.Load()
	c, ok := root.Lookup(h.Dst)
	for ok {
		for _, a := range c.sas {
			if a.selectsOut(h) {
				return a
			}
		}
		if c.bits == 0 {
			return nil
		}
		c, ok = root.LookupPrefix(netip.PrefixFrom(h.Dst, c.bits-1))
	}
	return nil
}

// stage makes a new SA known with the next commit. A version for many costs little
// more than one for each.
func (t *policyTable) stage(a *association) {
	if t.staged == nil {
		t.staged = new(bart.Table[*candidates])
	}
	root := t.root.Load()
	for _, p := range remotePrefixes(a) {
		t.staged.Modify(p, func(c *candidates, ok bool) (*candidates, bool) {
			if !ok {
				c, _ = root.Get(p)
			}
			return c.with(p.Bits(), a), false
		})
	}
}

// commit publishes what is staged.
func (t *policyTable) commit() {
	if t.staged != nil {
		t.root.Store(t.root.Load().UnionPersist(t.staged))
		t.staged = nil
	}
}

// replace puts a in the place of old; either may be nil.
func (t *policyTable) replace(old, a *association) {
	t.commit()
	root := t.root.Load()
	if old != nil {
		for _, p := range remotePrefixes(old) {
			root = root.ModifyPersist(p, func(c *candidates, _ bool) (*candidates, bool) {
				return c.without(old)
			})
		}
	}
	if a != nil {
		for _, p := range remotePrefixes(a) {
			root = root.ModifyPersist(p, func(c *candidates, _ bool) (*candidates, bool) {
				return c.with(p.Bits(), a), false
			})
		}
	}
	t.root.Store(root)
}

// remotePrefixes are the prefixes under which an SA is found, each once.
func remotePrefixes(a *association) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range a.Selectors.Remote {
		for _, p := range s.Prefixes() {
			if !slices.Contains(ps, p) {
				ps = append(ps, p)
			}
		}
	}
	return ps
}

// with returns a new list that has a in its place.
func (c *candidates) with(bits int, a *association) *candidates {
	next := &candidates{bits: bits}
	if c != nil {
		next.sas = slices.Clone(c.sas)
	}
	at, _ := slices.BinarySearchFunc(next.sas, a, func(x, y *association) int {
		switch {
		case x.serial > y.serial:
			return -1
		case x.serial < y.serial:
			return 1
		default:
			return 0
		}
	})
	next.sas = slices.Insert(next.sas, at, a)
	return next
}

// without returns a new list that lacks a, and whether nothing is left.
func (c *candidates) without(a *association) (*candidates, bool) {
	if c == nil {
		return nil, true
	}
	next := &candidates{bits: c.bits}
	for _, x := range c.sas {
		if x != a {
			next.sas = append(next.sas, x)
		}
	}
	return next, len(next.sas) == 0
}
