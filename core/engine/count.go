package engine

import (
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// count is what the engine keeps of the dataplane's last word on an SA. There are
// as many of them as there are SAs: what the SA's description says is not in it
// again, and what nearly all SAs lack takes a pointer's room.
type count struct {
	packets, bytes, relayed uint64
	idle                    time.Duration
	next, ceiling, highest  uint64
	bitmap                  []byte
	hindered                *hindered // nil for none

	// Where it is.
	selectors []offload.SelectorID
	whyNot    offload.NoNPU
	npu       offload.NPUID
	pathMTU   uint16
	role      offload.Role
}

// hindered are packets that were not carried at once.
type hindered struct {
	drops offload.Drops
	held  uint64
}

// starved is how many packets found no number for themselves: they waited, or were
// dropped.
func (h hindered) starved() uint64 { return h.held + h.drops.Ceiling }

// note takes the dataplane's word.
func (n *count) note(c offload.Counters) {
	n.packets, n.bytes, n.relayed, n.idle = c.Packets, c.Bytes, c.Relayed, c.Idle
	n.next, n.ceiling, n.highest, n.bitmap = c.Sequence.Next, c.Sequence.Ceiling, c.Sequence.Highest, c.Sequence.Bitmap
	n.pathMTU, n.hindered = c.PathMTU, nil
	if c.Held != 0 || c.Drops != (offload.Drops{}) {
		n.hindered = &hindered{c.Drops, c.Held}
	}
	n.place(c.Placement)
}

// place notes where the SA is. What has not changed is not kept a second time: it comes
// every second.
func (n *count) place(p offload.Placement) {
	if !slices.Equal(n.selectors, p.SelectorIDs) {
		n.selectors = p.SelectorIDs
	}
	n.npu, n.whyNot, n.role = p.NPU, p.WhyNot, p.Role
}

// begin is the count of an SA that goes on at seq in a dataplane that has seen no
// packet of it. Where it is stays as it is.
func (n *count) begin(seq ipsec.Sequence) {
	where := n.placement(ipsec.SAID{})
	n.note(offload.Counters{Placement: where, Sequence: seq, Idle: -1})
}

// sequence is the standing of the SA.
func (n *count) sequence() ipsec.Sequence {
	return ipsec.Sequence{Next: n.next, Ceiling: n.ceiling, Highest: n.highest, Bitmap: n.bitmap}
}

// hindrance is what became of packets that were not carried at once.
func (n *count) hindrance() hindered {
	if n.hindered == nil {
		return hindered{}
	}
	return *n.hindered
}

func (n *count) dropped() offload.Drops { return n.hindrance().drops }

// placement is where the SA id is.
func (n *count) placement(id ipsec.SAID) offload.Placement {
	return offload.Placement{ID: id, NPU: n.npu, SelectorIDs: n.selectors, WhyNot: n.whyNot, Role: n.role}
}

// counters is the word on an SA as it was given.
func (n *count) counters(sa ipsec.SA) offload.Counters {
	return offload.Counters{
		Placement: n.placement(sa.ID), Direction: sa.Direction, Tunnel: sa.Tunnel, Group: offload.Group(sa.Group), Link: sa.Link,
		Generation: sa.Generation, Packets: n.packets, Bytes: n.bytes, Idle: n.idle, Sequence: n.sequence(),
		PathMTU: n.pathMTU, Relayed: n.relayed, Held: n.hindrance().held, Drops: n.dropped(),
	}
}
