package ha

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// cede gives up whatever right we had to t for the claim of epoch e. A tunnel
// that was ours stops sending with the orders of this step.
func (n *Node) cede(t *tunnel, e Epoch) {
	if n.owns(t) {
		n.stats.Ceded++
		n.rd.Lost = append(n.rd.Lost, t.id)
		n.jot(Remove{Tunnel: t.id})
		delete(n.claims, t.id)
		for _, c := range t.children {
			c.proposal, c.worn = nil, 0
			delete(n.counts, c.In.ID)
			delete(n.counts, c.Out.ID)
		}
	}
	n.exposeAll(t)
	n.touch(t)
	linger := n.lingers(t, e.Member())
	t.version = Version{Epoch: e}
	t.given, t.told, t.unheld, t.awaited = 0, 0, 0, 0
	if p := n.peers[e.Member()]; p != nil {
		t.life = p.life
	}
	delete(n.strays, t.id)
	t.heir, t.from = nil, nil
	if linger {
		n.linger(t)
		return
	}
	n.stop(t)
}

// onClaim notes a new owner. One who claims from an older copy than ours gets
// ours; from a newer one, we ask for theirs.
func (n *Node) onClaim(now time.Time, p *peer, r Claim) {
	if !n.publishes(p, r.Tunnel, r.Version.Epoch) {
		return
	}
	t := n.tunnels[r.Tunnel]
	if t == nil {
		if r.resumes(p) && n.tombs.has(r.Tunnel, r.From.Epoch) {
			n.refuseResumed(now, p, r)
			return
		}
		n.enqueue(p, Need{Tunnel: r.Tunnel}, 0)
		return
	}
	if t.version.Epoch > r.Version.Epoch {
		n.outbid(now, p, t, r)
		return
	}
	if t.version.Epoch == r.Version.Epoch {
		return // known
	}
	if n.insists(now, t, r.Title) {
		n.reclaim(now, t, r.Title, r.Children)
		return
	}
	had, complete := t.version, t.complete()
	if had.Compare(r.From) > 0 && complete {
		n.note(p, t.supply(now, had))
	}
	t.raiseBounds(r.Children)
	n.cede(t, r.Version.Epoch)
	n.entitle(now, t, p, r.Title)
	if had == r.From && complete {
		t.version = r.Version
		return
	}
	n.enqueue(p, Need{Tunnel: t.id}, 0)
}

// resumes tells whether p goes on with a tunnel of its last life, and has not taken it
// over from another member.
func (r Claim) resumes(p *peer) bool { return r.From.Epoch.Member() == p.id }

// refuseResumed ends a tunnel that p goes on with, not knowing of its end: another member
// has owned it since, and removed it, and nobody remembers which numbers that one has
// used (I1, I2). As p claims before it asks for numbers, it gets none.
func (n *Node) refuseResumed(now time.Time, p *peer, r Claim) {
	n.tombs.add(now, Remove{Tunnel: r.Tunnel, Epoch: r.Version.Epoch})
	n.note(p, n.tombs.remove(r.Tunnel))
}

// outbid answers a claim that is lower than what we know of. Where we are the
// owner, the other may have sent on the same SAs.
func (n *Node) outbid(now time.Time, p *peer, t *tunnel, r Claim) {
	n.enqueue(p, t.owned(now, p), 0)
	if !n.owns(t) {
		return
	}
	n.stats.Contested++
	if !t.told.Has(p.id) {
		n.enqueue(p, t.claim(now, p), 0)
		t.told = t.told.With(p.id)
	}
	for _, b := range r.Children {
		if c := t.child(b.Child); c != nil {
			n.contest(c, b.Bound)
		}
	}
}

func (t *tunnel) supply(now time.Time, had Version) Supply {
	s := Supply{Tunnel: t.id, Version: had, IKE: t.ike}
	for _, c := range t.pairs() {
		s.Children = append(s.Children, c.aged(now))
	}
	return s
}

