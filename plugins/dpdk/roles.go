//go:build dpdk

package dpdk

import (
	"context"
	"fmt"

	"github.com/evergate/evergate/offload"
)

// Arm lets the standby SAs of a group activate by themselves. It sets one number.
func (e *Engine) Arm(_ context.Context, g offload.Group, epoch offload.Epoch) error {
	return e.onGroup("arm", g, epoch, func() { e.network.plane.Arm(g, epoch) })
}

// Promote makes all standby SAs of a group active, and ends the arming.
func (e *Engine) Promote(_ context.Context, g offload.Group, epoch offload.Epoch) error {
	return e.onGroup("promote", g, epoch, func() {
		e.network.plane.Disarm(g)
		e.setRoles(g, offload.Active)
	})
}

// Demote makes all SAs of a group standby and disarms it.
//
// A packet that found the group armed may still be about to start its tunnel, so the
// roles are taken back once no such packet is left; and a turn that found an SA
// active may not have ended, so the call waits for that too (invariant I7).
func (e *Engine) Demote(_ context.Context, g offload.Group, epoch offload.Epoch) error {
	return e.onGroup("demote", g, epoch, func() {
		e.network.plane.Disarm(g)
		e.drain()
		e.setRoles(g, offload.Standby)
		e.drain()
	})
}

func (e *Engine) setRoles(g offload.Group, r offload.Role) {
	for _, a := range e.sas {
		if in, has := a.group(); has && in == g {
			a.loop.SetRole(r)
		}
	}
}

func (e *Engine) onGroup(what string, g offload.Group, epoch offload.Epoch, change func()) error {
	if err := offload.CheckGroup(g); err != nil {
		return fmt.Errorf("dpdk: %s: %w", what, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.usable(); err != nil {
		return fmt.Errorf("dpdk: %s group %d: %w", what, g, err)
	}
	if err := e.enter(epoch, g); err != nil {
		return fmt.Errorf("dpdk: %s: %w", what, err)
	}
	change()
	return nil
}
