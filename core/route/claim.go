package route

import (
	"net/netip"
	"slices"
)

// claim is the wish of one tunnel for a prefix. It never changes. There is one for
// each tunnel, and next to always it is the only one of its prefix: both are as
// small as they can be.
type claim struct {
	owner  string
	iface  string
	peer   netip.Addr
	metric uint32
	older  *claim // of the same prefix and another owner; it waits
}

// newClaim is newer than older, nil for none.
func newClaim(owner string, r Route, older *claim) *claim {
	return &claim{owner: owner, iface: r.Interface, peer: r.Peer, metric: r.Metric, older: older}
}

// route is what c wants of its prefix.
func (c *claim) route(p netip.Prefix) Route {
	return Route{Prefix: p, Interface: c.iface, Metric: c.metric, Peer: c.peer}
}

// without is c and what is older, less the claim of owner: c itself when there is
// none of owner's, nil when nothing is left.
func (c *claim) without(owner string) *claim {
	var newer []*claim
	at := c
	for ; at != nil && at.owner != owner; at = at.older {
		newer = append(newer, at)
	}
	if at == nil {
		return c
	}
	left := at.older
	for _, n := range slices.Backward(newer) {
		left = newClaim(n.owner, n.route(netip.Prefix{}), left)
	}
	return left
}

// standing is how it stands with a prefix.
type standing struct {
	newest *claim // nil when nobody wants it
	// The route in the kernel, if there is one.
	metric uint32
	table  uint8 // 0: there is none
}

// key is the kernel's route of a prefix, if it has one.
func (s standing) key(p netip.Prefix) (key kernelKey, has bool) {
	return kernelKey{p, int(s.table), s.metric}, s.table != 0
}

// want sets the newest claim of a prefix, nil for none. The kernel does not hear of
// it before settle.
func (t *Table) want(p netip.Prefix, newest *claim) {
	s := t.prefixes[p]
	s.newest = newest
	t.set(p, s)
}

// has notes the kernel's route of a prefix.
func (t *Table) has(key kernelKey) {
	s := t.prefixes[key.prefix]
	s.metric, s.table = key.metric, uint8(key.table)
	t.set(key.prefix, s)
}

// hasNone notes that the kernel has no route of a prefix any more.
func (t *Table) hasNone(p netip.Prefix) {
	t.set(p, standing{newest: t.prefixes[p].newest})
}

func (t *Table) set(p netip.Prefix, s standing) {
	if s == (standing{}) {
		delete(t.prefixes, p)
		return
	}
	t.prefixes[p] = s
}

// Claimed is one claim of a prefix, for people.
type Claimed struct {
	Owner string
	Route Route
	// InForce: this claim is what the kernel has; older ones wait.
	InForce bool
}

// Claims lists all claims, ordered by prefix, the newest of a prefix first.
func (t *Table) Claims() []Claimed {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []Claimed
	for p, s := range t.prefixes {
		for c := s.newest; c != nil; c = c.older {
			all = append(all, Claimed{c.owner, c.route(p), c == s.newest})
		}
	}
	slices.SortStableFunc(all, func(a, b Claimed) int { return a.Route.Prefix.Compare(b.Route.Prefix) })
	return all
}
