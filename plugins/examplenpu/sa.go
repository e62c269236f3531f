package examplenpu

import (
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// sa is one installed SA.
type sa struct {
	ipsec.SA        // its newest description, of which Sequence is kept below
	serial   uint64 // counts first installations: a higher one is newer
	role     offload.Role
	cipher   *transform

	next, ceiling uint64 // as in ipsec.Sequence, but next is from 1
	lease         lease
	window        window

	packets, bytes uint64
	relayed        uint64
	last           time.Time // of the last packet, zero for never
	drops          offload.Drops

	reported   bool // FirstPacket was sent since the role changed
	soft, hard bool // Expired was sent

	seenAt netip.AddrPort // where the last PeerMoved said that the peer is

	slot   slot
	whyNot offload.NoNPU
}

// lease is what lay between next and ceiling when a call changed either.
type lease struct {
	size       uint64
	low, empty bool // LeaseLow was sent
}

// describe takes the first or a newer description. Counters stay, and sequence
// state merges.
func (s *sa) describe(d ipsec.SA, t *transform) {
	s.window.resize(d.Window())
	s.setLifetime(d.Lifetime)
	s.SA, s.cipher = d, t
	s.merge(d.Sequence)
}

// merge moves nothing backwards, from whatever call the numbers come.
func (s *sa) merge(q ipsec.Sequence) {
	next, ceiling := max(s.next, q.Next, 1), max(s.ceiling, q.Ceiling)
	if next != s.next || ceiling != s.ceiling {
		s.next, s.ceiling = next, ceiling
		s.lease = lease{size: s.left()}
	}
	s.window.merge(q.Highest, q.Bitmap)
}

// left is how many numbers may be sent.
//
// "The transmitted sequence number must never be allowed to cycle." RFC 4303
// section 2.2. With ESN the very last number is left out, so that next fits.
func (s *sa) left() uint64 {
	end := min(s.Algorithms.MaxSequence(), 1<<64-2)
	if s.ceiling != 0 {
		end = min(end, s.ceiling)
	}
	if s.next > end {
		return 0
	}
	return end - s.next + 1
}

// setLifetime lets limits that changed be reported again.
func (s *sa) setLifetime(l ipsec.Lifetime) {
	s.soft = s.soft && l.Soft == s.Lifetime.Soft
	s.hard = s.hard && l.Hard == s.Lifetime.Hard
	s.Lifetime = l
}

// reached tells whether the SA has carried as much as l allows. Limits of time
// are the daemon's, which knows how old the SA is on all members.
func (s *sa) reached(l ipsec.Limits) bool {
	return l.Packets != 0 && s.packets >= l.Packets || l.Bytes != 0 && s.bytes >= l.Bytes
}

// in tells whether the SA is of group g; those of links are of none.
func (s *sa) in(g offload.Group) bool { return s.Link == nil && offload.Group(s.Group) == g }

func (s *sa) placement() offload.Placement {
	return offload.Placement{
		ID: s.ID, NPU: s.slot.npu, SelectorIDs: []offload.SelectorID{s.selectorID()}, WhyNot: s.whyNot, Role: s.role,
	}
}

// selectorID stands for all selectors of the SA: in the NPU it is the slot, and
// above all slots in software.
func (s *sa) selectorID() offload.SelectorID {
	if s.slot.npu != 0 {
		return offload.SelectorID(s.slot.index)
	}
	return offload.SelectorID(maxSAs + s.serial)
}

// counters are what Export and Delete say.
func (s *sa) counters(now time.Time) offload.Counters {
	c := offload.Counters{
		Placement: s.placement(), Direction: s.Direction, Tunnel: s.Tunnel, Group: offload.Group(s.Group), Link: s.Link,
		Generation: s.Generation, Packets: s.packets, Bytes: s.bytes, Idle: -1, PathMTU: s.PathMTU,
		Relayed: s.relayed, Drops: s.drops,
	}
	if !s.last.IsZero() {
		c.Idle = now.Sub(s.last)
	}
	if s.Direction == ipsec.Inbound {
		c.Sequence = ipsec.Sequence{Highest: s.window.top, Bitmap: s.window.bitmap()}
	} else {
		c.Sequence = ipsec.Sequence{Next: s.next, Ceiling: s.ceiling}
	}
	return c
}
