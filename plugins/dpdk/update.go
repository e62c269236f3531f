//go:build dpdk

package dpdk

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
		return nil, fmt.Errorf("dpdk: update: %w", err)
	}
	errs := make([]error, len(changes))
	var touched []offload.Group
	for i, c := range changes {
		if errs[i] = e.checkChange(c); errs[i] != nil {
			continue
		}
		touched = append(touched, e.groupsOf(c.ID)...)
		if c.Group != nil {
			touched = append(touched, *c.Group)
		}
	}
	if err := e.enter(epoch, touched...); err != nil {
		return nil, fmt.Errorf("dpdk: update: %w", err)
	}
	s := e.network.hops.survey()
	out := make([]offload.Placement, len(changes))
	quiet := false
	for i, c := range changes {
		if errs[i] == nil {
			var stopped bool
			stopped, errs[i] = e.update(s, e.sas[c.ID], c)
			quiet = quiet || stopped
		}
		out[i] = e.answer(c.ID, errs[i])
	}
	if quiet {
		e.drain()
	}
	return out, nil
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

// update makes a change that makes sense. It tells whether the SA stopped sending.
func (e *Engine) update(s *survey, a *association, c offload.Change) (stopped bool, err error) {
	if c.Sequence != nil {
		a.loop.Merge(*c.Sequence)
	}
	if c.Endpoint != nil {
		if err := e.setPath(s, a, *c.Endpoint); err != nil {
			return false, err
		}
		a.Local, a.Remote, a.Encap = c.Endpoint.Local, c.Endpoint.Remote, c.Endpoint.Encap
		if err := e.settle(s, a); err != nil {
			return false, err
		}
	}
	if c.Lifetime != nil {
		a.Lifetime = *c.Lifetime
		a.loop.SetLifetime(*c.Lifetime)
	}
	if c.PathMTU != nil {
		a.loop.SetMTU(*c.PathMTU)
	}
	if c.Group != nil {
		a.Group = ipsec.MemberID(*c.Group)
		a.loop.SetGroup(*c.Group)
	}
	if c.Role != nil {
		stopped = a.loop.Usage().Role == offload.Active && *c.Role == offload.Standby
		a.loop.SetRole(*c.Role)
	}
	return stopped, nil
}
