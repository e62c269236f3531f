package ha

import (
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// syncing is how far a member has been told all that we own. It gets digests,
// wants what differs, gets that at its own pace, and then Synced.
type syncing struct {
	round  uint64
	toGive []ipsec.TunnelID
	// toReturn are tunnels that its last life owned.
	toReturn []ipsec.TunnelID
	ends     bool // a Synced follows when toGive is empty
}

// mix spreads the bits of what it is given (the finalizer of SplitMix64).
func mix(vs ...uint64) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, v := range vs {
		h ^= v
		h ^= h >> 30
		h *= 0xbf58476d1ce4e5b9
		h ^= h >> 27
		h *= 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

func bucket(id ipsec.TunnelID) uint8 { return uint8(mix(uint64(id)) % Buckets) }

// compare begins to bring p up to date.
func (n *Node) compare(p *peer) {
	p.out.sync = syncing{round: p.out.sync.round + 1, toReturn: n.unclaimed(p)}
	sums := n.digest(func(k tallyKey) bool { return k.owner == n.cfg.Member && n.shares(p, k.class) })
	n.enqueue(p, Digest{Round: p.out.sync.round, Sums: sums}, 0)
}

// compareAll looks for what was lost although nothing should be.
func (n *Node) compareAll() {
	for _, p := range n.peers {
		if p != nil && p.present() && p.synced {
			n.compare(p)
		}
	}
}

// onDigest tells p which buckets differ here.
func (n *Node) onDigest(p *peer, r Digest) {
	sums := n.digest(func(k tallyKey) bool { return k.owner == p.id && k.life == p.life })
	want := Want{Round: r.Round}
	for i := range sums {
		if sums[i] != r.Sums[i] {
			want.Buckets |= 1 << i
		}
	}
	n.enqueue(p, want, 0)
}

// onWant lists the tunnels of the buckets, and begins to give them.
func (n *Node) onWant(now time.Time, p *peer, r Want) {
	s := &p.out.sync
	if r.Round != s.round || s.ends {
		return
	}
	if p.synced && r.Buckets != 0 {
		n.stats.Repairs++
	}
	shelves := &n.filing().shelves[n.cfg.Member]
	for b := range Buckets {
		wanted := r.Buckets&(1<<b) != 0
		if !wanted && p.synced {
			continue // p was given all of it, and still is
		}
		var list []ipsec.TunnelID
		for _, t := range shelves[b] {
			switch {
			case !n.eligible(p, t):
			case !wanted:
				t.given = t.given.With(p.id)
			default:
				list = append(list, t.id)
				t.given = t.given.Without(p.id)
			}
		}
		if wanted {
			s.toGive = append(s.toGive, list...)
			n.enqueue(p, Listing{Bucket: uint8(b), Tunnels: list}, 0)
		}
	}
	s.ends = true
	n.pump(now, p)
}

// onListing drops what p does not own any more.
func (n *Node) onListing(p *peer, r Listing) {
	if r.Bucket >= Buckets {
		n.stats.BadRecords++
		return
	}
	listed := make(map[ipsec.TunnelID]bool, len(r.Tunnels))
	for _, id := range r.Tunnels {
		listed[id] = true
	}
	for _, t := range slices.Clone(n.filing().shelves[p.id][r.Bucket]) {
		if t.life == p.life && !listed[t.id] {
			n.forget(t)
		}
	}
}

// pump gives p as much of a snapshot as its window has room for.
func (n *Node) pump(now time.Time, p *peer) {
	s := &p.out.sync
	for s.ends && len(p.out.queue) < n.cfg.Limits.Window {
		if len(s.toReturn) > 0 {
			id := s.toReturn[0]
			s.toReturn = s.toReturn[1:]
			n.giveBack(now, p, id)
			continue
		}
		if len(s.toGive) == 0 {
			s.ends = false
			n.enqueue(p, Synced{Round: s.round}, 0)
			return
		}
		id := s.toGive[0]
		s.toGive = s.toGive[1:]
		if t := n.own(id); t != nil && !t.given.Has(p.id) && n.eligible(p, t) {
			n.give(now, p, t, 0)
		}
	}
}

// syncedBy notes that p has everything, in its dataplane too.
func (n *Node) syncedBy(p *peer, r Synced) {
	if r.Round != p.out.sync.round {
		return
	}
	if !p.synced { // it was away, and has not just compared what it has
		n.tellAgain()
	}
	p.synced = true
	n.askAgain(p)
}
