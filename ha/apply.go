package ha

import (
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// onRecord carries out one record of p's stream.
func (n *Node) onRecord(now time.Time, p *peer, r Record) {
	if h, ok := r.(Hello); ok {
		n.onHello(p, h)
		return
	}
	if p.hello == nil {
		return // a member that we cannot work with
	}
	switch r := r.(type) {
	case PutIKE:
		n.onPutIKE(now, p, r)
	case PutChild:
		n.onPutChild(now, p, r)
	case DropChild:
		n.onDropChild(now, p, r)
	case Remove:
		n.onRemove(now, r)
	case Claim:
		n.onClaim(now, p, r)
	case Supply:
		n.onSupply(now, r)
	case Need:
		n.onNeed(now, p, r)
	case Owned:
		n.onOwned(now, r)
	case Unheld:
		n.onUnheld(p, r)
	case Handoff:
		n.onHandoff(p, r)
	case Taken:
		n.onTaken(now, r)
	case Propose:
		n.onPropose(now, p, r)
	case Grant:
		n.onGrant(p, r)
	case Refuse:
		n.onRefuse(r)
	case Address:
		n.onAddress(now, p, r)
	case MTU:
		n.onMTU(now, p, r)
	case Counters:
		n.onCounters(now, p, r)
	case Digest:
		n.onDigest(p, r)
	case Want:
		n.onWant(now, p, r)
	case Listing:
		n.onListing(p, r)
	case Return:
		n.onReturn(now, r)
	case Synced:
		p.in.complete, p.whole = true, true
	default:
		n.stats.UnknownRecords++
	}
}

// publishes tells whether p may say something new of a tunnel under epoch e: it
// is the member that the epoch names. One that is removed stays removed.
func (n *Node) publishes(p *peer, id ipsec.TunnelID, e Epoch) bool {
	switch {
	case e.Member() != p.id || e.Count() == 0 || e.Count() > maxCount:
		n.stats.BadRecords++
		return false
	case n.tombs.has(id, e):
		n.note(p, n.tombs.remove(id))
		return false
	}
	n.seen = max(n.seen, e.Count())
	return true
}

// copyFrom returns our copy of a tunnel that p owns under epoch e, nil when
// there is none. A p that does not know that it has lost the tunnel, or that the
// tunnel is no more, is told.
func (n *Node) copyFrom(now time.Time, p *peer, id ipsec.TunnelID, e Epoch) *tunnel {
	t := n.tunnels[id]
	if e.Member() != p.id {
		return nil
	}
	if t == nil {
		if n.tombs.has(id, e) {
			n.note(p, n.tombs.remove(id))
		}
		return nil
	}
	if t.version.Epoch > e {
		n.outdated(now, p, t)
	}
	if t.version.Epoch != e {
		return nil
	}
	return t
}

func (n *Node) onPutIKE(now time.Time, p *peer, r PutIKE) {
	if !n.publishes(p, r.Tunnel, r.Version.Epoch) {
		return
	}
	t := n.tunnels[r.Tunnel]
	why := n.whyNot(p, t, r)
	switch {
	case why != HeldWell:
		if t != nil && t.version.Epoch <= r.Version.Epoch {
			n.cede(t, r.Version.Epoch)
			n.forget(t)
		}
		n.note(p, Unheld{Tunnel: r.Tunnel, Why: why})
		return
	case t == nil:
		t = &tunnel{id: r.Tunnel}
		n.tunnels[t.id] = t
	case t.version.Epoch > r.Version.Epoch:
		n.outdated(now, p, t)
		return
	case t.version.Epoch < r.Version.Epoch:
		if n.insists(now, t, r.Title) {
			n.reclaim(now, t, r.Title, r.Children)
			return
		}
		n.cede(t, r.Version.Epoch)
	}
	n.touch(t)
	t.version = r.Version
	n.quit(t)
	n.entitle(now, t, p, r.Title)
	t.ike, t.listed = r.IKE, nil
	for _, b := range r.Children {
		t.listed = append(t.listed, b.Child)
	}
	n.dropUnlisted(t)
	n.rd.Copied = append(n.rd.Copied, t.id)
}

// whyNot tells why a tunnel of p is not to be held here.
func (n *Node) whyNot(p *peer, t *tunnel, r PutIKE) Unsynced {
	ours, ok := n.classes[r.IKE.Class]
	switch {
	case !ok:
		return NoSuchClass
	case ours != p.hello.Classes[r.IKE.Class]:
		return OtherClass
	case t == nil && len(n.tunnels) >= n.cfg.Limits.Tunnels, len(r.Children) > n.cfg.Limits.Children:
		return NoRoom
	default:
		return HeldWell
	}
}

// dropUnlisted takes out the children that are no more.
func (n *Node) dropUnlisted(t *tunnel) {
	var ids []ipsec.SAID
	for _, c := range t.pairs() {
		if !slices.Contains(t.listed, c.In.ID) {
			ids = append(ids, c.In.ID, c.Out.ID)
			n.dropChild(t, c.In.ID)
		}
	}
	if len(ids) > 0 {
		n.order(Order{Kind: Discard, IDs: ids})
	}
}

func (n *Node) onPutChild(now time.Time, p *peer, r PutChild) {
	t := n.copyFrom(now, p, r.Tunnel, r.Version.Epoch)
	if t == nil {
		return
	}
	if !n.acceptable(t, r.Child) {
		n.stats.BadRecords++
		return
	}
	n.touch(t)
	t.version = r.Version
	id := r.Child.In.ID
	c := t.child(id)
	// While p tells all that it has, most of it is new here.
	fresh := c == nil && n.bare && !p.in.complete
	if c == nil {
		c = &child{of: t, used: n.used[id]}
		delete(n.used, id)
		t.heard = now // it took two to make it
	} else if c.Out.ID != r.Child.Out.ID {
		delete(n.bySA, c.Out.ID)
		n.order(Order{Kind: Discard, IDs: []ipsec.SAID{c.Out.ID}})
	}
	if r.Child.Bound >= c.Bound {
		c.granted = r.Version.Epoch // the owner knows of all that we would use
	}
	bound, barred := max(c.Bound, r.Child.Bound), c.Barred|r.Child.Barred
	c.Child, c.since = r.Child, now
	c.Bound, c.Barred = bound, barred
	t.add(c)
	n.bySA[c.In.ID], n.bySA[c.Out.ID] = c, c
	if !slices.Contains(t.listed, id) {
		t.listed = append(slices.Clone(t.listed), id)
	}
	if !c.lingers {
		n.install(c, fresh)
	}
}

// acceptable tells whether a pair makes sense as a part of t.
func (n *Node) acceptable(t *tunnel, c Child) bool {
	if c.In.Direction != ipsec.Inbound || c.Out.Direction != ipsec.Outbound || c.Bound == 0 || c.Barred.Has(n.cfg.Member) ||
		c.In.ID == c.Out.ID || len(c.In.Sequence.Bitmap) > ipsec.MaxReplayWindow/8 {
		return false
	}
	if t.child(c.In.ID) == nil && len(t.children) >= n.cfg.Limits.Children {
		return false
	}
	for _, id := range []ipsec.SAID{c.In.ID, c.Out.ID} {
		if have := n.bySA[id]; have != nil && (have.of != t || have.In.ID != c.In.ID) {
			return false
		}
	}
	return true
}

// install puts a pair into our dataplane as standby, outbound above all that
// anybody else may use. fresh says that it cannot be there.
func (n *Node) install(c *child, fresh bool) {
	in, out := c.In, c.Out
	in.Group, out.Group = c.of.owner(), c.of.owner()
	in.Sender, out.Sender = n.cfg.Member, n.cfg.Member
	n.rebase(c)
	out.Sequence, _ = n.share(c)
	n.order(Order{Kind: Install, SAs: []ipsec.SA{in, out}})
	if fresh {
		return
	}
	// One of the same generation would be left as it is, its replay window too (I9).
	changes := n.standby(c)
	if in.Sequence.Highest != 0 {
		changes[0].Sequence = &ipsec.Sequence{Highest: in.Sequence.Highest, Bitmap: in.Sequence.Bitmap}
	}
	n.order(Order{Kind: Update, Changes: changes})
}

// standby are the changes that make a pair wait for the death of its owner.
func (n *Node) standby(c *child) []Change {
	owner, no := c.of.owner(), false
	c.lingers = false
	n.rebase(c)
	seq, _ := n.share(c)
	return []Change{
		{ID: c.In.ID, Group: &owner, Active: &no},
		{ID: c.Out.ID, Group: &owner, Active: &no, Sequence: &seq},
	}
}

func (n *Node) onDropChild(now time.Time, p *peer, r DropChild) {
	t := n.copyFrom(now, p, r.Tunnel, r.Version.Epoch)
	if t == nil {
		return
	}
	n.touch(t)
	t.version = r.Version
	t.listed = slices.DeleteFunc(slices.Clone(t.listed), func(id ipsec.SAID) bool { return id == r.Child })
	n.dropUnlisted(t)
}

// onRemove buries a tunnel. Anybody may bring the news.
func (n *Node) onRemove(now time.Time, r Remove) {
	if len(r.Answer) > n.cfg.Limits.AnswerOctets {
		n.stats.BadRecords++
		r.Answer = nil
	}
	if n.tombs.add(now, r) {
		n.rd.Answers = append(n.rd.Answers, r.Answer)
	}
	t := n.tunnels[r.Tunnel]
	if t == nil || !n.tombs.has(t.id, t.version.Epoch) {
		return
	}
	n.rd.Gone = append(n.rd.Gone, t.id)
	if n.owns(t) {
		n.discard(t)
		n.forget(t)
		n.broadcast(now, t, func(*peer) Record { return n.tombs.remove(t.id) })
		return
	}
	n.forget(t)
}

func (n *Node) onAddress(now time.Time, p *peer, r Address) {
	t := n.copyFrom(now, p, r.Tunnel, r.Version.Epoch)
	if t == nil {
		return
	}
	n.touch(t)
	t.version = r.Version
	t.move(r.Endpoint)
	var changes []Change
	for _, c := range t.pairs() {
		changes = append(changes, Change{ID: c.In.ID, Endpoint: &r.Endpoint}, Change{ID: c.Out.ID, Endpoint: &r.Endpoint})
	}
	if len(changes) > 0 {
		n.order(Order{Kind: Update, Changes: changes})
	}
}

func (n *Node) onMTU(now time.Time, p *peer, r MTU) {
	c := n.bySA[r.SA]
	if c == nil || n.copyFrom(now, p, r.Tunnel, r.Epoch) != c.of {
		return
	}
	c.sa(r.SA).PathMTU = r.MTU
	n.order(Order{Kind: Update, Changes: []Change{{ID: r.SA, MTU: &r.MTU}}})
}

// refuse notes that the dataplane did not take an SA of another's tunnel.
func (n *Node) refuse(c *child) {
	if n.owns(c.of) || c.refused {
		return
	}
	c.refused = true
	n.touch(c.of)
	n.refused++
	if p := n.peers[c.of.owner()]; p != nil && p.present() {
		n.note(p, Unheld{Tunnel: c.of.id, Why: PlaneRefused})
	}
}

// tellUnheld repeats, on a new stream to p, which of its tunnels we do not hold.
func (n *Node) tellUnheld(p *peer) {
	if n.refused == 0 {
		return
	}
	for _, t := range n.ownedBy(p.id) {
		if t.refused() {
			n.note(p, Unheld{Tunnel: t.id, Why: PlaneRefused})
		}
	}
}

func (n *Node) onUnheld(p *peer, r Unheld) {
	t := n.own(r.Tunnel)
	if t == nil {
		return
	}
	n.stats.Unheld++
	t.unheld = t.unheld.With(p.id)
}
