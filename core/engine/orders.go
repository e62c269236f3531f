package engine

import (
	"context"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/offload"
)

// PlaneCall is one call into the dataplane that the replication machine ordered.
// One of its fields is set.
type PlaneCall struct {
	Install []ipsec.SA // as standby
	Update  []offload.Change
	Delete  []ipsec.SAID
	Arm     *offload.Group
	Promote *offload.Group
	Demote  *offload.Group
}

// PlaneCalls carry out a list of orders, in as few calls as their order allows.
func PlaneCalls(list []ha.Order) []PlaneCall {
	var calls []PlaneCall
	for len(list) > 0 {
		installs, updates, n := gather(list)
		if len(installs) > 0 {
			calls = append(calls, PlaneCall{Install: installs})
		}
		if len(updates) > 0 {
			calls = append(calls, PlaneCall{Update: updates})
		}
		if n == 0 {
			calls = append(calls, callFor(list[0]))
			n = 1
		}
		list = list[n:]
	}
	return calls
}

// gather takes Installs and Updates from the front of a list, as far as all
// Installs may come before all Updates: none of an SA that was updated before.
func gather(list []ha.Order) (installs []ipsec.SA, updates []offload.Change, n int) {
	updated := make(map[ipsec.SAID]bool)
	installs = make([]ipsec.SA, 0, upFront(list))
	for ; n < len(list); n++ {
		switch o := list[n]; o.Kind {
		case ha.Install:
			for _, sa := range o.SAs {
				if updated[sa.ID] {
					return installs, updates, n
				}
			}
			installs = append(installs, o.SAs...)
		case ha.Update:
			for _, c := range o.Changes {
				updated[c.ID] = true
				updates = append(updates, changeOf(c))
			}
		default:
			return installs, updates, n
		}
	}
	return installs, updates, n
}

// upFront is how many SAs the Installs at the front of a list have.
func upFront(list []ha.Order) (n int) {
	for _, o := range list {
		if o.Kind != ha.Install && o.Kind != ha.Update {
			break
		}
		n += len(o.SAs)
	}
	return n
}

// noncesOf is what IVs of a source mean for SAs that several members use.
func noncesOf(source offload.IVSource) ha.Nonces {
	switch source {
	case offload.IVMember, offload.IVRandomSalt:
		return ha.DistinctNonces
	case offload.IVSequence:
		return ha.SequenceNonces
	default:
		return ha.UnknownNonces
	}
}

// callFor is the call for an order that stands alone.
func callFor(o ha.Order) PlaneCall {
	group := offload.Group(o.Group)
	switch o.Kind {
	case ha.Arm:
		return PlaneCall{Arm: &group}
	case ha.Disarm:
		return PlaneCall{Demote: &group}
	case ha.Promote:
		return PlaneCall{Promote: &group}
	default:
		return PlaneCall{Delete: o.IDs}
	}
}

// Make makes the call, and returns the SAs that were refused.
func (c PlaneCall) Make(ctx context.Context, plane offload.Engine, epoch offload.Epoch) (refused []ipsec.SAID, err error) {
	switch {
	case c.Install != nil:
		var placements []offload.Placement
		placements, err = plane.Install(ctx, epoch, offload.Standby, c.Install...)
		return refusedOf(placements), err
	case c.Update != nil:
		_, err = plane.Update(ctx, epoch, c.Update...)
	case c.Arm != nil:
		err = plane.Arm(ctx, *c.Arm, epoch)
	case c.Promote != nil:
		err = plane.Promote(ctx, *c.Promote, epoch)
	case c.Demote != nil:
		err = plane.Demote(ctx, *c.Demote, epoch)
	default:
		_, err = plane.Delete(ctx, epoch, c.Delete...)
	}
	return nil, err
}

func refusedOf(placements []offload.Placement) []ipsec.SAID {
	var out []ipsec.SAID
	for _, p := range placements {
		if p.Err != nil {
			out = append(out, p.ID)
		}
	}
	return out
}

func changeOf(c ha.Change) offload.Change {
	out := offload.Change{ID: c.ID, Sequence: c.Sequence, PathMTU: c.MTU}
	if c.Active != nil {
		role := offload.Standby
		if *c.Active {
			role = offload.Active
		}
		out.Role = &role
	}
	if c.Group != nil {
		group := offload.Group(*c.Group)
		out.Group = &group
	}
	if c.Endpoint != nil {
		out.Endpoint = &offload.Endpoint{Local: c.Endpoint.Local, Remote: c.Endpoint.Remote, Encap: c.Endpoint.Encap}
	}
	return out
}
