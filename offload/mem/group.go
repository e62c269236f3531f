package mem

import (
	"context"
	"fmt"

	"github.com/evergate/evergate/offload"
)

// Arm implements offload.Engine.
func (e *Engine) Arm(ctx context.Context, g offload.Group, epoch offload.Epoch) error {
	return e.groupCall(ctx, CallArm, g, epoch, func() error {
		e.groups[g].armed, e.groups[g].armedBy = true, epoch
		return nil
	})
}

// Promote implements offload.Engine.
func (e *Engine) Promote(ctx context.Context, g offload.Group, epoch offload.Epoch) error {
	return e.groupCall(ctx, CallPromote, g, epoch, func() error {
		e.groups[g].armed = false
		e.setRoles(g, offload.Active)
		return nil
	})
}

// Demote implements offload.Engine.
func (e *Engine) Demote(ctx context.Context, g offload.Group, epoch offload.Epoch) error {
	return e.groupCall(ctx, CallDemote, g, epoch, func() error {
		e.groups[g].armed = false
		e.setRoles(g, offload.Standby)
		return nil
	})
}

func (e *Engine) groupCall(ctx context.Context, call Call, g offload.Group, epoch offload.Epoch, do func() error) error {
	return e.call(ctx, call, nil, func() error {
		if err := offload.CheckGroup(g); err != nil {
			return fmt.Errorf("mem: %s: %w", call, err)
		}
		if call == CallArm && !e.about.ReportsFirstPacket {
			return fmt.Errorf("mem: arm: %w: first packets are not seen", offload.ErrUnsupported)
		}
		var touched groupSet
		touched.add(g)
		if err := e.claim(string(call), epoch, touched); err != nil {
			return err
		}
		return do()
	})
}

func (e *Engine) setRoles(g offload.Group, role offload.Role) {
	for _, sa := range e.inOrder() {
		if sa.in(g) {
			e.setRole(sa, role)
		}
	}
}

// setRole changes a role and what follows from it.
func (e *Engine) setRole(sa *entry, role offload.Role) {
	if sa.role != role {
		sa.role = role
		sa.reported = false
	}
	e.placeAgain(sa)
}

// noteFirst deals with a packet of a standby SA: it activates the tunnel where
// the group is armed, and is reported once where it is not.
func (e *Engine) noteFirst(sa *entry) {
	g := &e.groups[sa.group()]
	if !g.armed {
		if !sa.reported && e.about.ReportsFirstPacket {
			sa.reported = true
			e.events.push(offload.FirstPacket{ID: sa.desc.ID, Tunnel: sa.desc.Tunnel, Group: sa.group()})
		}
		return
	}
	for _, o := range e.tunnels[sa.desc.Tunnel] {
		if o.in(sa.group()) {
			e.setRole(o, offload.Active)
		}
	}
	e.events.push(offload.Activated{Tunnel: sa.desc.Tunnel, Group: sa.group(), Epoch: g.armedBy})
}
