package xfrm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm/xfrmnl"
)

// Install adds SAs, or replaces those whose generation is older.
func (e *Engine) Install(_ context.Context, epoch offload.Epoch, role offload.Role, sas ...ipsec.SA) ([]offload.Placement, error) {
	if err := offload.CheckRole(role); err != nil {
		return nil, fmt.Errorf("xfrm: install: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.begin(); err != nil {
		return nil, fmt.Errorf("xfrm: install: %w", err)
	}
	errs := make([]error, len(sas))
	var touched groupSet
	for i, sa := range sas {
		if errs[i] = e.checkSA(sa); errs[i] != nil {
			continue
		}
		if sa.Link == nil {
			touched.add(offload.Group(sa.Group))
		}
		if old := e.sas[sa.ID]; old != nil && old.link == nil {
			touched.add(old.group)
		}
	}
	if err := e.enter(epoch, touched); err != nil {
		return nil, fmt.Errorf("xfrm: install: %w", err)
	}
	for start := 0; start < len(sas); {
		start = e.installSome(role, sas, errs, start)
	}
	out := make([]offload.Placement, len(sas))
	for i, sa := range sas {
		out[i] = e.placement(sa.ID, errs[i])
	}
	return out, nil
}

func (e *Engine) checkSA(sa ipsec.SA) error {
	if err := offload.CheckSA(sa); err != nil {
		return err
	}
	if !e.info().Supports(sa.Algorithms) {
		return fmt.Errorf("%w: %v", offload.ErrUnsupported, sa.Algorithms)
	}
	if sa.Link != nil && !e.kernel.gate.Relays() {
		return fmt.Errorf("%w: links between members", offload.ErrUnsupported)
	}
	return e.settings.supports(sa)
}

// installSome installs SAs from start on, as many as one change of the gate takes,
// and returns the one to go on with. New SAs are held back, where they shall be,
// before they are in the kernel.
func (e *Engine) installSome(role offload.Role, sas []ipsec.SA, errs []error, start int) int {
	c := e.changes()
	var fresh []*association
	var at []int
	names := make(map[ipsec.SAID]bool)
	next := start
	for ; next < len(sas) && c.tx.Len() < maxChanges && !names[sas[next].ID]; next++ {
		sa := sas[next]
		switch old := e.sas[sa.ID]; {
		case errs[next] != nil:
		case old != nil:
			errs[next] = e.replace(old, role, sa)
		case len(e.sas)+len(fresh) >= e.maxSAs:
			errs[next] = offload.ErrExhausted
		default:
			var a *association
			if a, errs[next] = e.newAssociation(role, sa); errs[next] == nil {
				c.note(a, true)
				c.hold(a, 0)
				fresh, at, names[sa.ID] = append(fresh, a), append(at, next), true
			}
		}
	}
	if err := c.commit(); err != nil {
		for _, i := range at {
			errs[i] = err
		}
		return next
	}
	for i, a := range fresh {
		errs[at[i]] = e.bring(a)
	}
	return next
}

// newAssociation makes an association of an SA that is not there.
func (e *Engine) newAssociation(role offload.Role, sa ipsec.SA) (*association, error) {
	a := &association{id: sa.ID, reqID: e.newReqID(), direction: sa.Direction, role: role}
	if sa.Link != nil {
		a.role = offload.Active
	}
	if err := e.describe(a, sa); err != nil {
		return nil, err
	}
	if a.outbound() {
		a.state.Replay.Sent = min(max(sa.Sequence.Next, 1)-1, sa.Algorithms.MaxSequence())
		a.ceiling = sa.Sequence.Ceiling
		a.renew(a.state.Replay.Sent)
	} else {
		a.state.Replay.Merge(sa.Sequence.Highest, sa.Sequence.Bitmap)
	}
	return a, nil
}

// describe takes over what is said of an SA, its sequence state aside.
func (e *Engine) describe(a *association, sa ipsec.SA) error {
	st, err := e.settings.plan(sa, a.reqID)
	if err != nil {
		return err
	}
	selectors := everything()
	if sa.Link == nil {
		if selectors, err = selectorsOf(sa.Selectors, sa.Direction); err != nil {
			return err
		}
	}
	a.state, a.selectors, a.link = st, selectors, sa.Link
	a.tunnel, a.group, a.generation = sa.Tunnel, offload.Group(sa.Group), sa.Generation
	a.lifetime, a.algorithms = sa.Lifetime, sa.Algorithms
	if sa.PathMTU != 0 {
		a.pathMTU = sa.PathMTU
	}
	return nil
}

// newReqID names an SA for the kernel. Numbers rise with age, until they begin
// again. One is a mark as well, and not that of outer packets.
func (e *Engine) newReqID() uint32 {
	for {
		e.serial = e.serial%serialMask + 1
		if id := ourReqIDs | e.serial; e.byReqID[id] == nil && id != offload.OuterMark {
			return id
		}
	}
}

// bring gives a new SA to the kernel, which the gate knows already.
func (e *Engine) bring(a *association) error {
	err := e.put(a)
	if err == nil {
		e.policies.join(a)
		if err = e.settle(a.keys()); err != nil && a.whole {
			err = e.part(a)
		}
		if err != nil {
			e.policies.leave(a)
			err = errors.Join(err, e.settle(a.keys()), e.kernel.conn.DeleteState(a.state))
		}
	}
	if err != nil {
		c := e.changes()
		c.forget(a)
		return errors.Join(e.unsupported(err), c.commit())
	}
	e.enlist(a)
	if a.link != nil {
		return e.relink(a.link.Member)
	}
	return nil
}

// enlist makes an SA known under its names; strike is the reverse.
func (e *Engine) enlist(a *association) {
	e.sas[a.id], e.byReqID[a.reqID] = a, a
	if a.link != nil {
		e.links = append(e.links, a)
		return
	}
	e.tunnels[a.tunnel] = append(e.tunnels[a.tunnel], a)
}

func (e *Engine) strike(a *association) {
	delete(e.sas, a.id)
	delete(e.byReqID, a.reqID)
	if a.link != nil {
		e.links = slices.DeleteFunc(e.links, func(o *association) bool { return o == a })
		return
	}
	rest := slices.DeleteFunc(slices.Clone(e.tunnels[a.tunnel]), func(o *association) bool { return o == a })
	if e.tunnels[a.tunnel] = rest; len(rest) == 0 {
		delete(e.tunnels, a.tunnel)
	}
}

// unsupported says of a refusal of the kernel that it is one of its abilities.
func (e *Engine) unsupported(err error) error {
	for _, errno := range []error{unix.ENOSYS, unix.ENOENT, unix.EPROTONOSUPPORT, unix.EOPNOTSUPP, unix.EINVAL, unix.ENOPROTOOPT} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: %w", offload.ErrUnsupported, err)
		}
	}
	return err
}