// onSupply takes a newer copy than the one that we claimed from, before the IKE
// SA comes to life. What the last owner gave to others only is inbound traffic's
// at most: the owner, should it live on, has not asked us before it uses more.
func (n *Node) onSupply(now time.Time, r Supply) {
	t := n.own(r.Tunnel)
	if t == nil || n.claims[t.id] == nil || r.Version.Compare(t.claimed) <= 0 || r.Version.Epoch >= t.version.Epoch {
		return
	}
	t.claimed, t.ike = r.Version, r.IKE
	var listed []ipsec.SAID
	for _, in := range r.Children {
		listed = append(listed, in.In.ID)
		if t.child(in.In.ID) != nil || !n.acceptable(t, in) {
			continue
		}
		c := &child{of: t, Child: in, since: now}
		t.add(c)
		n.bySA[in.In.ID], n.bySA[in.Out.ID] = c, c
		n.install(c, false)
		n.start(c)
	}
	t.listed = listed
	n.dropUnlisted(t)
	n.stats.Supplied++
	t.given = 0
	t.version.Change = max(t.version.Change, r.Version.Change)
	n.publish(now, t, func(p *peer) Record { return t.putIKE(now, p) })
}

// onNeed gives a whole tunnel to a member that asks.
func (n *Node) onNeed(now time.Time, p *peer, r Need) {
	t := n.own(r.Tunnel)
	if t != nil && n.eligible(p, t) {
		n.give(now, p, t, 0)
	}
}

// owned tells p who owns t, as far as we know.
func (t *tunnel) owned(now time.Time, p *peer) Owned {
	return Owned{Tunnel: t.id, Epoch: t.version.Epoch, Title: t.title(now), Children: t.bounds(p)}
}

// onOwned learns that a tunnel has another owner than we thought.
func (n *Node) onOwned(now time.Time, r Owned) {
	t := n.tunnels[r.Tunnel]
	if t == nil || r.Epoch <= t.version.Epoch || n.peers[r.Epoch.Member()] == nil || r.Epoch.Count() > maxCount {
		return
	}
	n.seen = max(n.seen, r.Epoch.Count())
	if n.insists(now, t, r.Title) {
		n.reclaim(now, t, r.Title, r.Children)
		return
	}
	t.raiseBounds(r.Children)
	n.cede(t, r.Epoch)
	t.past |= r.Title.Past.With(r.Epoch.Member())
	if p := n.peers[r.Epoch.Member()]; p != nil && p.present() {
		n.enqueue(p, Need{Tunnel: t.id}, 0)
	}
}

// claimKnown notes that p has a claim of ours, and has told us what it knows
// better.
func (n *Node) claimKnown(p *peer, r Claim) {
	if t := n.claims[r.Tunnel]; t != nil && t.version.Epoch == r.Version.Epoch {
		t.awaited = t.awaited.Without(p.id)
		t.behind = t.behind && t.from != p // who gave it has told all that it knew
		if t.awaited == 0 {
			n.restorable = append(n.restorable, t)
		}
	}
}

// restoreDue brings the IKE SAs of claimed tunnels to life, once everybody has
// had its say or the time is up. Their traffic flows already.
func (n *Node) restoreDue(now time.Time) {
	due := n.restorable
	n.restorable = nil
	for len(n.restoring) > 0 && (!n.restoring[0].claiming(n) || !now.Before(n.restoring[0].restoreBy)) {
		due = append(due, n.restoring[0])
		n.restoring = n.restoring[1:]
	}
	for _, t := range due {
		if t.claiming(n) {
			n.restore(now, t)
		}
	}
}

// claiming tells whether the claim of t is not known to all yet.
func (t *tunnel) claiming(n *Node) bool { return n.claims[t.id] == t }

// restoreUnwaited finds the claims that wait for members only that are dead.
func (n *Node) restoreUnwaited() {
	for _, t := range n.restoring {
		waits := false
		for m := range t.awaited.All() {
			waits = waits || n.peers[m].alive
		}
		if !waits {
			n.restorable = append(n.restorable, t)
		}
	}
}

// restore brings the IKE SA of a tunnel to life that is ours.
func (n *Node) restore(now time.Time, t *tunnel) {
	delete(n.claims, t.id)
	n.jotAll(now, t)
	r := Restored{Tunnel: t.id, Epoch: t.version.Epoch, IKE: t.ike, Behind: t.behind, Age: t.age}
	for _, c := range t.pairs() {
		pair := c.aged(now)
		pair.In.Group, pair.Out.Group = n.cfg.Member, n.cfg.Member
		pair.In.Sender, pair.Out.Sender = n.cfg.Member, n.cfg.Member
		pair.Out.Sequence = ipsec.Sequence{Next: c.floor, Ceiling: c.ceiling}
		r.Children = append(r.Children, pair)
	}
	n.rd.Restore = append(n.rd.Restore, r)
	n.tellTaken(t)
	n.tellWorn(t)
}
