package examplenpu

import (
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// theNPU is the number of the only one.
const theNPU offload.NPUID = 1

// npu is the model of a network processor with a few slots for SAs. A driver
// would program the device where this one notes who has which slot; what the
// daemon must hear is the same.
type npu struct {
	slots []*sa // by index, nil for a free one
}

// slot is where an SA is; the zero value is for one that is in no NPU.
type slot struct {
	npu   offload.NPUID
	index int
}

// npuKnows tells whether the NPU has the algorithms: AES-GCM, and no ESN.
func npuKnows(a ipsec.Algorithms) bool { return a.Encryption == ipsec.EncrAESGCM16 && !a.ESN }

// refuses tells why the NPU does not take an SA whether or not there is room, InNPU
// when it does.
func (s settings) refuses(of *sa) offload.NoNPU {
	switch {
	case s.slots == 0 || !s.takes(of.Direction):
		return offload.DisabledBySetting
	case !npuKnows(of.Algorithms):
		return offload.NoAlgorithm
	case of.Encap != nil || of.Link != nil:
		return offload.NoMode
	case of.role != offload.Active:
		return offload.NoNPURole
	case of.last.IsZero():
		// Each direction moves in with its own first packet: tunnels that carry
		// nothing take no slots from those that do.
		return offload.NotYet
	default:
		return offload.InNPU
	}
}

// program gives s a free slot, and tells whether there was one.
func (n *npu) program(s *sa, slots int) bool {
	if n.slots == nil {
		n.slots = make([]*sa, slots)
	}
	for i, of := range n.slots {
		if of == nil {
			n.slots[i], s.slot = s, slot{theNPU, i}
			return true
		}
	}
	return false
}

// release frees the slot of s, if it has one.
func (n *npu) release(s *sa) {
	if s.slot.npu != 0 {
		n.slots[s.slot.index] = nil
		s.slot = slot{}
	}
}

// place puts s where it belongs after something about it has changed, and
// reports when that is another place.
func (e *Engine) place(s *sa) {
	before := s.slot
	s.whyNot = e.settings.refuses(s)
	switch {
	case s.whyNot != offload.InNPU:
		e.npu.release(s)
	case s.slot.npu == 0 && !e.npu.program(s, e.settings.slots):
		s.whyNot = offload.NoRoom
	}
	if s.slot != before {
		e.events.push(offload.Placed{Placement: s.placement()})
	}
}

// reform makes the NPU as new settings say. Where that changes anything, all SAs
// leave it and find their places again.
func (e *Engine) reform(s settings) {
	old := e.settings
	e.settings = s
	if s.slots == old.slots && s.inbound == old.inbound && s.outbound == old.outbound {
		return
	}
	all := e.table.inOrder()
	before := make([]slot, len(all))
	for i, s := range all {
		before[i], s.slot = s.slot, slot{}
	}
	e.npu = npu{}
	for i, s := range all {
		s.whyNot = e.settings.refuses(s)
		if s.whyNot == offload.InNPU && !e.npu.program(s, e.settings.slots) {
			s.whyNot = offload.NoRoom
		}
		if s.slot != before[i] {
			e.events.push(offload.Placed{Placement: s.placement()})
		}
	}
}