// replace gives an installed SA its newer description. The replay window keeps its
// first size.
func (e *Engine) replace(a *association, role offload.Role, sa ipsec.SA) error {
	switch {
	case a.generation >= sa.Generation:
		return nil
	case a.direction != sa.Direction:
		return fmt.Errorf("%w: %v is installed for the other direction", offload.ErrInvalid, sa.ID)
	case (a.link == nil) != (sa.Link == nil) || a.link != nil && *a.link != *sa.Link:
		return fmt.Errorf("%w: %v is installed, and of a link or not as it was", offload.ErrInvalid, sa.ID)
	}
	next := &association{reqID: a.reqID}
	if err := e.describe(next, sa); err != nil {
		return err
	}
	st, err := e.account(a)
	if err != nil {
		return err
	}
	c := e.changes()
	if a.lifetime.Soft != sa.Lifetime.Soft {
		a.softTold = false
	}
	e.strike(a)
	a.tunnel, a.group, a.generation, a.lifetime = next.tunnel, next.group, next.generation, next.lifetime
	if a.link == nil {
		a.role = role
	}
	a.algorithms = next.algorithms
	e.enlist(a)
	if next.pathMTU != 0 {
		a.pathMTU = next.pathMTU
	}
	c.tell(a, false)
	c.hold(a, a.carried(st.Current).Packets)
	c.note(a, false)
	// What is held back is so before anything else changes, and what passes after.
	if err := c.commit(); err != nil {
		return err
	}
	return errors.Join(e.reshape(a, next), e.advance(a, sa.Sequence), e.limit(a))
}

