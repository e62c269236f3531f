package xfrm

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/offload"
)

// group is a failover group.
type group struct {
	epoch offload.Epoch // the highest seen
	armed bool
	by    offload.Epoch // the epoch of the arming
}

// groupSet is a set of valid groups.
type groupSet uint32

func (s *groupSet) add(g offload.Group) { *s |= 1 << g }

// enter checks that epoch is stale for none of the groups, then remembers it for
// all of them.
func (e *Engine) enter(epoch offload.Epoch, touched groupSet) error {
	for g := range e.groups {
		if touched&(1<<g) != 0 && epoch < e.groups[g].epoch {
			return fmt.Errorf("%w: group %d is at epoch %d, the call has %d", offload.ErrStaleEpoch, g, e.groups[g].epoch, epoch)
		}
	}
	for g := range e.groups {
		if touched&(1<<g) != 0 {
			e.groups[g].epoch = epoch
		}
	}
	return nil
}

// Arm lets the standby SAs of g activate by themselves: the gate opens for all of
// them, and tells which one was used.
func (e *Engine) Arm(_ context.Context, g offload.Group, epoch offload.Epoch) error {
	return e.onGroup("arm", g, epoch, func(state *group) error {
		c := e.changes()
		c.tx.Arm(uint8(g))
		c.done = append(c.done, func() { state.armed, state.by = true, epoch })
		return c.commit()
	})
}

// Promote makes all standby SAs of g active, and ends the arming.
func (e *Engine) Promote(_ context.Context, g offload.Group, epoch offload.Epoch) error {
	return e.onGroup("promote", g, epoch, func(state *group) error { return e.setRoles(g, state, offload.Active) })
}

// Demote makes all SAs of g standby and disarms it.
func (e *Engine) Demote(_ context.Context, g offload.Group, epoch offload.Epoch) error {
	return e.onGroup("demote", g, epoch, func(state *group) error {
		err := e.setRoles(g, state, offload.Standby)
		e.settled()
		return err
	})
}

// setRoles disarms a group and gives its SAs a role. A packet that found the group
// armed may have started a tunnel meanwhile; that is heard of before roles change.
func (e *Engine) setRoles(g offload.Group, state *group, r offload.Role) error {
	c := e.changes()
	if state.armed {
		e.holdBack(c, g)
		c.done = append(c.done, func() { state.armed = false })
		if err := c.commit(); err != nil {
			return err
		}
		e.settled()
	}
	for _, a := range e.sas {
		if !a.in(g) {
			continue
		}
		if err := c.setRole(a, r); err != nil {
			return err
		}
		c.room()
	}
	return c.commit()
}

// settled waits until no packet is under way that met the gate as it was before.
func (e *Engine) settled() {
	// MEMBARRIER_CMD_GLOBAL waits until every processor has left what it did under
	// RCU, as the kernel's whole way from the gate to the SA is. Where there is no
	// such call, a packet takes that way long before our answer is read.
	_, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, 1, 0, 0)
}

func (e *Engine) onGroup(what string, g offload.Group, epoch offload.Epoch, change func(*group) error) error {
	if err := offload.CheckGroup(g); err != nil {
		return fmt.Errorf("xfrm: %s: %w", what, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.begin(); err != nil {
		return fmt.Errorf("xfrm: %s group %d: %w", what, g, err)
	}
	var touched groupSet
	touched.add(g)
	if err := e.enter(epoch, touched); err != nil {
		return fmt.Errorf("xfrm: %s: %w", what, err)
	}
	if err := change(&e.groups[g]); err != nil {
		return fmt.Errorf("xfrm: %s group %d: %w", what, g, err)
	}
	return nil
}

// knocked is called for an SA that saw a packet while it stood by. Where its group
// is armed, that has started its tunnel.
func (e *Engine) knocked(c *changes, a *association) error {
	if a.held.kind != standsBy || a.role != offload.Standby {
		return nil
	}
	g := &e.groups[a.group]
	if !g.armed {
		if !a.told {
			e.events.push(offload.FirstPacket{ID: a.id, Tunnel: a.tunnel, Group: a.group})
			c.tell(a, true)
		}
		return nil
	}
	e.events.push(offload.Activated{Tunnel: a.tunnel, Group: a.group, Epoch: g.by})
	return e.activate(c, a)
}

// activate makes all SAs of a's tunnel in its group active.
func (e *Engine) activate(c *changes, a *association) error {
	for _, o := range e.tunnels[a.tunnel] {
		if o.group == a.group {
			if err := c.setRole(o, offload.Active); err != nil {
				return err
			}
		}
	}
	return nil
}
