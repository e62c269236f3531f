package ha

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// shares is into how many parts a lease is cut where members must not share
// numbers: one for each that there can be.
const shares = ipsec.MaxMembers

// proposal is what an owner asks the holders of an SA to give up.
type proposal struct {
	from, to uint64
	granted  Members
}

// promise is a Grant that waits until the dataplane keeps it.
type promise struct {
	serial uint64
	to     ipsec.MemberID
	rec    Record
}

// beyond is the end of the lease that follows after bound.
func (n *Node) beyond(c *child, bound uint64) uint64 {
	last := c.Out.Algorithms.MaxSequence()
	if n.unbounded || bound >= last || last-bound < n.cfg.Lease {
		return last
	}
	return bound + n.cfg.Lease
}

// share is what we may send when we take c over: the lease above its base, or
// our slice of it. It is false, and nothing can be sent, when the numbers do not
// last.
func (n *Node) share(c *child) (ipsec.Sequence, bool) {
	from, last := c.base, c.Out.Algorithms.MaxSequence()
	to := n.beyond(c, from)
	if n.muted() {
		return ipsec.Sequence{Next: last, Ceiling: last - 1}, false
	}
	if n.cfg.Nonces == SequenceNonces {
		slice := n.cfg.Lease / shares
		skip := uint64(n.cfg.Member) * slice
		if from >= last || last-from < skip+slice {
			return ipsec.Sequence{Next: last, Ceiling: last - 1}, false
		}
		from += skip
		to = from + slice
	}
	if from >= to {
		return ipsec.Sequence{Next: last, Ceiling: last - 1}, false
	}
	return ipsec.Sequence{Next: from + 1, Ceiling: to}, true
}

// rebase moves our share of c above its bound, and above what our dataplane may
// have used. One that is above already stays.
func (n *Node) rebase(c *child) {
	if c.base != 0 && c.base >= c.Bound {
		return
	}
	n.expose(c)
	c.base = max(c.Bound, c.used)
}

// expose notes that the dataplane may have started c by itself, and used our
// share, although we never heard of it: what it reports may still be on its way.
func (n *Node) expose(c *child) {
	if c.base != 0 && n.armed[c.of.owner()] != 0 {
		c.used = max(c.used, n.beyond(c, c.base))
	}
}

// onLeaseLow asks all holders for more numbers, or for new keys where it cannot
// or soon could not.
func (n *Node) onLeaseLow(in LeaseLow) {
	c := n.bySA[in.SA]
	if c == nil || in.SA != c.Out.ID || !n.owns(c.of) {
		return
	}
	if c.proposal == nil {
		n.raise(c)
	}
	if c.proposal != nil && n.away(c.Holders&^c.proposal.granted) {
		n.wear(c, HolderAway)
	}
}

// raise proposes the lease above the bound.
func (n *Node) raise(c *child) {
	last := c.Out.Algorithms.MaxSequence()
	switch {
	case c.spent != 0:
		n.wear(c, c.spent) // those that were asked for first have not come
		return
	case c.Barred != 0:
		n.wear(c, HolderForgot)
		return
	case c.Bound >= last:
		n.wear(c, Exhausted)
		return
	}
	c.proposal = &proposal{from: c.Bound, to: n.beyond(c, c.Bound)}
	c.Bound = c.proposal.to
	if last-c.Bound < n.cfg.Lease {
		n.wear(c, Exhausted) // in good time: this is the last one
	}
	n.ask(c)
}

// ask proposes to every holder that is there.
func (n *Node) ask(c *child) {
	for id := range c.Holders.All() {
		if p := n.peers[id]; p != nil && p.present() {
			n.enqueue(p, c.propose(), 0)
		}
	}
	n.settle(c)
}

func (c *child) propose() Propose {
	return Propose{Tunnel: c.of.id, Epoch: c.of.version.Epoch, Child: c.In.ID, From: c.proposal.from, To: c.proposal.to}
}

// away tells whether one of the members cannot be asked.
func (n *Node) away(m Members) bool {
	for id := range m.Without(n.cfg.Member).All() {
		if p := n.peers[id]; p == nil || !p.present() {
			return true
		}
	}
	return false
}

// wear asks for new keys in the place of c, as soon as there is an IKE SA to make
// them with.
func (n *Node) wear(c *child, why Worn) {
	c.worn = why
	if n.claims[c.of.id] == nil {
		n.tellWorn(c.of)
	}
}

func (n *Node) tellWorn(t *tunnel) {
	for _, c := range t.pairs() {
		if c.worn != 0 {
			n.stats.Worn++
			n.rd.Rekey = append(n.rd.Rekey, Rekey{Tunnel: t.id, Child: c.In.ID, Why: c.worn})
			c.worn = 0
		}
	}
}

