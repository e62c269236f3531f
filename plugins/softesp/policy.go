package softesp

import (
	"cmp"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/gaissmai/bart"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/plugins/softesp/packet"
)

// policyTable finds the outbound SA of a packet: the longest prefix of the remote
// selectors that has a matching SA, and there the newest one.
type policyTable struct {
	root atomic.Pointer[bart.Table[*candidates]]
	// staged are the candidates that commit puts into the place of those of root,
	// nil for none. Writers only know of it.
	staged *bart.Table[*candidates]
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
		if a := c.find(h); a != nil || c.bits == 0 {
			return a
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
	for _, p := range prefixes(a.Selectors.Remote) {
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
		for _, c := range t.staged.All() {
			c.commit()
		}
		t.root.Store(t.root.Load().UnionPersist(t.staged))
		t.staged = nil
	}
}

// replace puts a in the place of old; either may be nil.
func (t *policyTable) replace(old, a *association) {
	t.commit()
	root := t.root.Load()
	if old != nil {
		for _, p := range prefixes(old.Selectors.Remote) {
			root = root.ModifyPersist(p, func(c *candidates, _ bool) (*candidates, bool) {
				return c.without(old)
			})
		}
	}
	if a != nil {
		for _, p := range prefixes(a.Selectors.Remote) {
			root = root.ModifyPersist(p, func(c *candidates, _ bool) (*candidates, bool) {
				next := c.with(p.Bits(), a)
				next.commit()
				return next, false
			})
		}
	}
	t.root.Store(root)
}

// prefixes are those under which selectors are found, each once.
func prefixes(ts []ipsec.TrafficSelector) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range ts {
		for _, p := range s.Prefixes() {
			if !slices.Contains(ps, p) {
				ps = append(ps, p)
			}
		}
	}
	return ps
}

// candidates are the outbound SAs with one remote prefix. It does not change.
type candidates struct {
	newestFirst
	// byLocal has them by their local prefixes when they are many: the tunnels of
	// many networks to the same one. The list is empty then.
	byLocal *bart.Table[*newestFirst]
	// staged are the lists that commit puts into the place of those of byLocal, nil for
	// none. Until then the candidates are known to nobody.
	staged *bart.Table[*newestFirst]
	count  int
}

// fewCandidates is up to how many SAs a list is faster than a table.
const fewCandidates = 8

// find returns the newest SA that is for a packet, nil for none.
func (c *candidates) find(h *packet.Header) *association {
	if c.byLocal == nil {
		return c.newestFirst.find(h, 0)
	}
	var newest *association
	l, ok := c.byLocal.Lookup(h.Src)
	for ok {
		serial := uint64(0)
		if newest != nil {
			serial = newest.serial
		}
		if a := l.find(h, serial); a != nil {
			newest = a
		}
		if l.bits == 0 {
			break
		}
		l, ok = c.byLocal.LookupPrefix(netip.PrefixFrom(h.Src, l.bits-1))
	}
	return newest
}

// with returns candidates that have a, too, once they are committed.
func (c *candidates) with(bits int, a *association) *candidates {
	if c == nil {
		c = &candidates{newestFirst: newestFirst{bits: bits}}
	}
	next := &candidates{newestFirst: newestFirst{bits: bits}, byLocal: c.byLocal, staged: c.staged, count: c.count + 1}
	if next.count <= fewCandidates && c.byLocal == nil {
		next.sas = c.newestFirst.with(a).sas
		return next
	}
	if next.staged == nil {
		next.staged = new(bart.Table[*newestFirst])
	}
	for _, x := range c.sas { // one too many for a list
		next.stage(x)
	}
	next.stage(a)
	return next
}

// stage puts a into byLocal with the next commit.
func (c *candidates) stage(a *association) {
	for _, p := range prefixes(a.Selectors.Local) {
		c.staged.Modify(p, func(l *newestFirst, ok bool) (*newestFirst, bool) {
			if !ok && c.byLocal != nil {
				l, _ = c.byLocal.Get(p)
			}
			if l == nil {
				l = &newestFirst{bits: p.Bits()}
			}
			return l.with(a), false
		})
	}
}

// commit makes a version of byLocal with what is staged.
func (c *candidates) commit() {
	switch {
	case c.staged == nil:
		return
	case c.byLocal == nil:
		c.byLocal = c.staged
	default:
		c.byLocal = c.byLocal.UnionPersist(c.staged)
	}
	c.staged = nil
}

// without returns candidates that lack a, and whether nothing is left.
func (c *candidates) without(a *association) (*candidates, bool) {
	if c == nil {
		return nil, true
	}
	next := &candidates{newestFirst: *c.newestFirst.without(a), byLocal: c.byLocal, count: c.count - 1}
	if c.byLocal != nil {
		for _, p := range prefixes(a.Selectors.Local) {
			next.byLocal = next.byLocal.ModifyPersist(p, func(l *newestFirst, _ bool) (*newestFirst, bool) {
				if l == nil {
					return nil, true
				}
				l = l.without(a)
				return l, len(l.sas) == 0
			})
		}
	}
	return next, next.count == 0
}

// newestFirst are SAs with a prefix of that many bits in common, newest first. It
// does not change.
type newestFirst struct {
	bits int
	sas  []*association
}

// find returns the newest SA that is for a packet and newer than serial.
func (l *newestFirst) find(h *packet.Header, serial uint64) *association {
	for _, a := range l.sas {
		if a.serial < serial {
			return nil
		}
		if a.selectsOut(h) {
			return a
		}
	}
	return nil
}

// with returns a list that has a in its place.
func (l *newestFirst) with(a *association) *newestFirst {
	at, _ := slices.BinarySearchFunc(l.sas, a, func(x, y *association) int { return cmp.Compare(y.serial, x.serial) })
	sas := make([]*association, 0, len(l.sas)+1)
	sas = append(append(append(sas, l.sas[:at]...), a), l.sas[at:]...)
	return &newestFirst{bits: l.bits, sas: sas}
}

// without returns a list that lacks a.
func (l *newestFirst) without(a *association) *newestFirst {
	next := &newestFirst{bits: l.bits}
	for _, x := range l.sas {
		if x != a {
			next.sas = append(next.sas, x)
		}
	}
	return next
}
