package mem

import (
	"slices"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// NPU is a network processor that an Engine plays.
type NPU struct {
	ID   offload.NPUID // from 1
	Name string
	// Capacity is how many SAs it takes; 0 for no limit.
	Capacity int
	// Algorithms that it knows; nil for all.
	Algorithms []ipsec.Algorithms
	// Inbound and Outbound are the directions that it takes.
	Inbound, Outbound bool
	// TunnelOnly: it takes no transport mode.
	TunnelOnly bool
	// ActiveOnly: it takes active SAs only.
	ActiveOnly bool
	// Late: an SA moves in with its first packet.
	Late bool
}

// refuses tells why n does not take sa, InNPU when it does.
func (n NPU) refuses(sa *entry, used int) offload.NoNPU {
	inbound := sa.desc.Direction == ipsec.Inbound
	switch {
	case n.Algorithms != nil && !slices.Contains(n.Algorithms, sa.desc.Algorithms):
		return offload.NoAlgorithm
	case inbound && !n.Inbound, !inbound && !n.Outbound, n.TunnelOnly && sa.desc.Mode != ipsec.Tunnel:
		return offload.NoMode
	case n.ActiveOnly && sa.role != offload.Active:
		return offload.NoNPURole
	case n.Late && sa.last.IsZero():
		return offload.NotYet
	case n.Capacity > 0 && used >= n.Capacity:
		return offload.NoRoom
	default:
		return offload.InNPU
	}
}

// place puts sa into the first NPU that takes it. Where none does, the reason is
// that of the last one asked.
func (e *Engine) place(sa *entry) {
	sa.npu, sa.whyNot = 0, offload.NoSuchNPU
	for _, n := range e.options.NPUs {
		sa.whyNot = n.refuses(sa, e.npuUse[n.ID])
		if sa.whyNot == offload.InNPU {
			sa.npu = n.ID
			e.npuUse[n.ID]++
			return
		}
	}
}

func (e *Engine) vacate(sa *entry) {
	if sa.npu != 0 {
		e.npuUse[sa.npu]--
		sa.npu = 0
	}
}

// placeAgain places sa after something about it changed, and reports a move.
func (e *Engine) placeAgain(sa *entry) {
	before := sa.npu
	e.vacate(sa)
	e.place(sa)
	if sa.npu != before {
		e.events.push(offload.Placed{Placement: sa.placement()})
	}
}

// capabilities are all algorithms of the vocabulary that make sense together.
func (e *Engine) capabilities() []offload.Capability {
	var all []offload.Capability
	for _, a := range ipsec.Combinations() {
		c := offload.Capability{Algorithms: a}
		for _, n := range e.options.NPUs {
			if n.Algorithms == nil || slices.Contains(n.Algorithms, a) {
				c.NPUInbound = c.NPUInbound || n.Inbound
				c.NPUOutbound = c.NPUOutbound || n.Outbound
			}
		}
		all = append(all, c)
	}
	return all
}
