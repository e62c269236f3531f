package sim

import (
	"slices"
	"time"
)

// router spreads clients over members, by a hash of each client's flows.
type router struct {
	c *Cluster
	// notices is how long it takes to see that a member is gone, or back.
	notices time.Duration
	// static: it never sees that, as an ECMP without probes.
	static bool
	// modulo: every change of the members in use moves all flows.
	modulo bool
	// split: IKE, ESP and what comes back may take different ways.
	split bool

	usable []*member
}

// flow is a kind of traffic of one client.
type flow int

const (
	flowIKE flow = iota
	flowUp
	flowDown
	flows
)

// changed is told that a member is fit now, or not any more.
func (r *router) changed(m *member, fit bool) {
	r.c.clock.After(r.notices/2+r.c.upTo(r.notices/2), func() {
		if m.routable() == fit {
			r.update()
		}
	})
}

// update looks at the members anew.
func (r *router) update() {
	r.usable = r.usable[:0]
	for _, m := range r.c.members {
		if m.routable() {
			r.usable = append(r.usable, m)
		}
	}
}

// route is where a flow goes, nil for nowhere.
func (r *router) route(cl *client, f flow) *member {
	if !r.split {
		f = flowIKE
	}
	all := r.usable
	if r.static {
		all = r.c.members
	}
	if len(all) == 0 {
		return nil
	}
	if r.modulo {
		return all[cl.salt[f]%uint64(len(all))]
	}
	return slices.MaxFunc(all, func(a, b *member) int {
		return compareHash(cl.salt[f], uint64(a.id), uint64(b.id))
	})
}

// back is where the router sends what is for a client: to the member that
// announces its network as the owner of its tunnel, or to whom the hash says.
func (r *router) back(cl *client) *member {
	for _, m := range r.usable {
		if m.owns(cl.net()) {
			return m
		}
	}
	return r.route(cl, flowDown)
}

// compareHash orders a and b for a flow (rendezvous hashing).
func compareHash(salt, a, b uint64) int {
	x, y := mix(salt^a*0x9e3779b97f4a7c15), mix(salt^b*0x9e3779b97f4a7c15)
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	default:
		return 0
	}
}

// mix is the finalizer of SplitMix64.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// Rehash makes some flows take other ways.
func (c *Cluster) Rehash() {
	c.tracef("router", "hashes anew")
	for _, cl := range c.clients {
		if c.chance(2) {
			cl.draw()
		}
	}
}
