package ha

import "time"

// uncommitted is a record that the peer must not know of yet.
type uncommitted struct {
	tunnel *tunnel
	// asked are the synced members that it was queued for.
	asked, acked Members
	deadline     time.Time
	// alone: its connection is not synchronized, so nobody is to have it.
	alone bool
	// by is a later record that stands for this one, 0 for none.
	by Index
}

// await begins to wait for the acknowledgements of the record n.index.
func (n *Node) await(now time.Time, t *tunnel, asked Members, synced bool) {
	n.uncommitted = append(n.uncommitted, uncommitted{
		tunnel: t, asked: asked, deadline: now.Add(n.cfg.AckTimeout), alone: !synced,
	})
}

// acknowledged notes that p has the record of an index in its dataplane.
func (n *Node) acknowledged(p *peer, index Index) {
	if index > n.commit {
		u := &n.uncommitted[index-n.commit-1]
		u.acked = u.acked.With(p.id)
	}
}

// replace lets the record of an index, which holds all of t, stand for the
// earlier ones: they may have been refused because of their epoch.
func (n *Node) replace(t *tunnel, by Index) {
	for i := range n.uncommitted {
		if u := &n.uncommitted[i]; u.tunnel == t && n.commit+Index(i)+1 < by {
			u.by = by
		}
	}
}

// advance commits, in order, what is safe, and what cannot wait longer.
//
// A record is safe once MinAcks live synced members have it in their
// dataplanes, so that the peer never learns of what a failover would lose (I6).
// Where no so many members are there, all that are must have it.
func (n *Node) advance(now time.Time) {
	for len(n.uncommitted) > 0 {
		u := n.uncommitted[0]
		if u.by != 0 {
			later := n.uncommitted[u.by-n.commit-1]
			u.asked, u.acked = later.asked, later.acked
		}
		able, have := 0, 0
		for id := range u.asked.All() {
			p := n.peers[id]
			if !p.synced || u.tunnel.unheld.Has(id) {
				continue
			}
			able++
			if u.acked.Has(id) {
				have++
			}
		}
		full := len(n.uncommitted) > n.cfg.Limits.Uncommitted
		if !u.alone && have < min(n.cfg.MinAcks, able) && now.Before(u.deadline) && !full {
			return
		}
		if !u.alone && have < n.cfg.MinAcks {
			n.stats.Unprotected++
			n.rd.Unprotected++
		}
		n.uncommitted = n.uncommitted[1:]
		n.commit++
	}
}
