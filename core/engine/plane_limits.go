package engine

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/offload"
)

// planeLimits says how well a dataplane keeps to the ceilings that it is given. The
// zero value is one that keeps to them exactly.
type planeLimits struct {
	// margin is how many numbers it may run over.
	margin uint64
	// unbounded: it does not stop.
	unbounded bool
}

// worstMargin is the largest margin that leaves most of a lease to use, also of the
// share that is one member's part of it. A dataplane that is coarser stops nowhere.
const worstMargin = ipsec.LeaseSize / ipsec.MaxMembers / 2

// limitsOf reads them from what a dataplane says of itself.
func limitsOf(i offload.Info) planeLimits {
	if !i.EnforcesCeiling || i.CeilingMargin > worstMargin {
		return planeLimits{unbounded: true}
	}
	return planeLimits{margin: i.CeilingMargin}
}

// keepsOf is what it means for the group.
func keepsOf(i offload.Info) ha.Keeps {
	return ha.Keeps{Nonces: noncesOf(i.IVSource), Unbounded: limitsOf(i).unbounded, Blind: !i.ReportsFirstPacket}
}

// Joinable tells why a dataplane cannot be one of a group, nil when it can: where it
// neither stops at a ceiling nor makes nonces that no other member has, two of them
// could use one nonce (invariant I1).
func Joinable(i offload.Info) error {
	distinct := i.IVSource == offload.IVMember || i.IVSource == offload.IVRandomSalt
	if limitsOf(i).unbounded && !distinct {
		return fmt.Errorf("engine: dataplane %s stops at no ceiling and has no IVs of its own, so it cannot be part of a group", i.Name)
	}
	return nil
}

// tell turns what may be sent on an SA into what a dataplane with these limits is told,
// so that it never sends above the ceiling (invariant I2).
func (l planeLimits) tell(seq ipsec.Sequence) ipsec.Sequence {
	switch {
	case seq.Ceiling == 0: // stays as it is, or there is none
	case l.unbounded && seq.Next > seq.Ceiling:
		// Nothing at all is sent beyond the highest number. Of those with ESN this is
		// it; of others it is far beyond.
		seq.Next = 1<<64 - 1
	case l.unbounded:
		// Its SAs have all numbers: ha.Keeps, Ceilings.
	case seq.Ceiling > l.margin:
		seq.Ceiling -= l.margin
	default:
		seq.Ceiling, seq.Next = 1, max(seq.Next, 2+l.margin)
	}
	return seq
}

// asked is what a dataplane was to be told that says seq of an SA: tell's inverse. It may
// send up to that ceiling, beyond the one that it knows.
func (l planeLimits) asked(seq ipsec.Sequence) ipsec.Sequence {
	if seq.Ceiling != 0 {
		seq.Ceiling += l.margin
	}
	return seq
}

// Bounded returns a dataplane that is told ceilings as what it says of itself asks for
// (invariant I2), and what that means for the machines: for the group's and the shards'.
// Run does so with Options.Plane; this is for who runs the machines otherwise.
func Bounded(plane offload.Engine, i offload.Info) (offload.Engine, ha.Keeps, Ceilings) {
	limits := limitsOf(i)
	return boundedPlane{plane, func() planeLimits { return limits }}, keepsOf(i), Ceilings{Unbounded: limits.unbounded}
}

// boundedPlane is a dataplane that is told ceilings as its limits ask for.
type boundedPlane struct {
	offload.Engine
	limits func() planeLimits
}

// Install lowers the ceilings.
func (p boundedPlane) Install(ctx context.Context, epoch offload.Epoch, role offload.Role, sas ...ipsec.SA) ([]offload.Placement, error) {
	if l := p.limits(); l != (planeLimits{}) {
		sas = slices.Clone(sas)
		for i, sa := range sas {
			if sa.Direction == ipsec.Outbound {
				sas[i].Sequence = l.tell(sa.Sequence)
			}
		}
	}
	return p.Engine.Install(ctx, epoch, role, sas...)
}

// Update lowers the ceilings. Those of inbound SAs are zero.
func (p boundedPlane) Update(ctx context.Context, epoch offload.Epoch, all ...offload.Change) ([]offload.Placement, error) {
	if l := p.limits(); l != (planeLimits{}) {
		all = slices.Clone(all)
		for i, c := range all {
			if c.Sequence != nil {
				seq := l.tell(*c.Sequence)
				all[i].Sequence = &seq
			}
		}
	}
	return p.Engine.Update(ctx, epoch, all...)
}

// Export raises the ceilings again, to those that were asked for.
func (p boundedPlane) Export(ctx context.Context, g offload.Group) iter.Seq2[offload.Counters, error] {
	l := p.limits()
	if l.margin == 0 {
		return p.Engine.Export(ctx, g)
	}
	return func(yield func(offload.Counters, error) bool) {
		for c, err := range p.Engine.Export(ctx, g) {
			c.Sequence = l.asked(c.Sequence)
			if !yield(c, err) {
				return
			}
		}
	}
}
