package examplenpu

import (
	"context"
	"fmt"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// Install implements offload.Engine. As in every call that takes a batch, first
// each item is checked by itself, then the epoch for all groups that the good
// ones touch, and only then anything changes.
func (e *Engine) Install(_ context.Context, epoch offload.Epoch, role offload.Role, sas ...ipsec.SA) ([]offload.Placement, error) {
	err := e.begin()
	defer e.mu.Unlock()
	if err == nil {
		err = offload.CheckRole(role)
	}
	if err != nil {
		return nil, fmt.Errorf("examplenpu: install: %w", err)
	}
	placed := make([]offload.Placement, len(sas))
	ciphers := make([]*transform, len(sas))
	var touched groupSet
	for i, d := range sas {
		placed[i].ID = d.ID
		if ciphers[i], placed[i].Err = prepare(d); placed[i].Err != nil {
			continue
		}
		touched.add(d)
		if old := e.table.all[d.ID]; old != nil {
			touched.add(old.SA)
		}
	}
	if err := e.claim(epoch, touched); err != nil {
		return nil, fmt.Errorf("examplenpu: install: %w", err)
	}
	for i, d := range sas {
		if placed[i].Err == nil {
			placed[i] = e.install(role, d, ciphers[i])
		}
	}
	return placed, nil
}

// prepare says no to what this dataplane will never take, and makes the
// cipher of what it takes.
func prepare(d ipsec.SA) (*transform, error) {
	err := offload.CheckSA(d)
	if err == nil && d.Mode == ipsec.Transport {
		err = fmt.Errorf("%w: transport mode", offload.ErrUnsupported)
	}
	var t *transform
	if err == nil {
		t, err = newTransform(d)
	}
	if err != nil {
		return nil, fmt.Errorf("examplenpu: install %v: %w", d.ID, err)
	}
	return t, nil
}

// install puts one good SA in its place. An SA of a link is active whatever the
// role says.
func (e *Engine) install(role offload.Role, d ipsec.SA, t *transform) offload.Placement {
	if d.Link != nil {
		role = offload.Active
	}
	s := e.table.all[d.ID]
	var err error
	switch {
	case s != nil && d.Generation <= s.Generation:
		return s.placement()
	case s != nil:
		e.table.remove(s)
		s.describe(d, t)
		e.table.add(s)
		e.setRole(s, role)
		return s.placement()
	case len(e.table.all) >= maxSAs:
		err = fmt.Errorf("examplenpu: install %v: %w: %d are in place", d.ID, offload.ErrExhausted, maxSAs)
	case d.Direction == ipsec.Inbound && e.table.bySPI[d.ID.SPI] != nil:
		err = fmt.Errorf("examplenpu: install %v: %w: two inbound sas of one spi", d.ID, offload.ErrUnsupported)
	}
	if err != nil {
		return offload.Placement{ID: d.ID, Err: err}
	}
	e.serial++
	s = &sa{serial: e.serial, role: role}
	s.describe(d, t)
	e.table.add(s)
	e.place(s)
	return s.placement()
}

// Update implements offload.Engine.
func (e *Engine) Update(_ context.Context, epoch offload.Epoch, changes ...offload.Change) ([]offload.Placement, error) {
	err := e.begin()
	defer e.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("examplenpu: update: %w", err)
	}
	placed := make([]offload.Placement, len(changes))
	var touched groupSet
	for i, c := range changes {
		placed[i].ID = c.ID
		if err := e.checkChange(c); err != nil {
			placed[i].Err = fmt.Errorf("examplenpu: update %v: %w", c.ID, err)
			continue
		}
		touched.add(e.table.all[c.ID].SA)
		if c.Group != nil {
			touched |= 1 << *c.Group
		}
	}
	if err := e.claim(epoch, touched); err != nil {
		return nil, fmt.Errorf("examplenpu: update: %w", err)
	}
	for i, c := range changes {
		if placed[i].Err == nil {
			placed[i] = e.change(e.table.all[c.ID], c)
		}
	}
	return placed, nil
}

func (e *Engine) checkChange(c offload.Change) error {
	s := e.table.all[c.ID]
	if s == nil {
		return offload.ErrNotFound
	}
	return offload.CheckChange(c, s.Link != nil)
}

func (e *Engine) change(s *sa, c offload.Change) offload.Placement {
	if c.Sequence != nil {
		s.merge(*c.Sequence)
	}
	if c.Endpoint != nil {
		s.Local, s.Remote, s.Encap = c.Endpoint.Local, c.Endpoint.Remote, c.Endpoint.Encap
		e.place(s) // the NPU may lack what the new path needs
	}
	if c.Lifetime != nil {
		s.setLifetime(*c.Lifetime)
	}
	if c.PathMTU != nil {
		s.PathMTU = *c.PathMTU
	}
	if c.Group != nil {
		s.Group = ipsec.MemberID(*c.Group)
	}
	if c.Role != nil {
		e.setRole(s, *c.Role)
	}
	return s.placement()
}

// Delete implements offload.Engine.
func (e *Engine) Delete(_ context.Context, epoch offload.Epoch, ids ...ipsec.SAID) ([]offload.Counters, error) {
	err := e.begin()
	defer e.mu.Unlock()
	var touched groupSet
	for _, id := range ids {
		if s := e.table.all[id]; s != nil {
			touched.add(s.SA)
		}
	}
	if err == nil {
		err = e.claim(epoch, touched)
	}
	if err != nil {
		return nil, fmt.Errorf("examplenpu: delete: %w", err)
	}
	var last []offload.Counters
	for _, id := range ids {
		if s := e.table.all[id]; s != nil {
			last = append(last, s.counters(time.Now()))
			e.npu.release(s)
			e.table.remove(s)
		}
	}
	return last, nil
}
