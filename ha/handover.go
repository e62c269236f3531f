package ha

import (
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// A member that stops gives its tunnels away while all of it still works, one
// successor for each. The others keep on giving it the packets for a tunnel's
// client until they hear the successor's claim, and it sends them; so every packet
// finds one member that sends it, whatever way it came.
//
// Its SAs linger for as long: they are the successor's, but send until it says
// that everybody knows (Taken). Two members send on one SA meanwhile, as in a
// divided group, each with its own numbers: the leaver below the bound of all who
// stand by, the successor above (I1, I2).

// onLeave goes a step towards the end.
func (n *Node) onLeave(now time.Time, to Departure) {
	n.leaving = true
	if to == Handover && !n.gone && (n.unit == nil || !n.mated()) {
		n.listHeirless()
		return
	}
	if to == Silence && !n.silent {
		n.silent = true
		n.order(Order{Kind: Disarm, Group: n.cfg.Member})
		for _, t := range n.others() {
			n.hush(t)
		}
	}
	if n.gone {
		return
	}
	for _, p := range n.peers {
		if p != nil {
			n.flush(now, p) // the last news goes before the goodbye
		}
	}
	n.gone, n.toHand = true, nil
	n.heartbeat()
}

// mated tells whether another member of our unit takes our place: it takes all
// that is the unit's.
func (n *Node) mated() bool {
	for _, p := range n.peers {
		if p != nil && p.alive && n.mate(p) {
			return true
		}
	}
	return false
}

// listHeirless finds the tunnels that wait for a successor, or for another one.
func (n *Node) listHeirless() {
	if !n.leaving || n.gone || len(n.toHand) > 0 {
		return
	}
	for _, t := range n.ownedBy(n.cfg.Member) {
		if h := t.heir; h == nil || !h.lives() || h.out.stream != t.heirStream {
			t.heir = nil
			n.toHand = append(n.toHand, t)
		}
	}
}

// handOver names successors, as fast as they take their tunnels.
func (n *Node) handOver() {
	for len(n.toHand) > 0 {
		t := n.toHand[0]
		heir := n.successor(t)
		if heir != nil && len(heir.out.queue) >= n.cfg.Limits.Window {
			return
		}
		n.toHand = n.toHand[1:]
		if heir == nil || n.own(t.id) != t {
			continue // the goodbye leaves it to whom its packets come to
		}
		t.heir, t.heirStream = heir, heir.out.stream
		n.enqueue(heir, Handoff{Tunnel: t.id, Epoch: t.version.Epoch}, 0)
	}
}

// successor is the member that is to take over t: of those that could do so warm,
// one that is drawn by lot (rendezvous hashing), nil for none.
func (n *Node) successor(t *tunnel) *peer {
	var best *peer
	for _, p := range n.peers {
		if p == nil || !n.couldTake(p, t) {
			continue
		}
		if best == nil || mix(uint64(t.id), uint64(p.id)) > mix(uint64(t.id), uint64(best.id)) {
			best = p
		}
	}
	return best
}

func (n *Node) couldTake(p *peer, t *tunnel) bool {
	if !p.present() || !p.lives() || !p.synced || p.goes || p.role != Standby || !t.given.Has(p.id) || t.unheld.Has(p.id) {
		return false
	}
	for _, c := range t.children {
		if !c.Holders.Has(p.id) || c.Barred.Has(p.id) {
			return false
		}
	}
	return true
}

// onHandoff takes over a tunnel whose owner wants that. Where it cannot be, the
// owner finds out by the time that it takes.
func (n *Node) onHandoff(p *peer, r Handoff) {
	t := n.tunnels[r.Tunnel]
	if t == nil || r.Epoch.Member() != p.id || t.version.Epoch != r.Epoch || !n.fit() || n.subordinate() || !t.complete() {
		return
	}
	n.hard.Armed = n.hard.Armed.With(p.id)
	n.marked = false
	n.stats.Taken++
	n.seize(t, t.heard)
	t.from = p
	n.seized = append(n.seized, seized{t, t.version.Epoch, n.ordered()})
}

// seized is a tunnel that is ours, but that nobody knows of.
type seized struct {
	*tunnel
	epoch  Epoch
	serial uint64
}

// announceSeized tells of what was handed over once our dataplane sends on it: the
// packets for it come here as soon as others know.
func (n *Node) announceSeized(now time.Time) {
	for len(n.seized) > 0 && n.seized[0].serial <= n.carried {
		s := n.seized[0]
		n.seized = n.seized[1:]
		n.reveal(now, s)
	}
}

func (n *Node) reveal(now time.Time, s seized) {
	if s.claiming(n) && s.version.Epoch == s.epoch {
		n.announce(now, s.tunnel)
	}
}

// revealEarly announces t before our dataplane sends on it, if it was handed to us and
// nobody has heard of it.
func (n *Node) revealEarly(now time.Time, t *tunnel) {
	if i := slices.IndexFunc(n.seized, func(s seized) bool { return s.tunnel == t }); i >= 0 {
		s := n.seized[i]
		n.seized = slices.Delete(n.seized, i, i+1)
		n.reveal(now, s)
	}
}

// outdated tells p that t has another owner by now. Where that is us and nobody has
// heard of it, p hears the claim first, and supplies what it has published since.
func (n *Node) outdated(now time.Time, p *peer, t *tunnel) {
	n.revealEarly(now, t)
	n.note(p, t.owned(now, p))
}

// tellTaken tells who gave us t that all know that it is ours.
func (n *Node) tellTaken(t *tunnel) {
	if t.from != nil {
		n.enqueue(t.from, Taken{Tunnel: t.id, Epoch: t.version.Epoch}, 0)
		t.from = nil
	}
}

// lingers tells whether the SAs of t are to send on although heir has claimed it.
func (n *Node) lingers(t *tunnel, heir ipsec.MemberID) bool {
	return n.owns(t) && n.leaving && !n.gone && t.heir != nil && t.heir.id == heir
}

// linger leaves the SAs of t as they are in the dataplane.
func (n *Node) linger(t *tunnel) {
	n.stats.Handed++
	for _, c := range t.children {
		c.lingers = true
	}
}

// onTaken ends the lingering of a tunnel, but not at once: what others gave us for
// it before they knew may be on its way.
func (n *Node) onTaken(now time.Time, r Taken) {
	if t := n.tunnels[r.Tunnel]; t != nil && t.version.Epoch == r.Epoch && t.lingers() {
		n.hushing = append(n.hushing, hushing{t, now.Add(n.cfg.Heartbeat)})
	}
}

// hushing is a tunnel whose SAs linger until a time.
type hushing struct {
	*tunnel
	at time.Time
}

// hushDue ends the lingering of those whose time has come.
func (n *Node) hushDue(now time.Time) {
	for len(n.hushing) > 0 && !now.Before(n.hushing[0].at) {
		n.hush(n.hushing[0].tunnel)
		n.hushing = n.hushing[1:]
	}
}

// hush makes t stand by like others: what still comes goes to its owner.
func (n *Node) hush(t *tunnel) {
	if t.lingers() && n.tunnels[t.id] == t {
		n.stop(t)
	}
}

func (t *tunnel) lingers() bool {
	for _, c := range t.children {
		if c.lingers {
			return true
		}
	}
	return false
}

// Handing is how many tunnels a Handover is not done with: those that have a
// successor which has not taken them, or of which not all members know that it
// has. What nobody could take does not count.
func (n *Node) Handing() (count int) {
	if !n.leaving || n.gone {
		return 0
	}
	count = len(n.toHand)
	for _, t := range n.ownedBy(n.cfg.Member) {
		if t.heir != nil && t.heir.lives() {
			count++
		}
	}
	for _, t := range n.others() {
		if t.lingers() && !n.orphan(t) {
			count++
		}
	}
	return count
}
