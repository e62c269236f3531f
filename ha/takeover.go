package ha

import (
	"maps"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// orphan tells whether t has lost its owner: the member is dead or has no
// dataplane, or lives another life.
func (n *Node) orphan(t *tunnel) bool {
	if n.owns(t) {
		return false
	}
	p := n.peers[t.owner()]
	return p == nil || !p.lives() || p.life != t.life
}

// arm lets what p owned start here with its first packet, provided that we have
// all of it (I4). The epoch is on disk before (I3).
func (n *Node) arm(now time.Time, p *peer) {
	n.adoptLater(now, p)
	if n.role != Standby || n.leaving || !p.whole || !n.standsBy(p) {
		return
	}
	n.hard.Armed = n.hard.Armed.With(p.id)
	n.nextCount()
	n.armed[p.id] = NewEpoch(n.hard.Count, n.cfg.Member)
	n.marked = false
	n.armGroup(p)
	n.stats.Armed++
	// Traffic came here already, before the death was known.
	for _, id := range slices.Sorted(maps.Keys(n.strays)) {
		t := n.tunnels[id]
		if t == nil || t.owner() != p.id {
			continue
		}
		if now.Sub(n.strays[id]) <= 2*n.silence() {
			n.adopt(now, t, now)
		}
		delete(n.strays, id)
	}
}

// armGroup arms our dataplane for what p owned, if that is for it.
func (n *Node) armGroup(p *peer) {
	if !n.blind {
		n.order(Order{Kind: Arm, Group: p.id})
	}
}

// standsBy tells whether we hold a tunnel of p.
func (n *Node) standsBy(p *peer) bool { return n.held(p.id) > 0 }

// nextCount uses a count that nobody is known to have used.
func (n *Node) nextCount() {
	n.hard.Count = max(n.hard.Count, n.seen) + 1
	n.seen = n.hard.Count
	n.persist()
}

// onStray remembers that traffic for another's tunnel came here. It never moves
// the tunnel while the owner lives (B5).
func (n *Node) onStray(now time.Time, in Stray) {
	t := n.tunnels[in.Tunnel]
	if t == nil || n.owns(t) {
		return
	}
	if n.orphan(t) && n.armed[t.owner()] != 0 {
		n.adopt(now, t, now)
		return
	}
	n.stats.Strays++
	if len(n.strays) < n.cfg.Limits.Strays {
		n.strays[t.id] = now
	}
}

// onActivated claims a tunnel that has started here, or stops it where it has
// an owner by now.
func (n *Node) onActivated(now time.Time, in Activated) {
	t := n.tunnels[in.Tunnel]
	if t == nil || n.owns(t) {
		return
	}
	if t.owner() != in.Group || !n.claimable(t) {
		n.stats.Yielded++
		n.exposeAll(t)
		n.stop(t)
		n.admit(t)
		return
	}
	n.claim(now, t, now)
}

// claimable tells whether we may take t over warm. Without a dataplane of our own
// we would only take it from who has one.
func (n *Node) claimable(t *tunnel) bool {
	return n.planeUp && !n.leaving && n.armed[t.owner()] != 0 && n.orphan(t) && t.complete()
}

// adopt takes over a tunnel that the dataplane has not started by itself.
func (n *Node) adopt(now time.Time, t *tunnel, heard time.Time) {
	if n.claimable(t) {
		n.claim(now, t, heard)
	}
}

// stop makes the SAs of a tunnel of another stand by.
func (n *Node) stop(t *tunnel) {
	var changes []Change
	for _, c := range t.pairs() {
		changes = append(changes, n.standby(c)...)
	}
	if len(changes) > 0 {
		n.order(Order{Kind: Update, Changes: changes})
	}
}

// claim makes us the owner of t, and tells everybody. heard is when its peer was
// heard, zero for not yet.
func (n *Node) claim(now time.Time, t *tunnel, heard time.Time) {
	n.seize(t, heard)
	n.announce(now, t)
}

// seize makes us the owner of t. What follows is to announce it.
func (n *Node) seize(t *tunnel, heard time.Time) {
	e := n.armed[t.owner()]
	if e <= t.version.Epoch {
		n.nextCount()
		e = NewEpoch(n.hard.Count, n.cfg.Member)
	}
	t.heard, t.reclaimed = heard, false
	t.behind = n.missed(n.peers[t.owner()])
	n.stats.Claims++
	n.claims[t.id] = t
	n.take(t, e)
}

// announce tells everybody that t is ours.
func (n *Node) announce(now time.Time, t *tunnel) {
	for _, p := range n.peers {
		if p == nil || !p.present() || !n.eligible(p, t) {
			continue
		}
		n.enqueue(p, t.claim(now, p), 0)
		t.given, t.told = t.given.With(p.id), t.told.With(p.id)
		t.awaited = t.awaited.With(p.id)
	}
	t.restoreBy = now.Add(n.cfg.AckTimeout)
	if t.awaited == 0 {
		n.restorable = append(n.restorable, t)
	} else {
		n.restoring = append(n.restoring, t)
	}
}

// insists tells whether we go on with a tunnel of ours although another has
// claimed it: we have heard the peer since. A claim that was not made against a
// dead member's silence, but against ours in a part of the network where we
// could not be heard, does not stop a tunnel that works (B5).
func (n *Node) insists(now time.Time, t *tunnel, theirs Title) bool {
	return n.owns(t) && !n.leaving && !n.subordinate() && !theirs.Reclaimed && t.title(now).Quiet < theirs.Quiet
}

// reclaim takes a tunnel of ours back from one who has claimed it, with numbers
// above all that it may have used. For a later life of ours that is a takeover
// from the claimer: it is on disk before (I3).
func (n *Node) reclaim(now time.Time, t *tunnel, theirs Title, bounds []Bound) {
	n.stats.Reclaims++
	t.raiseBounds(bounds)
	t.past |= theirs.Past
	n.hard.Armed |= t.past.Without(n.cfg.Member)
	n.nextCount()
	t.reclaimed = true
	n.take(t, NewEpoch(n.hard.Count, n.cfg.Member))
	n.publish(now, t, func(p *peer) Record { return t.putIKE(now, p) })
	n.replace(t, n.index)
}

// entitle notes by what right p owns t.
func (n *Node) entitle(now time.Time, t *tunnel, p *peer, title Title) {
	n.touch(t)
	t.past, t.life, t.reclaimed = t.past|title.Past.With(p.id), p.life, title.Reclaimed
	t.heard = time.Time{}
	if title.Quiet < never {
		t.heard = now.Add(-title.Quiet)
	}
}

func (t *tunnel) raiseBounds(bounds []Bound) {
	for _, b := range bounds {
		if c := t.child(b.Child); c != nil {
			c.Bound = max(c.Bound, min(b.Bound, c.Out.Algorithms.MaxSequence()))
		}
	}
}

// take makes us the owner of t at epoch e.
func (n *Node) take(t *tunnel, e Epoch) {
	n.touch(t)
	t.claimed = t.version
	t.version.Epoch = e
	t.life, t.past = n.hard.Life, t.past.With(n.cfg.Member)
	t.heir, t.from = nil, nil
	t.given, t.told, t.unheld, t.awaited = 0, 0, 0, 0
	delete(n.strays, t.id)
	for _, c := range t.pairs() {
		n.start(c)
	}
}

func (t *tunnel) claim(now time.Time, p *peer) Claim {
	return Claim{Tunnel: t.id, From: t.claimed, Version: t.version, Title: t.title(now), Children: t.bounds(p)}
}

// start makes a pair of ours send: within our share of the numbers above the
// bound, which is used up with that, whatever becomes of us.
func (n *Node) start(c *child) {
	me, yes := n.cfg.Member, true
	entrusted := c.Holders.Has(me)
	c.told = [2]bool{}
	n.rebase(c)
	if c.used > c.base {
		c.base = c.used // our dataplane has been at our share before
	}
	seq, enough := n.share(c)
	if !entrusted {
		last := c.Out.Algorithms.MaxSequence()
		seq = ipsec.Sequence{Next: last, Ceiling: last - 1}
	}
	c.ceiling, c.Bound = seq.Ceiling, n.beyond(c, c.base)
	// Whom else its owner has given it to, we cannot know.
	c.Holders, c.proposal, c.worn = n.cfg.Members, nil, 0
	n.order(Order{Kind: Update, Changes: []Change{
		{ID: c.In.ID, Group: &me, Active: &yes},
		{ID: c.Out.ID, Group: &me, Active: &yes, Sequence: &seq},
	}})
	switch {
	case !entrusted:
		n.wear(c, NotEntrusted)
	case n.unbounded:
		n.wear(c, NoCeiling)
	case n.cfg.Nonces == UnknownNonces:
		n.wear(c, NoNonces)
	case !enough:
		n.wear(c, Exhausted)
	case c.Barred != 0:
		n.renew(c)
	}
}

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
		pair.Out.Sequence = ipsec.Sequence{Ceiling: c.ceiling}
		r.Children = append(r.Children, pair)
	}
	n.rd.Restore = append(n.rd.Restore, r)
	n.tellTaken(t)
	n.tellWorn(t)
}

// disarm ends the arming of members whose tunnels have an owner again.
func (n *Node) disarm() {
	for _, p := range n.peers {
		if p == nil || n.armed[p.id] == 0 || !p.alive || p.unfit || n.orphans(p) {
			continue
		}
		n.disarmGroup(p)
	}
}

func (n *Node) disarmGroup(p *peer) {
	for _, t := range n.ownedBy(p.id) {
		n.exposeAll(t)
	}
	n.armed[p.id] = 0
	n.order(Order{Kind: Disarm, Group: p.id})
}

func (n *Node) exposeAll(t *tunnel) {
	for _, c := range t.children {
		n.expose(c)
	}
}

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
