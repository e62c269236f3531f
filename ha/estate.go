package ha

import (
	"maps"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// A dataplane may outlive a life of ours. What it was armed for, and what it had for
// other members, is silent as soon as the next life begins. What we owned it goes on
// sending, up to the ceilings that it has: for the rest of the group that is one half
// of a divided group, whose numbers nobody else uses (I1, I2).
//
// While the new life syncs, other members give back what they have of these tunnels,
// unless one of them has claimed it; a journal may have them too. Once everybody has
// had its say we claim them, as any survivor would, but for the numbers: those that
// the dataplane has are ours still. Tunnels that another member owns fall silent here
// when it gives them to us. What nobody accounts for then is deleted.

// estate is what our last life has left.
type estate struct {
	// left are the SAs in our dataplane, of are their names by tunnel.
	left map[ipsec.SAID]Left
	of   map[ipsec.TunnelID][]ipsec.SAID
	// tunnels are those that it owned, in their newest copies.
	tunnels map[ipsec.TunnelID]*bequest
}

// bequest is one of them.
type bequest struct {
	Return
	since time.Time // when the ages in it were as they stand
	age   time.Duration
}

// onPlane notes whether there is a dataplane, and what it has of our last life.
func (n *Node) onPlane(in Plane) {
	n.planeUp, n.bare = in.Up, in.Up && in.Bare
	if !in.Up || in.Left == nil || n.role != Syncing || n.estate != nil {
		return
	}
	n.adopts = true
	n.estate = &estate{left: maps.Clone(in.Left), of: make(map[ipsec.TunnelID][]ipsec.SAID), tunnels: make(map[ipsec.TunnelID]*bequest)}
	for _, id := range slices.SortedFunc(maps.Keys(in.Left), compareSA) {
		tunnel := in.Left[id].Tunnel
		n.estate.of[tunnel] = append(n.estate.of[tunnel], id)
	}
	for m := range ipsec.MemberID(ipsec.MaxMembers) {
		if m != n.cfg.Member {
			n.order(Order{Kind: Disarm, Group: m})
		}
	}
}

// quit makes what our last life has left of a tunnel fall silent: another member owns
// it. Those SAs that are not given to us are deleted with all that nobody knows.
func (n *Node) quit(t *tunnel) {
	if n.estate == nil {
		return
	}
	owner, no := t.owner(), false
	var changes []Change
	for _, id := range n.estate.of[t.id] {
		if n.Inherits(id) {
			changes = append(changes, Change{ID: id, Group: &owner, Active: &no})
		}
	}
	delete(n.estate.of, t.id)
	if len(changes) > 0 {
		n.order(Order{Kind: Update, Changes: changes})
	}
}

// Inherits tells whether an SA in our dataplane is of our last life, and not settled
// yet.
func (n *Node) Inherits(id ipsec.SAID) bool {
	if n.estate == nil {
		return false
	}
	_, left := n.estate.left[id]
	return left
}

// Settled tells whether nothing of our last life waits to be settled.
func (n *Node) Settled() bool { return n.estate == nil && len(n.claims) == 0 }

// unclaimed are the tunnels of p's last life that p can go on with, none where its
// dataplane has not lived on.
func (n *Node) unclaimed(p *peer) []ipsec.TunnelID {
	if p.hello == nil || !p.hello.Adopts || p.synced {
		return nil
	}
	var out []ipsec.TunnelID
	for _, t := range n.ownedBy(p.id) {
		if n.returnable(p, t) {
			out = append(out, t.id)
		}
	}
	return out
}

// returnable tells whether t is still p's, and all of it is here (I4).
func (n *Node) returnable(p *peer, t *tunnel) bool {
	if t.owner() != p.id || t.life == p.life || !t.complete() || !n.eligible(p, t) {
		return false
	}
	return !slices.ContainsFunc(t.children, func(c *child) bool { return c.Barred.Has(p.id) })
}

// giveBack gives p a tunnel of its last life.
func (n *Node) giveBack(now time.Time, p *peer, id ipsec.TunnelID) {
	t := n.tunnels[id]
	if t == nil || !n.returnable(p, t) {
		return
	}
	r := Return{Tunnel: id, Version: t.version, Title: t.title(now), IKE: t.ike, Behind: p.lacked}
	for _, c := range t.pairs() {
		r.Children = append(r.Children, c.aged(now))
	}
	n.enqueue(p, r, 0)
}

// onReturn notes what another member has of a tunnel of our last life.
func (n *Node) onReturn(now time.Time, r Return) {
	if n.estate == nil {
		return // the others will look after it
	}
	if !n.plausible(r) {
		n.stats.BadRecords++
		return
	}
	n.seen = max(n.seen, r.Version.Epoch.Count())
	n.bequeath(&bequest{Return: r, since: now})
}

// onRemembered notes what is on disk of a tunnel of our last life.
func (n *Node) onRemembered(now time.Time, in Remembered) {
	if n.estate == nil || !n.plausible(in.Return) {
		n.jot(Remove{Tunnel: in.Return.Tunnel})
		return
	}
	n.bequeath(&bequest{Return: in.Return, since: now.Add(-in.Age), age: in.Age})
}

func (n *Node) plausible(r Return) bool {
	e := r.Version.Epoch
	return e.Member() == n.cfg.Member && e.Count() > 0 && e.Count() <= maxCount && r.IKE.State.Len() > 0 &&
		len(r.Children) <= n.cfg.Limits.Children && len(n.estate.tunnels) < n.cfg.Limits.Tunnels
}

// bequeath keeps the newer of two copies, with all that either knows of who may have
// sent.
func (n *Node) bequeath(b *bequest) {
	have := n.estate.tunnels[b.Tunnel]
	if have == nil {
		n.estate.tunnels[b.Tunnel] = b
		return
	}
	newer, older := b, have
	if have.Version.Compare(b.Version) >= 0 {
		newer, older = have, b
	}
	if newer.Version == older.Version {
		newer.Behind = newer.Behind && older.Behind
	}
	newer.Title.Past |= older.Title.Past
	for i := range newer.Children {
		c := &newer.Children[i]
		for _, o := range older.Children {
			if o.In.ID == c.In.ID {
				c.Bound, c.Barred = max(c.Bound, o.Bound), c.Barred|o.Barred
			}
		}
	}
	n.estate.tunnels[b.Tunnel] = newer
}

// settleEstate goes on with what is ours still, and deletes what nobody accounts for.
// It comes before anything is armed: what would start by itself then must be known.
func (n *Node) settleEstate(now time.Time) {
	if n.estate == nil {
		return
	}
	e := n.estate
	if len(e.tunnels) > 0 {
		n.nextCount()
	}
	for _, id := range slices.Sorted(maps.Keys(e.tunnels)) {
		n.resume(now, e.tunnels[id])
		if n.own(id) == nil {
			n.jot(Remove{Tunnel: id})
		}
	}
	n.estate = nil
	var strays []ipsec.SAID
	for id := range e.left {
		if n.bySA[id] == nil {
			strays = append(strays, id)
		}
	}
	slices.SortFunc(strays, compareSA)
	n.stats.Swept += uint64(len(strays))
	for part := range slices.Chunk(strays, discardBatch) {
		n.order(Order{Kind: Discard, IDs: part})
	}
}

// discardBatch bounds one order.
const discardBatch = 4096

// resume claims a tunnel of our last life, which has gone on in our dataplane.
func (n *Node) resume(now time.Time, b *bequest) {
	_, configured := n.classes[b.IKE.Class]
	if n.tunnels[b.Tunnel] != nil || n.tombs.has(b.Tunnel, b.Version.Epoch) || !configured {
		return // it has another owner by now, or an end
	}
	t := &tunnel{id: b.Tunnel, version: Version{Epoch: NewEpoch(n.hard.Count, n.cfg.Member), Change: b.Version.Change}, ike: b.IKE}
	for _, c := range b.Children {
		if !n.acceptable(t, c) {
			n.stats.BadRecords++
			return
		}
	}
	n.tunnels[t.id] = t
	n.touch(t)
	t.claimed, t.life, t.behind, t.age = b.Version, n.hard.Life, b.Behind, b.age
	t.past, t.reclaimed = b.Title.Past.With(n.cfg.Member), b.Title.Reclaimed
	if b.Title.Quiet < never {
		t.heard = b.since.Add(-b.Title.Quiet)
	}
	n.claims[t.id] = t
	n.stats.Resumed++
	for _, c := range b.Children {
		n.goOn(t, &child{of: t, Child: c, since: b.since})
	}
	t.listed = t.names()
	n.announce(now, t)
	for _, c := range t.pairs() {
		n.askLate(c) // after the claim: who knows that t has ended says so, and grants nothing
	}
}

// goOn makes a pair of our last life one of t. Its dataplane sends up to the ceiling
// that it has; more needs a Grant of everybody, as for any successor. A pair that is
// not there is not put back: nobody knows what had been accepted (I9).
func (n *Node) goOn(t *tunnel, c *child) {
	me, yes := n.cfg.Member, true
	left, there := n.estate.left[c.Out.ID]
	if !n.Inherits(c.In.ID) || !there {
		return
	}
	seq := left.Sequence
	t.add(c)
	n.bySA[c.In.ID], n.bySA[c.Out.ID] = c, c
	last := c.Out.Algorithms.MaxSequence()
	c.ceiling = min(seq.Ceiling, last)
	if n.unbounded {
		c.ceiling = last
	}
	c.Bound, c.Holders = max(c.Bound, c.ceiling), n.cfg.Members
	for _, p := range n.peers {
		if p != nil && p.hello != nil && t.past&p.hello.Armed != 0 {
			n.bar(c, p) // as judge would have, had it known of c
		}
	}
	n.order(Order{Kind: Update, Changes: []Change{{ID: c.In.ID, Group: &me, Active: &yes}, {ID: c.Out.ID, Group: &me, Active: &yes}}})
	if seq.Next >= last {
		c.spent = Exhausted // our last life, or another before it, has put it there
	}
}

// askLate asks for more numbers for a pair of our last life where it is in need of them:
// it may have asked while nobody listened.
func (n *Node) askLate(c *child) {
	next := n.estate.left[c.Out.ID].Sequence.Next
	if c.spent != 0 || !n.unbounded && (next > c.ceiling || c.ceiling-next < n.cfg.Lease/2) {
		n.raise(c)
	}
}

// jot writes down what a next life should know.
func (n *Node) jot(records ...Record) {
	if n.cfg.Journal {
		n.rd.Journal = append(n.rd.Journal, records...)
	}
}

// jotAll writes all of t down.
func (n *Node) jotAll(now time.Time, t *tunnel) {
	if !n.cfg.Journal {
		return
	}
	n.jot(t.journaled(now))
	for _, c := range t.pairs() {
		n.jot(PutChild{Tunnel: t.id, Version: t.version, Child: c.aged(now)})
	}
}

// journaled is the IKE SA of t for a next life.
func (t *tunnel) journaled(now time.Time) PutIKE {
	return PutIKE{Tunnel: t.id, Version: t.version, Title: t.title(now), IKE: t.ike}
}
