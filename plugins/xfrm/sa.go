package xfrm

import (
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm/gate"
	"github.com/evergate/evergate/plugins/xfrm/xfrmnl"
)

// association is an installed SA: what the kernel does not know of it, and what it
// takes to give the SA to the kernel again. The engine's mutex guards it.
type association struct {
	id        ipsec.SAID // its name for good, also when its endpoints move
	reqID     uint32
	direction ipsec.Direction
	tunnel    ipsec.TunnelID
	group     offload.Group
	// link is set for an SA of a link; it has no tunnel and no group then.
	link       *ipsec.Link
	generation uint64
	role       offload.Role
	pathMTU    uint16
	learned    uint16 // path MTU, from the kernel
	lifetime   ipsec.Lifetime
	algorithms ipsec.Algorithms
	// npu holds the state, or whyNot says why none does.
	npu    offload.NPUID
	whyNot offload.NoNPU
	// whole: it has whole packets; parted: it shall not.
	whole, parted bool

	// state is as it was given to the kernel last; what counts in it is not up to
	// date.
	state xfrmnl.State
	// selectors of outbound packets, or of inbound ones.
	selectors []xfrmnl.Selector

	// ceiling is the last number of the current lease (invariant I2), 0 for an SA
	// that is not leased; lease is how many numbers it had when it was given.
	ceiling, lease uint64
	// shift is the number of a packet without the count of packets that the
	// kernel's state has sent: they rise together.
	shift uint64
	// coarse: a packet may take several numbers, as super-packets of the host's own
	// TCP do whose segments the kernel encrypts together. Then shift is what it was
	// after counted packets.
	coarse  bool
	counted uint64
	// earlier is what states of the SA carried that are gone, latest what that of
	// now had carried when it was read last.
	earlier    xfrmnl.Current
	latest     xfrmnl.Current
	earlierBad xfrmnl.Stats
	// seen is how many packets there were when it was last asked, and since when:
	// that stands for the time of the last packet, which not every kernel keeps.
	seen   uint64
	seenAt time.Time

	// aside is what the gate has counted aside, relayed what of that earlier tables had.
	aside   gate.Aside
	relayed uint64

	held    hold
	end     end
	drops   offload.Drops
	told    bool // its first packet, in this role
	lowTold bool // LeaseLow of this lease
	// endTold: LeaseLow{Exhausted} of this lease; softTold, hardTold: Expired.
	endTold, softTold, hardTold bool
	// peer is where the daemon has the peer of an inbound SA in UDP; movedTo is where it
	// was told last that the peer is instead, and when.
	peer, movedTo netip.AddrPort
	movedAt       time.Time
}

// hold is how the gate holds an SA back.
type hold struct {
	kind  holdKind
	group offload.Group // of a standby
	// before is what the SA had carried when the hold began.
	before uint64
	// aside is what the gate had counted aside by then.
	aside gate.Aside
}

type holdKind uint8

const (
	passes holdKind = iota
	standsBy
	shut
	linked // of a link: nothing is held back
)

// end tells why an SA is shut.
type end uint8

const (
	goesOn end = iota
	atCeiling
	atLimit
)

func (a *association) outbound() bool { return a.direction == ipsec.Outbound }

// in tells whether a is of a group.
func (a *association) in(g offload.Group) bool { return a.link == nil && a.group == g }

// wanted is the hold that follows from role and end.
func (a *association) wanted() hold {
	switch {
	case a.end != goesOn:
		return hold{kind: shut}
	case a.link != nil:
		return hold{kind: linked}
	case a.role == offload.Standby:
		return hold{kind: standsBy, group: a.group}
	default:
		return hold{}
	}
}

// carried is what the SA has carried, of which the kernel's state counts now.
func (a *association) carried(now xfrmnl.Current) xfrmnl.Current {
	if a.end == atLimit {
		return a.earlier // what came after it was held back
	}
	return xfrmnl.Current{Bytes: a.earlier.Bytes + now.Bytes, Packets: a.earlier.Packets + now.Packets}
}

// last is the last number that may be sent.
//
// "The transmitted sequence number must never be allowed to cycle." RFC 4303
// section 2.2.
func (a *association) last() uint64 {
	highest := uint64(1<<32 - 1)
	if a.state.Flags&xfrmnl.FlagESN != 0 {
		highest = 1<<64 - 2 // the very last is left out, so that next always fits
	}
	if a.ceiling == 0 {
		return highest
	}
	return min(a.ceiling, highest)
}

// left is how many numbers may be sent after sent.
func (a *association) left(sent uint64) uint64 {
	if sent >= a.last() {
		return 0
	}
	return a.last() - sent
}

