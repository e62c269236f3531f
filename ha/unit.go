package ha

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// DefaultAgeMargin is how much older than another a member must be for it to
// count (ha-uptime-diff-margin of FortiOS).
const DefaultAgeMargin = 5 * time.Minute

// maxSerial bounds the serial that others make us keep.
const maxSerial = 64

// Unit makes this member one of those that are one gateway to the network (FGCP,
// active-passive): one of them, the primary, owns all of the unit's tunnels and
// is routed to, and the others stand by for the whole unit. Members of a group
// that name no unit, or another one, are gateways of their own beside it.
type Unit struct {
	// ID names the unit within the group (group-id).
	ID uint8
	// Priority is the higher, the sooner the member is chosen.
	Priority uint8
	// Override lets a higher priority take the place of a primary that works.
	Override bool
	// Serial decides when nothing else does: the higher one is chosen. At most 64
	// octets, and different on each member.
	Serial string
	// AgeMargin is the least difference of ages that counts, 0 for
	// DefaultAgeMargin.
	AgeMargin time.Duration
}

func (u *Unit) check() error {
	switch {
	case u == nil:
		return nil
	case u.Serial == "" || len(u.Serial) > maxSerial:
		return fmt.Errorf("ha: serial %q of the unit has not 1 to %d octets", u.Serial, maxSerial)
	case u.AgeMargin < 0:
		return fmt.Errorf("ha: age margin %v of the unit is negative", u.AgeMargin)
	}
	return nil
}

// Standing is what a member of a unit says of itself in every frame: what the
// choice of the primary depends on.
type Standing struct {
	Unit uint8
	// Primary: the speaker is it, since Term, the count of an epoch.
	Primary bool
	Term    uint64
	// Failed is how many of its monitored interfaces have no link.
	Failed uint8
	// Yielded is not 0 when the operator told it to step back; the highest number
	// was the last to do so.
	Yielded  uint32
	Override bool
	Priority uint8
	// Age is for how long it has been fit, with all its links.
	Age    time.Duration
	Serial string
}

// From the operator and the interfaces, for members of a unit.
type (
	// Monitored says how many of the monitored interfaces have no link.
	Monitored struct{ Failed uint8 }

	// Yield makes this member step back behind the others of its unit, or takes
	// that back. Being chosen takes it back, too.
	Yield struct{ On bool }
)

func (Monitored) input() {}
func (Yield) input()     {}

// unit is our part in a unit.
type unit struct {
	Unit
	primary bool
	// led: the unit has had a primary in this life.
	led     bool
	term    uint64
	failed  uint8
	yielded uint32
	// since is when we became fit, zero while we are not.
	since time.Time
	// handing: we have stepped back, and what we own goes on until the next primary
	// claims it, or this time has come. taking: we are that one, and the last primary
	// goes on until it knows of our claims; nothing shall come here before, or before
	// this time. Both are zero for never.
	handing, taking time.Time
	// ready is the serial of the orders that made us primary: before they are
	// carried out we are not to be routed to.
	ready uint64
}

// standing is ours; nil outside of a unit.
func (n *Node) standing(now time.Time) *Standing {
	u := n.unit
	if u == nil {
		return nil
	}
	s := &Standing{
		Unit: u.ID, Primary: u.primary, Failed: u.failed, Yielded: u.yielded,
		Override: u.Override, Priority: u.Priority, Serial: u.Serial,
	}
	if u.primary {
		s.Term = u.term
	}
	if !u.since.IsZero() {
		s.Age = now.Sub(u.since)
	}
	return s
}

// mate tells whether p is of our unit.
func (n *Node) mate(p *peer) bool {
	return n.unit != nil && p.standing != nil && p.standing.Unit == n.unit.ID
}

// subordinate tells whether another member of our unit is to do our work.
func (n *Node) subordinate() bool { return n.unit != nil && !n.unit.primary }

