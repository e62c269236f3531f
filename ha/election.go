package ha

import (
	"cmp"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// elect decides whether we are the primary of our unit. Every member decides for
// itself, by what all have said of themselves.
//
// A primary that finds a better one steps back first. What it owns goes on until the
// other, whose dataplane is at work by then, has claimed it, as both have numbers of
// their own (I1, I2): so nothing is lost between them. Where the other does not have
// all of it, or is primary already, its SAs are silent before the other hears of it.
// Who is chosen waits for that while it hears the primary, and for nothing when it
// does not. Two primaries, after their network was
// divided, decide by the same rules, and the later one steps back. The first
// choice of all waits a little, as members that start together do not become fit
// at the same moment.
func (n *Node) elect(now time.Time) {
	u := n.unit
	if u == nil {
		return
	}
	fit := n.fit()
	switch {
	case !fit:
		u.since = time.Time{}
	case u.since.IsZero():
		u.since = now
	}
	best, won := n.choose(now)
	switch {
	case u.primary && (!fit || !won && n.takesOver(best)):
		n.resign()
		if fit && best != nil && best.synced && !best.standing.Primary {
			u.handing = now.Add(handingTime)
		} else {
			n.silenceOwn()
		}
	case !u.handing.IsZero() && !now.Before(u.handing):
		n.silenceOwn()
	case !u.primary && fit && won && !n.reigned() && (u.led || now.Sub(u.since) >= n.silence()):
		n.reign()
	}
}

// fit tells whether we could be primary.
func (n *Node) fit() bool { return n.role == Standby && n.planeUp && !n.leaving }

// candidate tells whether p could be primary of its unit.
func (p *peer) candidate() bool {
	return p.alive && !p.unfit && p.role == Standby && p.standing != nil
}

// choose finds the best candidate of our unit; it is nil, and ours the choice,
// when there is no better one than we are.
func (n *Node) choose(now time.Time) (best *peer, won bool) {
	margin := cmp.Or(n.unit.AgeMargin, DefaultAgeMargin)
	chosen := *n.standing(now)
	won = true
	for _, p := range n.peers {
		if p == nil || !n.mate(p) || !p.candidate() {
			continue
		}
		theirs := *p.standing
		theirs.Age += now.Sub(p.heard)
		if !n.fit() && won || theirs.before(chosen, margin) {
			best, won, chosen = p, false, theirs
		}
	}
	return best, won && n.fit()
}

// takesOver tells whether p can take our place now. Without need we wait until it
// has all that we own.
func (n *Node) takesOver(p *peer) bool {
	return p != nil && (p.synced || p.standing.Primary || p.standing.Failed < n.unit.failed)
}

// reigned tells whether another member of our unit says that it is primary.
func (n *Node) reigned() bool {
	for _, p := range n.peers {
		if p != nil && n.mate(p) && p.lives() {
			return true
		}
	}
	return false
}

// before tells whether s is to be primary rather than o: who has more of its
// links; who was not told to step back; with override, the higher priority;
// whoever is primary already, the longer one of two; then age, where it differs
// by more than margin, and priority; the serial at last.
func (s Standing) before(o Standing, margin time.Duration) bool {
	override := s.Override || o.Override
	priority := cmp.Compare(o.Priority, s.Priority)
	ranks := []int{cmp.Compare(s.Failed, o.Failed), cmp.Compare(s.Yielded, o.Yielded)}
	if override {
		ranks = append(ranks, priority)
	}
	ranks = append(ranks, s.incumbency(o))
	if d := s.Age - o.Age; d > margin || d < -margin {
		ranks = append(ranks, cmp.Compare(o.Age, s.Age))
	}
	return cmp.Or(append(ranks, priority, cmp.Compare(o.Serial, s.Serial))...) < 0
}

func (s Standing) incumbency(o Standing) int {
	switch {
	case s.Primary && o.Primary:
		return cmp.Compare(s.Term, o.Term)
	case s.Primary:
		return -1
	case o.Primary:
		return 1
	default:
		return 0
	}
}

// reign makes us primary. What we own already starts again with one call.
func (n *Node) reign() {
	u := n.unit
	n.nextCount()
	u.primary, u.led, u.term, u.yielded = true, true, n.hard.Count, 0
	u.handing = time.Time{}
	n.stats.Reigns++
	n.order(Order{Kind: Promote, Group: n.cfg.Member})
	u.ready = n.ordered()
	n.beat = n.last // in this step the others hear of it, and we look what there is to inherit
}

// handingTime bounds how long two members do what one primary does, while the one
// hands over to the other.
const handingTime = 2 * time.Second

// silenceOwn ends what we own here, and with it a handing over.
func (n *Node) silenceOwn() {
	n.unit.handing = time.Time{}
	n.order(Order{Kind: Disarm, Group: n.cfg.Member})
}

// takesStill tells whether the last primary may not know yet that we have taken over.
func (n *Node) takesStill(now time.Time) bool {
	return now.Before(n.unit.taking) && len(n.claims) > 0
}

// resign makes us subordinate: what we own is the others' for the asking.
func (n *Node) resign() {
	u := n.unit
	u.primary, u.term, u.taking = false, 0, time.Time{}
	for m := range n.cfg.Members.Without(n.cfg.Member).All() {
		if n.armed[m] != 0 {
			n.disarmGroup(n.peers[m])
		}
	}
	n.beat = n.last
}

// UnitStatus is a unit as this member sees it.
type UnitStatus struct {
	// Primary is the member that is it, if there is one.
	Primary  ipsec.MemberID
	Settled  bool
	Standing Standing
	// Unsure are members whose tunnels we have taken over, or had, without every member
	// knowing of all that came of it: if we die now, those tunnels get new keys.
	Unsure Members
	// Mates are the other members of the unit that were heard in this life.
	Mates []MateStatus
}

// MateStatus is another member of the unit.
type MateStatus struct {
	Member   ipsec.MemberID
	Alive    bool
	Standing Standing // as it was when it was heard last
}

// UnitStatus describes our unit at now; false outside of one.
func (n *Node) UnitStatus(now time.Time) (UnitStatus, bool) {
	s := n.standing(now)
	if s == nil {
		return UnitStatus{}, false
	}
	out := UnitStatus{Standing: *s, Primary: n.cfg.Member, Settled: s.Primary, Unsure: n.hard.Armed}
	for _, p := range n.peers {
		if p == nil || !n.mate(p) {
			continue
		}
		out.Mates = append(out.Mates, MateStatus{Member: p.id, Alive: p.alive, Standing: *p.standing})
		if p.lives() && p.standing.Primary && !s.Primary {
			out.Primary, out.Settled = p.id, true
		}
	}
	return out, true
}
