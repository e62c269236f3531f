package mem

import (
	"context"
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// Install implements offload.Engine.
func (e *Engine) Install(ctx context.Context, epoch offload.Epoch, role offload.Role, sas ...ipsec.SA) (placed []offload.Placement, err error) {
	err = e.call(ctx, CallInstall, &placed, func() error {
		if err := offload.CheckRole(role); err != nil {
			return fmt.Errorf("mem: install: %w", err)
		}
		checks := make([]error, len(sas))
		var touched groupSet
		for i, sa := range sas {
			if checks[i] = e.checkSA(sa); checks[i] != nil {
				continue
			}
			if sa.Link == nil {
				touched.add(offload.Group(sa.Group))
			}
			if old := e.sas[sa.ID]; old != nil {
				touched.addOf(old)
			}
		}
		if err := e.claim("install", epoch, touched); err != nil {
			return err
		}
		for i, sa := range sas {
			if checks[i] == nil {
				checks[i] = e.install(role, sa)
			}
			placed = append(placed, e.placementOf(sa.ID, checks[i]))
		}
		return nil
	})
	return placed, err
}

func (e *Engine) checkSA(sa ipsec.SA) error {
	if err := offload.CheckSA(sa); err != nil {
		return fmt.Errorf("mem: install %v: %w", sa.ID, err)
	}
	if !e.supported[sa.Algorithms] {
		return fmt.Errorf("mem: install %v: %w: %v", sa.ID, offload.ErrUnsupported, sa.Algorithms)
	}
	if sa.Mode == ipsec.Transport && !e.about.TransportMode {
		return fmt.Errorf("mem: install %v: %w: transport mode", sa.ID, offload.ErrUnsupported)
	}
	if sa.Link != nil && !e.about.Links {
		return fmt.Errorf("mem: install %v: %w: links", sa.ID, offload.ErrUnsupported)
	}
	return nil
}

// install puts one good SA in its place.
func (e *Engine) install(role offload.Role, sa ipsec.SA) error {
	if sa.Link != nil {
		role = offload.Active
	}
	if old := e.sas[sa.ID]; old != nil {
		if sa.Generation > old.desc.Generation {
			e.unlink(old)
			old.replace(sa)
			e.link(old)
			e.setRole(old, role)
			e.succeed(old)
		}
		return nil
	}
	if e.options.Capacity > 0 && len(e.sas) >= e.options.Capacity {
		return fmt.Errorf("mem: install %v: %w: %d are in place", sa.ID, offload.ErrExhausted, len(e.sas))
	}
	e.serial++
	n := newEntry(sa, role, e.serial)
	e.sas[sa.ID] = n
	e.link(n)
	e.place(n)
	e.succeed(n)
	return nil
}

func (e *Engine) link(sa *entry) {
	e.tunnels[sa.desc.Tunnel] = append(e.tunnels[sa.desc.Tunnel], sa)
}

func (e *Engine) unlink(sa *entry) {
	var others []*entry
	for _, o := range e.tunnels[sa.desc.Tunnel] {
		if o != sa {
			others = append(others, o)
		}
	}
	if len(others) == 0 {
		delete(e.tunnels, sa.desc.Tunnel)
		return
	}
	e.tunnels[sa.desc.Tunnel] = others
}

// Update implements offload.Engine.
func (e *Engine) Update(ctx context.Context, epoch offload.Epoch, changes ...offload.Change) (placed []offload.Placement, err error) {
	err = e.call(ctx, CallUpdate, &placed, func() error {
		checks := make([]error, len(changes))
		var touched groupSet
		for i, c := range changes {
			if checks[i] = e.checkChange(c); checks[i] != nil {
				continue
			}
			touched.addOf(e.sas[c.ID])
			if c.Group != nil {
				touched.add(*c.Group)
			}
		}
		if err := e.claim("update", epoch, touched); err != nil {
			return err
		}
		for i, c := range changes {
			if checks[i] == nil {
				e.change(e.sas[c.ID], c)
			}
			placed = append(placed, e.placementOf(c.ID, checks[i]))
		}
		return nil
	})
	return placed, err
}

func (e *Engine) checkChange(c offload.Change) error {
	sa := e.sas[c.ID]
	if sa == nil {
		return fmt.Errorf("mem: update %v: %w", c.ID, offload.ErrNotFound)
	}
	if err := offload.CheckChange(c, sa.desc.Link != nil); err != nil {
		return fmt.Errorf("mem: update %v: %w", c.ID, err)
	}
	return nil
}

func (e *Engine) change(sa *entry, c offload.Change) {
	if c.Sequence != nil {
		sa.mergeSequence(*c.Sequence)
	}
	if c.Endpoint != nil {
		sa.desc.Local, sa.desc.Remote, sa.desc.Encap = c.Endpoint.Local, c.Endpoint.Remote, c.Endpoint.Encap
	}
	if c.Lifetime != nil {
		sa.setLifetime(*c.Lifetime)
	}
	if c.PathMTU != nil {
		sa.desc.PathMTU = *c.PathMTU
	}
	if c.Group != nil {
		sa.desc.Group = ipsec.MemberID(*c.Group)
	}
	if c.Role != nil {
		e.setRole(sa, *c.Role)
	}
}

// Delete implements offload.Engine.
func (e *Engine) Delete(ctx context.Context, epoch offload.Epoch, ids ...ipsec.SAID) (last []offload.Counters, err error) {
	err = e.call(ctx, CallDelete, nil, func() error {
		var touched groupSet
		for _, id := range ids {
			if sa := e.sas[id]; sa != nil {
				touched.addOf(sa)
			}
		}
		if err := e.claim("delete", epoch, touched); err != nil {
			return err
		}
		for _, id := range ids {
			if sa := e.sas[id]; sa != nil {
				last = append(last, sa.export(e.options.Now()))
				e.vacate(sa)
				e.unlink(sa)
				delete(e.sas, id)
			}
		}
		return nil
	})
	return last, err
}

// groupSet is a set of valid groups.
type groupSet uint32

func (s *groupSet) add(g offload.Group) { *s |= 1 << g }

// addOf adds the group of an SA, unless that is of a link and in none.
func (s *groupSet) addOf(sa *entry) {
	if sa.desc.Link == nil {
		s.add(sa.group())
	}
}

// claim checks that epoch is stale for none of the groups, then remembers it
// for all of them.
func (e *Engine) claim(doing string, epoch offload.Epoch, touched groupSet) error {
	for g := range e.groups {
		if touched&(1<<g) != 0 && epoch < e.groups[g].epoch {
			return fmt.Errorf("mem: %s: %w: %d for group %d, which has seen %d",
				doing, offload.ErrStaleEpoch, epoch, g, e.groups[g].epoch)
		}
	}
	for g := range e.groups {
		if touched&(1<<g) != 0 {
			e.groups[g].epoch = epoch
		}
	}
	return nil
}

// placementOf answers for one item of a batch.
func (e *Engine) placementOf(id ipsec.SAID, err error) offload.Placement {
	sa := e.sas[id]
	if sa == nil || err != nil {
		return offload.Placement{ID: id, Err: err}
	}
	return sa.placement()
}