// limits are what the kernel shall look after: it tells of a soft limit with the
// packet after it, and at a hard one it refuses the next packet and removes the
// state. The ceiling is one of them, as numbers and packets rise together.
func (a *association) limits() xfrmnl.Lifetime {
	l := xfrmnl.NoLimits()
	if a.end == atLimit {
		return l // the gate is shut
	}
	l.HardBytes = rest(a.lifetime.Hard.Bytes, a.earlier.Bytes)
	l.HardPackets = rest(a.lifetime.Hard.Packets, a.earlier.Packets)
	if !a.softTold {
		l.SoftBytes = rest(a.lifetime.Soft.Bytes, a.earlier.Bytes)
		l.SoftPackets = rest(a.lifetime.Soft.Packets, a.earlier.Packets)
	}
	switch {
	case !a.outbound():
	case a.coarse:
		sure := above(a.last(), a.counted+a.shift) / maxSegments
		l.HardPackets = min(l.HardPackets, a.counted+sure)
		l.SoftPackets = min(l.SoftPackets, a.counted+(sure+1)/2)
	default:
		l.HardPackets = min(l.HardPackets, above(a.last(), a.shift))
		if a.ceiling != 0 && !a.lowTold {
			l.SoftPackets = min(l.SoftPackets, above(a.low(), a.shift))
		}
	}
	return l
}

// maxSegments is more than one packet of an SA that is coarse has.
const maxSegments = 1 << 11

// low is the number after which less than half of the lease is left.
func (a *association) low() uint64 { return a.last() - (a.lease+1)/2 + 1 }

// rest is what is left of a limit, where 0 is none.
func rest(limit, used uint64) uint64 {
	if limit == 0 {
		return xfrmnl.Unlimited
	}
	return above(limit, used)
}

func above(a, b uint64) uint64 {
	if a < b {
		return 0
	}
	return a - b
}

// renew begins a lease: what lies between the last number that was sent and the
// ceiling.
func (a *association) renew(sent uint64) {
	a.lease = a.left(sent)
	a.lowTold, a.endTold = false, false
}

// placement reports where the SA is. One id stands for all of its selectors.
func (a *association) placement() offload.Placement {
	return offload.Placement{
		ID: a.id, NPU: a.npu, WhyNot: a.whyNot, Role: a.role, SelectorIDs: []offload.SelectorID{offload.SelectorID(a.reqID & serialMask)},
	}
}

// counters joins what the kernel and the gate know of the SA.
func (a *association) counters(st xfrmnl.State, held uint64, now time.Time) offload.Counters {
	total := a.carried(st.Current)
	c := offload.Counters{
		Placement: a.placement(), Direction: a.direction, Tunnel: a.tunnel, Group: a.group, Link: a.link, Generation: a.generation,
		Packets: total.Packets, Bytes: total.Bytes, Idle: -1, PathMTU: a.pathMTU, Drops: a.drops,
		Relayed: a.relayed + a.aside.Relayed,
	}
	a.countHeld(&c.Drops, held, total.Packets)
	c.Drops.Replayed += uint64(a.earlierBad.Replayed) + uint64(a.earlierBad.OutsideWindow) + uint64(st.Stats.Replayed) + uint64(st.Stats.OutsideWindow)
	c.Drops.Authentication += uint64(a.earlierBad.BadIntegrity) + uint64(st.Stats.BadIntegrity)
	if total.Packets != a.seen {
		a.seen, a.seenAt = total.Packets, now
	}
	if total.Packets > 0 {
		c.Idle = now.Sub(a.seenAt)
	}
	if a.outbound() {
		c.Sequence = ipsec.Sequence{Next: st.Replay.Sent + 1, Ceiling: a.ceiling}
	} else {
		c.Sequence = ipsec.Sequence{Highest: st.Replay.Received, Bitmap: st.Replay.Below()}
	}
	return c
}

// countHeld adds what the gate held back: held packets met it, of which those
// passed that the SA has carried since, and those are no drops of the SA that are
// counted aside.
func (a *association) countHeld(d *offload.Drops, held, carried uint64) {
	switch {
	case a.held.kind == standsBy && a.outbound():
		aside := above(a.aside.Relayed+a.aside.Late, a.held.aside.Relayed+a.held.aside.Late)
		d.Standby += above(held, above(carried, a.held.before)+aside)
	case a.held.kind == shut && a.end == atCeiling:
		d.Ceiling += held
	case a.held.kind == shut:
		d.Lifetime += held
	}
}