// onPropose gives up numbers. The promise is made when the dataplane keeps it.
func (n *Node) onPropose(now time.Time, p *peer, r Propose) {
	if r.Epoch.Member() != p.id || r.To <= r.From {
		n.stats.BadRecords++
		return
	}
	grant := Grant{Tunnel: r.Tunnel, Epoch: r.Epoch, Child: r.Child, To: r.To}
	t := n.tunnels[r.Tunnel]
	switch {
	case t == nil && n.tombs.has(r.Tunnel, r.Epoch):
		// We may have had it after p, and used what p asks for.
		n.note(p, n.tombs.remove(r.Tunnel))
		return
	case t != nil && t.version.Epoch > r.Epoch:
		n.enqueue(p, t.owned(now, p), 0)
		return
	case t != nil && t.version.Epoch < r.Epoch:
		n.enqueue(p, Need{Tunnel: t.id}, 0)
		return
	case n.Inherits(r.Child):
		return // p asks again when we have synced
	case t == nil || t.child(r.Child) == nil:
		// We have no key to use. One that p gives us later comes with the bound
		// that it has by now.
		n.enqueue(p, grant, 0)
		return
	}
	c := t.child(r.Child)
	if n.armed[p.id] != 0 {
		if n.orphans(p) {
			return // p asks again
		}
		n.disarmGroup(p)
	}
	c.Bound = max(c.Bound, c.used)
	if known := c.granted == r.Epoch && c.Bound <= r.To && c.used <= r.From; c.Bound > r.From && !known {
		n.enqueue(p, Refuse{Tunnel: t.id, Epoch: r.Epoch, Child: r.Child, Bound: c.Bound}, 0)
		return
	}
	c.Bound, c.granted = max(c.Bound, r.To), r.Epoch
	n.order(Order{Kind: Update, Changes: n.standby(c)})
	n.waiting = append(n.waiting, promise{n.ordered(), p.id, grant})
}

// keepPromises sends the grants that the dataplane keeps by now.
func (n *Node) keepPromises() {
	for len(n.waiting) > 0 && n.waiting[0].serial <= n.carried {
		w := n.waiting[0]
		n.waiting = n.waiting[1:]
		n.enqueue(n.peers[w.to], w.rec, 0)
	}
}

// proposed returns the child that an answer is about, nil when it is late.
func (n *Node) proposed(id ipsec.TunnelID, e Epoch, in ipsec.SAID) *child {
	t := n.own(id)
	if t == nil || t.version.Epoch != e || t.child(in) == nil || t.child(in).proposal == nil {
		return nil
	}
	return t.child(in)
}

func (n *Node) onGrant(p *peer, r Grant) {
	c := n.proposed(r.Tunnel, r.Epoch, r.Child)
	if c == nil || c.proposal.to != r.To {
		return
	}
	c.proposal.granted = c.proposal.granted.With(p.id)
	n.settle(c)
}

// onRefuse goes above what another member may have used. Where we have asked,
// we ask again.
func (n *Node) onRefuse(r Refuse) {
	t := n.own(r.Tunnel)
	if t == nil || t.child(r.Child) == nil {
		return
	}
	c := t.child(r.Child)
	c.Bound = max(c.Bound, min(r.Bound, c.Out.Algorithms.MaxSequence()))
	if c.proposal != nil && r.Bound > c.proposal.from {
		c.proposal = nil
		n.raise(c)
	}
	if r.Sent && r.Bound > c.ceiling {
		n.contest(c, r.Bound)
	}
}

// admit tells the owner of t that our dataplane has sent on it when nobody should
// have. The peer's replay window is at our numbers now, and takes the owner's only
// from above them.
func (n *Node) admit(t *tunnel) {
	p := n.peers[t.owner()]
	if p == nil || !p.present() {
		return
	}
	for _, c := range t.pairs() {
		if c.used == 0 {
			continue
		}
		c.Bound = max(c.Bound, c.used)
		n.enqueue(p, Refuse{Tunnel: t.id, Epoch: t.version.Epoch, Child: c.In.ID, Bound: c.used, Sent: true}, 0)
	}
}

// confess tells owners how far our dataplane may have sent by itself while it
// was armed: after that, nobody needs our memory of it.
func (n *Node) confess() {
	for _, t := range n.others() {
		for _, c := range t.pairs() {
			if c.used <= c.Bound {
				continue
			}
			c.Bound = c.used
			n.enqueue(n.peers[t.owner()], Refuse{Tunnel: t.id, Epoch: t.version.Epoch, Child: c.In.ID, Bound: c.used}, 0)
			n.order(Order{Kind: Update, Changes: n.standby(c)})
		}
	}
}

// settle raises the ceiling once every holder has promised (I2).
func (n *Node) settle(c *child) {
	if c.proposal == nil || c.Holders.Without(n.cfg.Member)&^c.proposal.granted != 0 {
		return
	}
	if c.proposal.from != c.ceiling {
		c.floor = c.proposal.from + 1 // others may have used what is between
	}
	seq := ipsec.Sequence{Next: c.floor, Ceiling: c.proposal.to}
	c.ceiling, c.proposal = c.proposal.to, nil
	n.stats.Raised++
	n.order(Order{Kind: Update, Changes: []Change{{ID: c.Out.ID, Sequence: &seq}}})
}

// contest moves an SA on which another has sent as well above its numbers, so
// that the peer's replay window takes ours again.
func (n *Node) contest(c *child, bound uint64) {
	c.Bound = max(c.Bound, min(bound, c.Out.Algorithms.MaxSequence()))
	if c.proposal == nil {
		n.raise(c)
	}
}

// askAgain repeats what a member has not answered before its stream ended.
func (n *Node) askAgain(p *peer) {
	for _, t := range n.ownedBy(n.cfg.Member) {
		for _, c := range t.pairs() {
			if c.proposal != nil && c.Holders.Has(p.id) && !c.proposal.granted.Has(p.id) {
				n.enqueue(p, c.propose(), 0)
			}
		}
	}
}
