package softesp

import (
	"context"
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// Update changes the mutable parts of installed SAs.
func (e *Engine) Update(_ context.Context, epoch offload.Epoch, changes ...offload.Change) ([]offload.Placement, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.usable(); err != nil {
		return nil, fmt.Errorf("softesp: update: %w", err)
	}
	errs := make([]error, len(changes))
	var touched []*group
	for i, c := range changes {
		if errs[i] = e.checkChange(c); errs[i] != nil {
			continue
		}
		touched = append(touched, e.sas[c.ID].group.Load())
		if c.Group != nil {
			touched = append(touched, e.groups[*c.Group])
		}
	}
	if err := e.enter(epoch, touched...); err != nil {
		return nil, fmt.Errorf("softesp: update: %w", err)
	}
	out := make([]offload.Placement, len(changes))
	quiet := false
	for i, c := range changes {
		if errs[i] == nil {
			quiet = e.update(e.sas[c.ID], c) || quiet
		}
		out[i] = e.placement(c.ID, errs[i])
	}
	if quiet {
		e.drain()
	}
	return out, nil
}

// update makes a change that makes sense. It tells whether the SA stopped
// sending.
func (e *Engine) update(a *association, c offload.Change) (stopped bool) {
	if c.Sequence != nil {
		a.advance(*c.Sequence)
	}
	if c.Endpoint != nil {
		e.move(a, *c.Endpoint)
	}
	if c.Lifetime != nil {
		a.relimit(a.lifetime.Swap(c.Lifetime))
	}
	if c.PathMTU != nil {
		a.mtu.set(int(*c.PathMTU))
	}
	if c.Group != nil {
		a.group.Store(e.groups[*c.Group])
	}
	if c.Role != nil {
		stopped = a.active() && *c.Role == offload.Standby
		a.setRole(*c.Role)
		e.ask(a)
	}
	return stopped
}

func (e *Engine) checkChange(c offload.Change) error {
	a := e.sas[c.ID]
	if a == nil {
		return offload.ErrNotFound
	}
	if err := offload.CheckChange(c, a.Link != nil); err != nil {
		return err
	}
	if c.Endpoint != nil {
		return checkEncap(c.Endpoint.Encap)
	}
	return nil
}

// advance merges sequence state: nothing moves back.
func (a *association) advance(s ipsec.Sequence) {
	if a.window != nil {
		a.window.Import(s)
		return
	}
	a.out.merge(s)
}

// move gives an SA a new outer path. What was learned of the old one is
// forgotten when the peer's address is another.
func (e *Engine) move(a *association, to offload.Endpoint) {
	old := a.path.Load()
	next := e.pathOf(a.tunnel, to)
	if next.remote.Addr() != old.remote.Addr() {
		a.mtu.moved()
	}
	a.path.Store(next)
	a.lastMove.Store(nil)
	e.ask(a)
}