// reshape gives the kernel another form of a, where it is one.
func (e *Engine) reshape(a, next *association) error {
	if e.stays(a, next.state) {
		if err := e.follow(a, next.state); err != nil {
			return err
		}
		next.state.Src, next.state.Encap = a.state.Src, a.state.Encap
	}
	if !alike(a.state, next.state) {
		if err := e.reform(a, func(s *xfrmnl.State) {
			replay := s.Replay
			*s = next.state
			s.Replay = replay
		}); err != nil {
			return err
		}
	} else if slices.Equal(a.selectors, next.selectors) {
		return nil
	}
	keys := a.keys()
	e.policies.leave(a)
	a.selectors = next.selectors
	e.policies.join(a)
	return e.settle(append(a.keys(), keys...))
}

// alike tells whether two states differ in nothing but what counts in them.
func alike(a, b xfrmnl.State) bool {
	same := func(x, y *xfrmnl.Algorithm) bool {
		return (x == nil) == (y == nil) && (x == nil || x.Name == y.Name && x.ICVBits == y.ICVBits && x.Key.Equal(y.Key))
	}
	if (a.Encap == nil) != (b.Encap == nil) || a.Encap != nil && *a.Encap != *b.Encap {
		return false
	}
	return a.SPI == b.SPI && a.Dst == b.Dst && a.Src == b.Src && a.Mode == b.Mode && a.Flags == b.Flags && a.Extra == b.Extra &&
		same(a.AEAD, b.AEAD) && same(a.Crypt, b.Crypt) && same(a.Auth, b.Auth)
}

// placement answers for one item of a call.
func (e *Engine) placement(id ipsec.SAID, err error) offload.Placement {
	if a := e.sas[id]; a != nil && err == nil {
		return a.placement()
	}
	return offload.Placement{ID: id, Err: err}
}

// Delete removes SAs. The counters are final.
func (e *Engine) Delete(_ context.Context, epoch offload.Epoch, ids ...ipsec.SAID) ([]offload.Counters, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.begin(); err != nil {
		return nil, fmt.Errorf("xfrm: delete: %w", err)
	}
	var gone []*association
	var touched groupSet
	known := make(map[*association]bool)
	for _, id := range ids {
		if a := e.sas[id]; a != nil && !known[a] {
			known[a] = true
			gone = append(gone, a)
			if a.link == nil {
				touched.add(a.group)
			}
		}
	}
	if err := e.enter(epoch, touched); err != nil {
		return nil, fmt.Errorf("xfrm: delete: %w", err)
	}
	out := make([]offload.Counters, 0, len(gone))
	c := e.changes()
	var failed []error
	for _, a := range gone {
		last, err := e.remove(a)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		out = append(out, last)
		c.forget(a)
		c.room()
	}
	if err := errors.Join(append(failed, c.commit())...); err != nil {
		return nil, fmt.Errorf("xfrm: delete: %w", err)
	}
	return out, nil
}

// remove takes an SA out of the kernel, its policies first, so that no packet asks
// for a state that is gone; the gate stays as it is.
func (e *Engine) remove(a *association) (offload.Counters, error) {
	if a.link != nil { // others go on first
		e.links = slices.DeleteFunc(e.links, func(o *association) bool { return o == a })
		if err := e.relink(a.link.Member); err != nil {
			return offload.Counters{}, err
		}
	}
	keys := a.keys()
	e.policies.leave(a)
	if err := e.settle(keys); err != nil {
		return offload.Counters{}, err
	}
	var held uint64
	if a.held.kind != passes {
		h, err := e.kernel.gate.Held(a.direction, a.reqID)
		if err != nil {
			return offload.Counters{}, err
		}
		held = h.Packets
	}
	last, told, err := e.kernel.conn.Final(a.state)
	a.count(&last)
	switch {
	case errors.Is(err, unix.ESRCH): // it came to its end by itself
		last = a.state
		last.Replay.Sent = a.beyond(a.shift)
	case err != nil:
		return offload.Counters{}, err
	case !told:
		last = a.state
		last.Replay.Sent = a.beyond(a.shift)
	}
	if err := e.lookAside(a); err != nil {
		return offload.Counters{}, err
	}
	e.strike(a)
	c := a.counters(last, held, now())
	return c, e.addStrays(&c, a)
}
