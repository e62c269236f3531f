package ha

import (
	"cmp"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// tunnel is our copy of a tunnel: our own, or one of another member that we
// stand by for.
type tunnel struct {
	id      ipsec.TunnelID
	version Version
	// life is the life of the owner that published it. With that life it loses
	// its owner.
	life Life
	past Members
	ike  IKE
	// children are in the order of their inbound SAs. The slice is replaced, never
	// changed: whoever goes through it may take out what it finds.
	children []*child
	// listed are the children that the owner says there are. The copy is
	// complete when they are there.
	listed []ipsec.SAID

	// Of an owned one: given are the members that have had all of it on their
	// present stream, told those that know of the claim, unheld those that say
	// that they do not hold it.
	given, told, unheld Members
	// awaited are the members that have not acknowledged our claim; until they
	// have, or restoreBy, a newer copy may come.
	awaited   Members
	claimed   Version // what the claim was made from
	restoreBy time.Time
	behind    bool // as Restored
	age       time.Duration
	// heir is the member that we want to take it over from us, in that stream; from
	// is who wanted us to.
	heir, from *peer
	heirStream uint64
	// heard is when the peer of an owned one was heard last, zero for never.
	heard     time.Time
	reclaimed bool // as Title

	filed filed
}

// child is our copy of one pair.
type child struct {
	of *tunnel
	Child
	since time.Time // when the lifetimes' ages were as they stand
	// ceiling is what the owner may send up to, floor where it began with that, zero for
	// the first number. Every order that raises the ceiling has it: our dataplane may not
	// have had the SA when it was told first.
	ceiling, floor uint64
	// base is where our share of another's numbers begins in the dataplane: not
	// below Bound. used is how far our dataplane may have sent by itself.
	base, used uint64
	// granted is the epoch at which Bound was promised last.
	granted  Epoch
	proposal *proposal
	// worn is why it needs new keys, until the engine has been told.
	worn Worn
	// spent is why our dataplane was put at the end of its numbers, 0 where it was not.
	// As they never move backwards in it, no Grant makes it send on c again.
	spent   Worn
	refused bool // by our dataplane
	// renewing: it is among Node.renewing.
	renewing bool
	// lingers: our dataplane sends on it still, although its tunnel has gone to our
	// heir.
	lingers bool
	// told: the counters of the inbound and the outbound SA that we know were
	// published by us, to all members that are there.
	told [2]bool
}

// owns tells whether t is ours.
func (n *Node) owns(t *tunnel) bool { return t.version.Epoch.Member() == n.cfg.Member }

// owner is the member that owns t.
func (t *tunnel) owner() ipsec.MemberID { return t.version.Epoch.Member() }

// complete tells whether all parts of t are here and in the dataplane.
func (t *tunnel) complete() bool {
	if t.ike.State.Len() == 0 {
		return false
	}
	for _, id := range t.listed {
		if c := t.child(id); c == nil || c.refused {
			return false
		}
	}
	return true
}

// refused tells whether our dataplane did not take an SA of t.
func (t *tunnel) refused() bool {
	for _, c := range t.children {
		if c.refused {
			return true
		}
	}
	return false
}

// pairs returns the children in a fixed order.
func (t *tunnel) pairs() []*child { return t.children }

// child returns the pair with that inbound SA, nil when there is none.
func (t *tunnel) child(id ipsec.SAID) *child {
	if i, ok := t.find(id); ok {
		return t.children[i]
	}
	return nil
}

func (t *tunnel) find(id ipsec.SAID) (int, bool) {
	return slices.BinarySearchFunc(t.children, id, func(c *child, id ipsec.SAID) int { return compareSA(c.In.ID, id) })
}

// add puts a pair among the children, if it is not there.
func (t *tunnel) add(c *child) {
	if i, ok := t.find(c.In.ID); !ok {
		t.children = slices.Insert(slices.Clip(t.children), i, c)
	}
}

// remove takes a pair out.
func (t *tunnel) remove(c *child) {
	if i, ok := t.find(c.In.ID); ok {
		t.children = slices.Delete(slices.Clone(t.children), i, i+1)
	}
}

func compareSA(a, b ipsec.SAID) int { return a.Compare(b) }

// own returns one of our tunnels, nil when it is not ours.
func (n *Node) own(id ipsec.TunnelID) *tunnel {
	if t := n.tunnels[id]; t != nil && n.owns(t) {
		return t
	}
	return nil
}

// onStoreIKE publishes the IKE SA of one of our tunnels.
func (n *Node) onStoreIKE(now time.Time, in StoreIKE) {
	t := n.tunnels[in.Tunnel]
	switch {
	case t == nil && n.tombs.has(in.Tunnel, NewEpoch(n.hard.Count, n.cfg.Member)):
		n.rd.Lost = append(n.rd.Lost, in.Tunnel)
		return
	case t == nil:
		t = &tunnel{
			id: in.Tunnel, life: n.hard.Life, past: MembersOf(n.cfg.Member),
			version: Version{Epoch: NewEpoch(n.hard.Count, n.cfg.Member)},
		}
		n.tunnels[t.id] = t
	case !n.owns(t):
		n.rd.Lost = append(n.rd.Lost, in.Tunnel) // the engine has not heard yet
		return
	}
	later := t.ike.Unknown
	t.ike = in.IKE
	t.ike.Unknown = later
	if in.Heard {
		t.heard = now
	}
	n.publish(now, t, func(p *peer) Record { return t.putIKE(now, p) })
	n.jot(t.journaled(now))
}

// putIKE is what p is told: children that it is barred from do not exist.
func (t *tunnel) putIKE(now time.Time, p *peer) PutIKE {
	return PutIKE{Tunnel: t.id, Version: t.version, Title: t.title(now), Children: t.bounds(p), IKE: t.ike}
}

// never is a time for which no peer is silent.
const never = 1 << 62 * time.Nanosecond

func (t *tunnel) title(now time.Time) Title {
	title := Title{Past: t.past, Quiet: never, Reclaimed: t.reclaimed}
	if !t.heard.IsZero() {
		title.Quiet = now.Sub(t.heard)
	}
	return title
}

func (t *tunnel) names() []ipsec.SAID {
	var out []ipsec.SAID
	for _, c := range t.pairs() {
		out = append(out, c.In.ID)
	}
	return out
}

func (t *tunnel) bounds(p *peer) []Bound {
	out := make([]Bound, 0, len(t.pairs()))
	for _, c := range t.pairs() {
		if !c.Barred.Has(p.id) {
			out = append(out, Bound{Child: c.In.ID, Bound: c.Bound})
		}
	}
	return out
}

// onStoreChild publishes a pair. Everybody who is there is entrusted with it.
func (n *Node) onStoreChild(now time.Time, in StoreChild) {
	t := n.own(in.Tunnel)
	if t == nil || t.ike.State.Len() == 0 {
		return // it was lost meanwhile
	}
	c := t.child(in.In.ID)
	if c == nil {
		ceiling := min(cmp.Or(in.Out.Sequence.Ceiling, n.cfg.Lease), in.Out.Algorithms.MaxSequence())
		if n.unbounded {
			ceiling = in.Out.Algorithms.MaxSequence()
		}
		c = &child{of: t, ceiling: ceiling}
		c.Bound, c.Holders = ceiling, MembersOf(n.cfg.Member)
		if next := in.Out.Sequence.Next; next > ceiling {
			c.Bound = next // it has no number to send, and leaves none to others
		}
	} else {
		delete(n.bySA, c.Out.ID)
	}
	c.In, c.Out, c.since = in.In, in.Out, now
	t.add(c)
	n.bySA[c.In.ID], n.bySA[c.Out.ID] = c, c
	n.entrust(c)
	t.heard = now // it took two to make it
	n.publish(now, t, func(*peer) Record { return PutChild{Tunnel: t.id, Version: t.version, Child: c.aged(now)} })
	n.jot(PutChild{Tunnel: t.id, Version: t.version, Child: c.aged(now)})
}

// entrust notes who is given c now.
func (n *Node) entrust(c *child) {
	for _, p := range n.peers {
		if p != nil && p.present() && n.eligible(p, c.of) {
			c.Holders = c.Holders.With(p.id)
		}
	}
}

// aged is c as it stands at now.
func (c *child) aged(now time.Time) Child {
	out := c.Child
	passed := now.Sub(c.since)
	out.In.Lifetime.Age += passed
	out.Out.Lifetime.Age += passed
	return out
}

// onDeleteChild takes back a pair.
func (n *Node) onDeleteChild(now time.Time, in DeleteChild) {
	t := n.own(in.Tunnel)
	if t == nil || t.child(in.Child) == nil {
		return
	}
	n.dropChild(t, in.Child)
	n.publish(now, t, func(*peer) Record { return DropChild{Tunnel: t.id, Version: t.version, Child: in.Child} })
	n.jot(DropChild{Tunnel: t.id, Version: t.version, Child: in.Child})
}

func (n *Node) dropChild(t *tunnel, id ipsec.SAID) {
	c := t.child(id)
	n.touch(t)
	t.remove(c)
	n.expose(c)
	if c.refused {
		n.refused--
	}
	if c.used > c.Bound && len(n.used) < n.cfg.Limits.Tunnels {
		n.used[id] = c.used // it may come again
	}
	for _, sa := range []ipsec.SAID{c.In.ID, c.Out.ID} {
		delete(n.bySA, sa)
		delete(n.counts, sa)
	}
}

// onDelete removes one of our tunnels.
func (n *Node) onDelete(now time.Time, in Delete) {
	t := n.own(in.Tunnel)
	if t == nil {
		return
	}
	r := Remove{Tunnel: t.id, Epoch: t.version.Epoch, Final: in.Final}
	if len(in.Answer) <= n.cfg.Limits.AnswerOctets {
		r.Answer = in.Answer
	}
	n.forget(t)
	n.tombs.add(now, r)
	n.broadcast(now, t, func(*peer) Record { return r })
}

// onMoved publishes a new outer address.
func (n *Node) onMoved(now time.Time, in Moved) {
	t := n.own(in.Tunnel)
	if t == nil {
		return
	}
	t.move(in.Endpoint)
	n.publish(now, t, func(*peer) Record { return Address{Tunnel: t.id, Version: t.version, Endpoint: in.Endpoint} })
	n.jotAll(now, t)
}

func (t *tunnel) move(e Endpoint) {
	for _, c := range t.children {
		for _, sa := range []*ipsec.SA{&c.In, &c.Out} {
			sa.Local, sa.Remote, sa.Encap = e.Local, e.Remote, e.Encap
		}
	}
}

// onLearned passes on a path MTU.
func (n *Node) onLearned(in Learned) {
	c := n.bySA[in.SA]
	if c == nil || !n.owns(c.of) {
		return
	}
	c.sa(in.SA).PathMTU = in.MTU
	for _, p := range n.peers {
		if p != nil && c.of.given.Has(p.id) {
			n.enqueue(p, MTU{Tunnel: c.of.id, Epoch: c.of.version.Epoch, SA: in.SA, MTU: in.MTU}, 0)
		}
	}
}

// sa is the one of the pair that has the name.
func (c *child) sa(id ipsec.SAID) *ipsec.SA {
	if id == c.In.ID {
		return &c.In
	}
	return &c.Out
}

// publish makes a change of one of our tunnels known, and remembers who must
// have it before the peer may know.
func (n *Node) publish(now time.Time, t *tunnel, record func(*peer) Record) {
	n.touch(t)
	t.version.Change++
	t.listed = t.names()
	n.broadcast(now, t, func(p *peer) Record {
		if !t.given.Has(p.id) {
			return nil // all of it
		}
		return record(p)
	})
}

// broadcast queues a record for everybody who should hold t; where it is nil,
// all of t.
func (n *Node) broadcast(now time.Time, t *tunnel, record func(*peer) Record) {
	n.index++
	n.rd.Index = n.index
	var asked Members
	for _, p := range n.peers {
		if p == nil || !p.present() || !n.eligible(p, t) {
			continue
		}
		if r := record(p); r != nil {
			n.enqueue(p, r, n.index)
		} else {
			n.give(now, p, t, n.index)
		}
		if p.synced {
			asked = asked.With(p.id)
		}
	}
	_, synced := n.classes[t.ike.Class]
	n.await(now, t, asked, synced)
}

// give queues all of t for p. The last record carries the index.
func (n *Node) give(now time.Time, p *peer, t *tunnel, index Index) {
	all := make([]Record, 1, 2+len(t.pairs()))
	for _, c := range t.pairs() {
		if c.Barred.Has(p.id) {
			continue
		}
		c.Holders = c.Holders.With(p.id)
		all = append(all, PutChild{Tunnel: t.id, Version: t.version, Child: c.aged(now)})
		if c.proposal != nil {
			all = append(all, c.propose())
		}
	}
	all[0] = t.putIKE(now, p)
	stream := p.out.stream
	for i, r := range all {
		at := Index(0)
		if i == len(all)-1 {
			at = index
		}
		n.enqueue(p, r, at)
		if p.out.stream != stream {
			return // it fell out, and syncs again
		}
	}
	t.given, t.told = t.given.With(p.id), t.told.With(p.id)
	t.unheld = t.unheld.Without(p.id) // until it says so again
}

// forget drops a copy, from the dataplane as well when it is another's.
func (n *Node) forget(t *tunnel) {
	if n.owns(t) {
		n.jot(Remove{Tunnel: t.id})
	} else {
		n.discard(t)
		n.rd.Dropped = append(n.rd.Dropped, t.id)
	}
	for _, c := range t.children {
		n.dropChild(t, c.In.ID)
	}
	delete(n.tunnels, t.id)
	n.touch(t)
	delete(n.claims, t.id)
	delete(n.strays, t.id)
}

// discard takes the SAs of t out of the dataplane.
func (n *Node) discard(t *tunnel) {
	var ids []ipsec.SAID
	for _, c := range t.pairs() {
		ids = append(ids, c.In.ID, c.Out.ID)
	}
	if len(ids) > 0 {
		n.order(Order{Kind: Discard, IDs: ids})
	}
}
