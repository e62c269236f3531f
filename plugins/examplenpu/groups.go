package examplenpu

import (
	"context"
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// group is what is remembered of one failover group, SAs or not.
type group struct {
	epoch   offload.Epoch // the highest of a call that succeeded
	armed   bool
	armedBy offload.Epoch
}

// groupSet has bit g for group g.
type groupSet uint32

// add adds the group of an SA that passed CheckSA; those of links have none.
func (t *groupSet) add(d ipsec.SA) {
	if d.Link == nil {
		*t |= 1 << d.Group
	}
}

// claim remembers epoch for all groups of a call, or for none when it is stale
// for one of them (invariant I5).
func (e *Engine) claim(epoch offload.Epoch, touched groupSet) error {
	for g := range e.groups {
		if touched>>g&1 != 0 && epoch < e.groups[g].epoch {
			return fmt.Errorf("%w: %d for group %d, which has seen %d", offload.ErrStaleEpoch, epoch, g, e.groups[g].epoch)
		}
	}
	for g := range e.groups {
		if touched>>g&1 != 0 {
			e.groups[g].epoch = epoch
		}
	}
	return nil
}

// Arm implements offload.Engine. It looks at no SA, so it takes the same time
// whatever their number.
func (e *Engine) Arm(_ context.Context, g offload.Group, epoch offload.Epoch) error {
	return e.groupCall("arm", g, epoch, func(g *group) { g.armed, g.armedBy = true, epoch })
}

// Promote implements offload.Engine.
func (e *Engine) Promote(_ context.Context, g offload.Group, epoch offload.Epoch) error {
	return e.groupCall("promote", g, epoch, func(of *group) {
		of.armed = false
		e.setRoles(g, offload.Active)
	})
}

// Demote implements offload.Engine.
func (e *Engine) Demote(_ context.Context, g offload.Group, epoch offload.Epoch) error {
	return e.groupCall("demote", g, epoch, func(of *group) {
		of.armed = false
		e.setRoles(g, offload.Standby)
	})
}

func (e *Engine) groupCall(doing string, g offload.Group, epoch offload.Epoch, do func(*group)) error {
	err := e.begin()
	defer e.mu.Unlock()
	if err == nil {
		err = offload.CheckGroup(g)
	}
	if err == nil {
		err = e.claim(epoch, 1<<g)
	}
	if err != nil {
		return fmt.Errorf("examplenpu: %s group %d: %w", doing, g, err)
	}
	do(&e.groups[g])
	return nil
}

func (e *Engine) setRoles(g offload.Group, role offload.Role) {
	for _, s := range e.table.inOrder() {
		if s.in(g) {
			e.setRole(s, role)
		}
	}
}

func (e *Engine) setRole(s *sa, role offload.Role) {
	if s.role != role {
		s.role, s.reported = role, false
	}
	e.place(s)
}

// notice deals with a packet of a standby SA, before the packet itself is dealt
// with: where the group is armed the whole tunnel starts, where it is not the
// first packet is reported.
func (e *Engine) notice(s *sa) {
	g := offload.Group(s.Group)
	if of := e.groups[g]; of.armed {
		for _, o := range e.table.byTunnel[s.Tunnel] {
			if o.in(g) {
				e.setRole(o, offload.Active)
			}
		}
		e.events.push(offload.Activated{Tunnel: s.Tunnel, Group: g, Epoch: of.armedBy})
		return
	}
	if !s.reported {
		s.reported = true
		e.events.push(offload.FirstPacket{ID: s.ID, Tunnel: s.Tunnel, Group: g})
	}
}
