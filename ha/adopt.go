package ha

import (
	"time"
)

// sweep sees to it that every orphan is looked after, also one that lost its
// owner in another way than by a death that we saw.
func (n *Node) sweep(now time.Time) {
	for _, p := range n.peers {
		if p != nil && p.adoptAt.IsZero() && n.orphans(p) {
			n.adoptLater(now, p)
		}
	}
}

// adoptLater looks after p's tunnels when their first packets have had their time:
// at once where nobody would see them.
func (n *Node) adoptLater(now time.Time, p *peer) {
	p.adoptAt, p.adoptRank = now.Add(n.cfg.AdoptAfter), 0
	if n.blind {
		p.adoptAt = now
	}
	p.adopting, p.spared = nil, 0
}

// adoptBatch is how many tunnels one step looks at: what a claim asks for takes
// some ten microseconds, and heartbeats must not wait for all of them.
const adoptBatch = 256

// adoptDue looks after tunnels of a dead member that no packet has started: each
// has an order of members who should take it, and one more of them feels called
// every time.
func (n *Node) adoptDue(now time.Time, p *peer) {
	if p.adoptAt.IsZero() || now.Before(p.adoptAt) {
		return
	}
	if !n.planeUp {
		p.adoptAt = now.Add(n.cfg.AdoptAfter / 4) // our dataplane may come back
		return
	}
	if len(p.adopting) == 0 {
		p.adopting = n.ownedBy(p.id)
	}
	batch := p.adopting[:min(adoptBatch, len(p.adopting))]
	p.adopting = p.adopting[len(batch):]
	for _, t := range batch {
		switch {
		case n.tunnels[t.id] != t || t.owner() != p.id || !n.orphan(t):
		case n.rank(t) > p.adoptRank:
			p.spared++
		case n.claimable(t):
			n.adopt(now, t, time.Time{})
		case n.salvageable(t):
			n.salvage(now, t)
		case p.adoptRank > n.cfg.Members.Len():
			n.stats.Abandoned++
			n.forget(t)
		default:
			p.spared++
		}
	}
	switch {
	case len(p.adopting) > 0:
		p.adoptAt = now // in the next step
	case p.spared > 0:
		p.adoptRank++
		p.adoptAt = now.Add(n.cfg.AdoptAfter / 4)
		p.spared = 0
	default:
		p.adoptAt = time.Time{}
	}
}

// rank is our place among those who could adopt t, 0 for the first. All that
// see the same members agree (rendezvous hashing). Subordinates come last.
func (n *Node) rank(t *tunnel) int {
	mine := mix(uint64(t.id), uint64(n.cfg.Member))
	rank := 0
	for _, p := range n.peers {
		if p == nil || !p.alive || p.unfit || p.role != Standby {
			continue
		}
		theirs := mix(uint64(t.id), uint64(p.id))
		if p.lives() == !n.subordinate() && mine < theirs || p.lives() && n.subordinate() {
			rank++
		}
	}
	return rank
}
