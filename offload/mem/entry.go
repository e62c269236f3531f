package mem

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// entry is one installed SA.
type entry struct {
	desc   ipsec.SA // the newest description; its Sequence is kept below
	serial uint64   // order of installation
	role   offload.Role

	next, ceiling uint64 // as ipsec.Sequence, Next from 1
	lease         lease
	window        window

	packets, bytes     uint64
	last               time.Time // of the last packet, zero for never
	drops              offload.Drops
	relayed, held      uint64
	reported           bool // FirstPacket was sent for this role
	softSent, hardSent bool

	npu    offload.NPUID
	whyNot offload.NoNPU
}

// lease is what may be sent until the core raises the ceiling.
type lease struct {
	size              uint64 // numbers when it was given
	lowSent, noneSent bool
}

func newEntry(sa ipsec.SA, role offload.Role, serial uint64) *entry {
	n := &entry{serial: serial, role: role, next: 1, window: newWindow(sa.Window())}
	n.describe(sa)
	return n
}

// replace takes a newer description; counters stay and sequence state merges.
func (sa *entry) replace(desc ipsec.SA) {
	sa.window.resize(desc.Window())
	sa.describe(desc)
}

func (sa *entry) describe(desc ipsec.SA) {
	sa.desc = desc
	sa.mergeSequence(desc.Sequence)
	sa.setLifetime(desc.Lifetime)
}

func (sa *entry) group() offload.Group { return offload.Group(sa.desc.Group) }

// in tells whether the SA is in g; those of links are in no group.
func (sa *entry) in(g offload.Group) bool { return sa.desc.Link == nil && sa.group() == g }

// mergeSequence moves nothing backwards. A changed Next or Ceiling is a new
// lease.
func (sa *entry) mergeSequence(s ipsec.Sequence) {
	next, ceiling := max(sa.next, s.Next), max(sa.ceiling, s.Ceiling)
	if next != sa.next || ceiling != sa.ceiling {
		sa.next, sa.ceiling = next, ceiling
		sa.lease = lease{size: sa.left()}
	}
	sa.window.merge(s.Highest, s.Bitmap)
}

// end is the last number that may be sent. The very last one of 64 bits is left
// out, so that next always fits.
func (sa *entry) end() uint64 {
	highest := min(sa.desc.Algorithms.MaxSequence(), 1<<64-2)
	if sa.ceiling == 0 {
		return highest
	}
	return min(sa.ceiling, highest)
}

// spent tells whether sa will never send again.
func (sa *entry) spent() bool {
	return sa.left() == 0 && sa.next >= min(sa.desc.Algorithms.MaxSequence(), 1<<64-2)
}

// left is how many numbers may be sent.
func (sa *entry) left() uint64 {
	if sa.next > sa.end() {
		return 0
	}
	return sa.end() - sa.next + 1
}

// runsOver tells whether a packet more is sent by a plane that stops so many packets
// after the ceiling.
func (sa *entry) runsOver(packets uint64) bool {
	return sa.ceiling != 0 && sa.next > sa.ceiling && sa.next-sa.ceiling <= packets && sa.next <= min(sa.desc.Algorithms.MaxSequence(), 1<<64-2)
}

func (sa *entry) setLifetime(l ipsec.Lifetime) {
	if l.Soft != sa.desc.Lifetime.Soft {
		sa.softSent = false
	}
	if l.Hard != sa.desc.Lifetime.Hard {
		sa.hardSent = false
	}
	sa.desc.Lifetime = l
}

// reached tells whether the use of the SA has come to a limit.
func (sa *entry) reached(l ipsec.Limits) bool {
	return l.Packets != 0 && sa.packets >= l.Packets || l.Bytes != 0 && sa.bytes >= l.Bytes
}

// placement tells where the SA is. Every selector pair has an id of its own,
// derived from the order of installation, so that tests can tell them apart.
func (sa *entry) placement() offload.Placement {
	pairs := len(sa.desc.Selectors.Local) * len(sa.desc.Selectors.Remote)
	ids := make([]offload.SelectorID, pairs)
	for i := range ids {
		ids[i] = offload.SelectorID(sa.serial<<8 + uint64(i))
	}
	return offload.Placement{ID: sa.desc.ID, NPU: sa.npu, SelectorIDs: ids, WhyNot: sa.whyNot, Role: sa.role}
}

func (sa *entry) export(now time.Time) offload.Counters {
	c := offload.Counters{
		Placement:  sa.placement(),
		Direction:  sa.desc.Direction,
		Tunnel:     sa.desc.Tunnel,
		Group:      sa.group(),
		Link:       sa.desc.Link,
		Generation: sa.desc.Generation,
		Packets:    sa.packets,
		Bytes:      sa.bytes,
		Idle:       -1,
		PathMTU:    sa.desc.PathMTU,
		Relayed:    sa.relayed,
		Held:       sa.held,
		Drops:      sa.drops,
	}
	if !sa.last.IsZero() {
		c.Idle = now.Sub(sa.last)
	}
	if sa.desc.Direction == ipsec.Inbound {
		c.Sequence.Highest, c.Sequence.Bitmap = sa.window.top, sa.window.bitmap()
	} else {
		c.Sequence.Next, c.Sequence.Ceiling = sa.next, sa.ceiling
	}
	return c
}
