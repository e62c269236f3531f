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
// could not be heard, does not stop a tunnel that works (B5). Without a dataplane
// none does.
func (n *Node) insists(now time.Time, t *tunnel, theirs Title) bool {
	return n.owns(t) && n.planeUp && !n.leaving && !n.subordinate() && !theirs.Reclaimed && t.title(now).Quiet < theirs.Quiet
}

// reclaim takes a tunnel of ours back from one who has claimed it, with numbers
// above all that it may have used. For a later life of ours that is a takeover
// from the claimer: it is on disk before (I3). What was handed to us and waits to be
// announced would wait for ever under its new epoch.
func (n *Node) reclaim(now time.Time, t *tunnel, theirs Title, bounds []Bound) {
	n.revealEarly(now, t)
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
	c.told = [2]bool{}
	n.rebase(c)
	if c.used > c.base {
		c.base = c.used // our dataplane has been at our share before
	}
	seq, enough := n.share(c)
	if c.spent == 0 {
		c.spent = n.without(c, enough)
	}
	if c.spent != 0 {
		last := c.Out.Algorithms.MaxSequence()
		seq = ipsec.Sequence{Next: last, Ceiling: last - 1}
	}
	c.floor, c.ceiling, c.Bound = seq.Next, seq.Ceiling, n.beyond(c, c.base)
	// Whom else its owner has given it to, we cannot know.
	c.Holders, c.proposal, c.worn = n.cfg.Members, nil, 0
	n.order(Order{Kind: Update, Changes: []Change{
		{ID: c.In.ID, Group: &me, Active: &yes},
		{ID: c.Out.ID, Group: &me, Active: &yes, Sequence: &seq},
	}})
	switch {
	case c.spent != 0:
		n.wear(c, c.spent)
	case c.Barred != 0:
		n.renew(c)
	}
}

// without tells why we must take c over without a number to send, 0 where there are
// some.
func (n *Node) without(c *child, enough bool) Worn {
	switch {
	case !c.Holders.Has(n.cfg.Member):
		return NotEntrusted
	case n.unbounded:
		return NoCeiling
	case n.cfg.Nonces == UnknownNonces:
		return NoNonces
	case !enough:
		return Exhausted
	default:
		return 0
	}
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
