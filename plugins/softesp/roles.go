package softesp

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// group is a failover group. It exists from the start, so that SAs can refer to
// it.
type group struct {
	id offload.Group
	// epoch is the highest one seen; guarded by Engine.mu.
	epoch offload.Epoch
	// armed holds the epoch under which standby SAs may activate by themselves,
	// nil while they may not.
	armed atomic.Pointer[offload.Epoch]
}

// tunnel joins the SAs that change roles together.
type tunnel struct {
	id ipsec.TunnelID
	// sas is replaced, not changed; Engine.mu guards who replaces it.
	sas atomic.Pointer[[]*association]
	// started: Activated was sent.
	started atomic.Bool
}

func (t *tunnel) replace(old, a *association) {
	next := slices.DeleteFunc(slices.Clone(t.all()), func(x *association) bool { return x == old })
	if a != nil {
		next = append(next, a)
	}
	t.sas.Store(&next)
}

// all are the tunnel's SAs, for reading.
func (t *tunnel) all() []*association {
	if now := t.sas.Load(); now != nil {
		return *now
	}
	return nil
}

func (t *tunnel) empty() bool { return len(t.all()) == 0 }

// knock is what happens when a packet meets a standby SA: an armed tunnel starts,
// here and now, without asking anybody; otherwise the packet is reported, once.
// True means that the SA is active afterwards. Inbound packets are authentic
// when they get here.
func (e *Engine) knock(a *association) bool {
	g := a.group.Load()
	if epoch := g.armed.Load(); epoch != nil {
		e.start(a.tunnel, g, *epoch)
		return a.active()
	}
	if !a.told.Load() && !a.told.Swap(true) {
		e.events.add(offload.FirstPacket{ID: a.ID, Tunnel: a.tunnel.id, Group: g.id})
	}
	return a.active()
}

// start makes all SAs of a tunnel in a group active.
func (e *Engine) start(t *tunnel, g *group, epoch offload.Epoch) {
	for _, a := range t.all() {
		if a.group.Load() == g {
			a.role.Store(uint32(offload.Active))
			e.ask(a)
		}
	}
	if !t.started.Swap(true) {
		e.events.add(offload.Activated{Tunnel: t.id, Group: g.id, Epoch: epoch})
	}
}

// setRole changes the role of one SA.
func (a *association) setRole(r offload.Role) {
	if offload.Role(a.role.Load()) == r {
		return
	}
	a.role.Store(uint32(r))
	a.told.Store(false)
	if r == offload.Standby {
		a.tunnel.started.Store(false)
	}
}

// enter checks and records the epoch of a call that touches gs; e.mu is held.
// Nothing is recorded when one of them is stale.
func (e *Engine) enter(epoch offload.Epoch, gs ...*group) error {
	for _, g := range gs {
		if g != e.unowned && epoch < g.epoch {
			return fmt.Errorf("%w: group %d is at epoch %d, the call has %d", offload.ErrStaleEpoch, g.id, g.epoch, epoch)
		}
	}
	for _, g := range gs {
		g.epoch = epoch
	}
	return nil
}

// Arm lets the standby SAs of g activate by themselves. It sets one pointer.
func (e *Engine) Arm(_ context.Context, id offload.Group, epoch offload.Epoch) error {
	return e.onGroup("arm", id, epoch, func(g *group) { g.armed.Store(&epoch) })
}

// Promote makes all standby SAs of g active, and ends the arming.
func (e *Engine) Promote(_ context.Context, id offload.Group, epoch offload.Epoch) error {
	return e.onGroup("promote", id, epoch, func(g *group) {
		g.armed.Store(nil)
		for _, a := range e.sas {
			if a.group.Load() == g {
				a.setRole(offload.Active)
				e.ask(a)
			}
		}
	})
}

// Demote makes all SAs of g standby and disarms it.
//
// A packet that found the group armed may still be about to start its tunnel, so
// the roles are taken back once no such packet is left; and batches that found
// an SA active may still be about to be sent, so the call waits for those too
// (invariant I7).
func (e *Engine) Demote(_ context.Context, id offload.Group, epoch offload.Epoch) error {
	return e.onGroup("demote", id, epoch, func(g *group) {
		g.armed.Store(nil)
		e.drain()
		for _, a := range e.sas {
			if a.group.Load() == g {
				a.setRole(offload.Standby)
			}
		}
		e.drain()
		e.relinquish(g)
	})
}

func (e *Engine) onGroup(what string, id offload.Group, epoch offload.Epoch, change func(*group)) error {
	if err := offload.CheckGroup(id); err != nil {
		return fmt.Errorf("softesp: %s: %w", what, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.usable(); err != nil {
		return fmt.Errorf("softesp: %s group %d: %w", what, id, err)
	}
	g := e.groups[id]
	if err := e.enter(epoch, g); err != nil {
		return fmt.Errorf("softesp: %s: %w", what, err)
	}
	change(g)
	return nil
}