// noteStanding learns what p says of itself. It keeps what p was when it died.
func (n *Node) noteStanding(p *peer, s *Standing) {
	if s == nil || len(s.Serial) > maxSerial || s.Age < 0 || s.Age >= never {
		return
	}
	p.standing = s
	if n.mate(p) && s.Primary {
		n.unit.led = true
	}
}

func (n *Node) onMonitored(now time.Time, in Monitored) {
	u := n.unit
	if u == nil || u.failed == in.Failed {
		return
	}
	if in.Failed > u.failed && !u.since.IsZero() {
		u.since = now // a link that fails makes a member young
	}
	u.failed = in.Failed
}

func (n *Node) onYield(in Yield) {
	u := n.unit
	if u == nil {
		return
	}
	u.yielded = 0
	if !in.On {
		return
	}
	for _, p := range n.peers {
		if p != nil && n.mate(p) {
			u.yielded = max(u.yielded, p.standing.Yielded)
		}
	}
	u.yielded++
}

// succession looks again, now and then, after the tunnels of members of units
// that cannot own them.
func (n *Node) succession(now time.Time) {
	for _, p := range n.peers {
		if p != nil && (n.unit != nil || p.standing != nil) {
			n.inherit(now, p)
		}
	}
}

// inherit takes over what p cannot own any more, if that is for us to do: the
// tunnels of our unit are the primary's, all at once; those of another are that
// unit's, as long as one of its members can.
func (n *Node) inherit(now time.Time, p *peer) {
	switch {
	case p.lives() || !n.fit() || n.subordinate() || !p.whole || !n.standsBy(p):
	case n.mate(p):
		n.promote(now, p)
	case n.armed[p.id] == 0 && (!n.served(p) || p.adoptRank > 0):
		n.arm(now, p)
	}
}

// salvageable tells whether t is lost unless we, a subordinate, save it: who is
// primary by now should have taken it over, and has no copy.
func (n *Node) salvageable(t *tunnel) bool { return n.subordinate() && n.fit() && t.complete() }

// salvage makes an orphan ours, silent as all that is ours, so that the primary
// gets a copy and takes it over from us.
func (n *Node) salvage(now time.Time, t *tunnel) {
	n.hard.Armed = n.hard.Armed.With(t.owner())
	n.marked = false
	n.claim(now, t, time.Time{})
	n.order(Order{Kind: Disarm, Group: n.cfg.Member})
}

// served tells whether another member of p's unit will take its place.
func (n *Node) served(p *peer) bool {
	if p.standing == nil {
		return false
	}
	for _, o := range n.peers {
		if o != nil && o != p && o.candidate() && o.standing.Unit == p.standing.Unit {
			return true
		}
	}
	return false
}

// promote makes all complete tunnels of p ours and starts them now, with one
// call of the dataplane. The epoch is on disk before (I3).
func (n *Node) promote(now time.Time, p *peer) {
	orphans := slices.DeleteFunc(n.ownedBy(p.id), func(t *tunnel) bool { return !n.orphan(t) })
	ready := false
	for _, t := range orphans {
		ready = ready || t.complete()
	}
	if !ready {
		return
	}
	n.hard.Armed = n.hard.Armed.With(p.id)
	n.nextCount()
	n.armed[p.id] = NewEpoch(n.hard.Count, n.cfg.Member)
	n.marked = false
	n.order(Order{Kind: Promote, Group: p.id})
	n.stats.Promoted++
	if p.alive {
		n.unit.taking = now.Add(handingTime)
	}
	for _, t := range orphans {
		switch {
		case !n.claimable(t):
			n.exposeAll(t)
			n.stop(t)
		case p.alive:
			n.seize(t, time.Time{})
			n.seized = append(n.seized, seized{t, t.version.Epoch, 0})
		default:
			n.claim(now, t, time.Time{})
		}
	}
	n.armed[p.id] = 0
	n.unit.ready = n.ordered()
	for i := range n.seized {
		n.seized[i].serial = cmp.Or(n.seized[i].serial, n.unit.ready)
	}
}
