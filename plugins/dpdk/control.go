//go:build dpdk

package dpdk

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// enter checks and records the epoch of a call that touches gs; e.mu is held.
// Nothing is recorded when it is stale for one of them (invariant I5).
func (e *Engine) enter(epoch offload.Epoch, gs ...offload.Group) error {
	for _, g := range gs {
		if epoch < e.groups[g] {
			return fmt.Errorf("%w: group %d is at epoch %d, the call has %d", offload.ErrStaleEpoch, g, e.groups[g], epoch)
		}
	}
	for _, g := range gs {
		e.groups[g] = epoch
	}
	return nil
}

// Install adds SAs, or replaces those whose generation is older.
func (e *Engine) Install(_ context.Context, epoch offload.Epoch, role offload.Role, sas ...ipsec.SA) ([]offload.Placement, error) {
	if err := offload.CheckRole(role); err != nil {
		return nil, fmt.Errorf("dpdk: install: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.usable(); err != nil {
		return nil, fmt.Errorf("dpdk: install: %w", err)
	}
	out := make([]offload.Placement, len(sas))
	var touched []offload.Group
	for i, sa := range sas {
		out[i] = offload.Placement{ID: sa.ID, Err: checkSA(sa)}
		if out[i].Err != nil {
			continue
		}
		if sa.Link == nil {
			touched = append(touched, offload.Group(sa.Group))
		}
		touched = append(touched, e.groupsOf(sa.ID)...)
	}
	if err := e.enter(epoch, touched...); err != nil {
		return nil, fmt.Errorf("dpdk: install: %w", err)
	}
	s := e.network.hops.survey()
	quiet := false
	for i, sa := range sas {
		if out[i].Err == nil {
			stopped, err := e.install(s, role, sa)
			quiet = quiet || stopped
			out[i] = e.answer(sa.ID, err)
		}
	}
	if quiet {
		e.drain()
	}
	return out, nil
}

// groupsOf lists the group that an SA is in now, if it is there and in one.
func (e *Engine) groupsOf(id ipsec.SAID) []offload.Group {
	if a := e.sas[id]; a != nil {
		if g, has := a.group(); has {
			return []offload.Group{g}
		}
	}
	return nil
}

// answer is for one item of a call.
func (e *Engine) answer(id ipsec.SAID, err error) offload.Placement {
	if a := e.sas[id]; a != nil && err == nil {
		return a.placement()
	}
	if errors.Is(err, unix.ENOMEM) {
		err = fmt.Errorf("%w: %w", offload.ErrExhausted, err)
	}
	return offload.Placement{ID: id, Err: err}
}

// install adds or replaces one SA that makes sense. It tells whether an SA stopped
// sending.
func (e *Engine) install(s *survey, role offload.Role, sa ipsec.SA) (stopped bool, err error) {
	if sa.Link != nil {
		role = offload.Active
	}
	old := e.sas[sa.ID]
	switch {
	case old == nil:
		return false, e.add(s, role, sa)
	case old.Generation >= sa.Generation:
		return false, nil
	case old.Direction != sa.Direction:
		return false, fmt.Errorf("%w: %v is installed for the other direction", offload.ErrInvalid, sa.ID)
	case (old.Link == nil) != (sa.Link == nil):
		return false, fmt.Errorf("%w: %v is installed, and either it or the new one is of a link", offload.ErrInvalid, sa.ID)
	default:
		return e.replace(s, old, role, sa)
	}
}

// replace gives an SA a newer description. Counters stay, sequence state merges, and
// the replay window keeps its first size.
func (e *Engine) replace(s *survey, a *association, role offload.Role, sa ipsec.SA) (stopped bool, err error) {
	described, at, err := e.describe(s, sa, e.ivPrefix(sa))
	if err != nil {
		return false, err
	}
	old, joined := *a, a.tunnel
	a.SA = sa
	if sa.Tunnel != old.Tunnel {
		if err := e.join(a); err != nil {
			described.Free()
			at.release()
			a.SA = old.SA
			return false, err
		}
	}
	e.deselect(&old)
	e.network.plane.SetDescription(a.loop, described) // drains
	if ended := e.leaveFor(&old, a, joined); ended != nil {
		defer func() { e.drain(); ended.loop.Free() }()
	}
	a.at = at
	old.at.release()
	a.loop.SetLifetime(sa.Lifetime)
	a.loop.SetGroup(offload.Group(sa.Group))
	a.loop.Merge(sa.Sequence)
	if sa.PathMTU != 0 {
		a.loop.SetMTU(sa.PathMTU)
	}
	was := a.loop.Usage().Role
	a.loop.SetRole(role)
	if role == offload.Standby {
		a.tunnel.loop.Rest()
	}
	err = e.setPath(s, a, offload.Endpoint{Local: sa.Local, Remote: sa.Remote, Encap: sa.Encap})
	return was == offload.Active && role == offload.Standby, errors.Join(err, e.selectFor(a))
}

// leaveFor takes a replaced SA out of the tunnel that it was in, when that is
// another one now.
func (e *Engine) leaveFor(old, a *association, joined *tunnel) *tunnel {
	if old.Tunnel == a.Tunnel {
		return nil
	}
	return e.leave(old.Tunnel, old, joined)
}

// Delete removes SAs. It returns when no packet uses them any more, so the counters
// are final.
func (e *Engine) Delete(_ context.Context, epoch offload.Epoch, ids ...ipsec.SAID) ([]offload.Counters, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.usable(); err != nil {
		return nil, fmt.Errorf("dpdk: delete: %w", err)
	}
	var gone []*association
	var gs []offload.Group
	for _, id := range ids {
		if a := e.sas[id]; a != nil && !slices.Contains(gone, a) {
			gone = append(gone, a)
			gs = append(gs, e.groupsOf(id)...)
		}
	}
	if err := e.enter(epoch, gs...); err != nil {
		return nil, fmt.Errorf("dpdk: delete: %w", err)
	}
	for _, a := range gone {
		e.remove(a)
	}
	e.drain()
	var out []offload.Counters
	for _, a := range gone {
		out = append(out, a.counters())
		e.forget(a)
	}
	return out, nil
}
