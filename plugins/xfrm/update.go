package xfrm

import (
	"context"
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// Update changes the mutable parts of installed SAs.
func (e *Engine) Update(_ context.Context, epoch offload.Epoch, all ...offload.Change) ([]offload.Placement, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.begin(); err != nil {
		return nil, fmt.Errorf("xfrm: update: %w", err)
	}
	errs := make([]error, len(all))
	var touched groupSet
	for i, c := range all {
		if errs[i] = e.checkChange(c); errs[i] != nil {
			continue
		}
		if a := e.sas[c.ID]; a.link == nil {
			touched.add(a.group)
		}
		if c.Group != nil {
			touched.add(*c.Group)
		}
	}
	if err := e.enter(epoch, touched); err != nil {
		return nil, fmt.Errorf("xfrm: update: %w", err)
	}
	c := e.changes()
	for i, change := range all {
		if errs[i] == nil {
			errs[i] = e.update(c, e.sas[change.ID], change)
			c.room()
		}
	}
	if err := c.commit(); err != nil {
		return nil, fmt.Errorf("xfrm: update: %w", err)
	}
	e.settled()
	out := make([]offload.Placement, len(all))
	for i, change := range all {
		out[i] = e.placement(change.ID, errs[i])
	}
	return out, nil
}

func (e *Engine) checkChange(c offload.Change) error {
	a := e.sas[c.ID]
	if a == nil {
		return offload.ErrNotFound
	}
	if err := offload.CheckChange(c, a.link != nil); err != nil {
		return err
	}
	if c.Endpoint != nil {
		return checkEncap(c.Endpoint.Encap)
	}
	return nil
}

// update makes a change that makes sense, but for what the gate has to do with it,
// which it leaves to c.
func (e *Engine) update(c *changes, a *association, change offload.Change) error {
	before := string(a.note())
	if change.Group != nil && *change.Group != a.group {
		st, err := e.account(a)
		if err != nil {
			return err
		}
		a.group = *change.Group
		c.hold(a, a.carried(st.Current).Packets)
		if err := c.commit(); err != nil { // a role that changes too starts from there
			return err
		}
	}
	if change.Role != nil {
		if err := c.setRole(a, *change.Role); err != nil {
			return err
		}
	}
	if change.PathMTU != nil {
		a.pathMTU = *change.PathMTU
	}
	if change.Lifetime != nil {
		if change.Lifetime.Soft != a.lifetime.Soft {
			a.softTold = false
		}
		a.lifetime = *change.Lifetime
	}
	if change.Endpoint != nil {
		if err := e.move(a, *change.Endpoint); err != nil {
			return err
		}
	}
	if change.Sequence != nil {
		if err := e.advance(a, *change.Sequence); err != nil {
			return err
		}
		if err := e.reopen(c, a); err != nil {
			return err
		}
	}
	if string(a.note()) != before {
		c.note(a, false)
	}
	return e.limit(a)
}

// advance merges sequence state: nothing moves back.
func (e *Engine) advance(a *association, s ipsec.Sequence) error {
	if !a.outbound() {
		return e.receive(a, s)
	}
	st, err := e.read(a)
	if err != nil {
		return err
	}
	sent := st.Replay.Sent
	raised := s.Ceiling > a.ceiling
	if raised {
		a.ceiling = s.Ceiling
	}
	next := min(s.Next, a.last()+1)
	if a.ceiling != 0 {
		next = s.Next
	}
	if next > sent+1 {
		if err := e.jump(a, next); err != nil {
			return err
		}
		sent = next - 1
	} else if !raised {
		return nil
	}
	a.renew(sent)
	return nil
}

// receive marks what another member has received. A packet that comes between
// reading the window and writing it would be forgotten; where one did, all of the
// window counts as received.
func (e *Engine) receive(a *association, s ipsec.Sequence) error {
	if s.Highest == 0 {
		return nil
	}
	before, err := e.read(a)
	if err != nil {
		return err
	}
	window := before.Replay
	window.Merge(s.Highest, s.Bitmap)
	if err := e.kernel.conn.SetReplay(a.state, window); err != nil {
		return err
	}
	after, err := e.read(a)
	if err != nil || after.Current.Packets == before.Current.Packets {
		return err
	}
	after.Replay.Shut()
	return e.kernel.conn.SetReplay(a.state, after.Replay)
}

// reopen lets an SA go on that stood at its ceiling, if the ceiling is higher now.
func (e *Engine) reopen(c *changes, a *association) error {
	if a.end != atCeiling {
		return nil
	}
	st, err := e.account(a)
	if err != nil || a.left(st.Replay.Sent) == 0 {
		return err
	}
	a.end = goesOn
	c.hold(a, a.carried(st.Current).Packets)
	return nil
}
