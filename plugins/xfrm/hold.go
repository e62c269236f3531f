package xfrm

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm/gate"
	"github.com/evergate/evergate/plugins/xfrm/xfrmnl"
)

// maxChanges is how many changes of the gate go into one transaction.
const maxChanges = 1000

// changes gathers what is to change in the gate, and keeps the associations in
// step with it.
type changes struct {
	e  *Engine
	tx *gate.Transaction
	// done are called when the transaction was made.
	done []func()
	err  error
}

func (e *Engine) changes() *changes { return &changes{e: e, tx: e.kernel.gate.Begin()} }

// commit makes the changes. After an error those of the last transaction are not
// made.
func (c *changes) commit() error {
	if c.err != nil {
		return c.err
	}
	if c.err = c.e.kernel.gate.Apply(c.tx); c.err == nil {
		for _, f := range c.done {
			f()
		}
	}
	c.tx, c.done = c.e.kernel.gate.Begin(), nil
	return c.err
}

// room commits when there is much to commit. Only between SAs, whose changes belong
// together.
func (c *changes) room() {
	if c.tx.Len() >= maxChanges {
		_ = c.commit() // kept for the last commit
	}
}

// hold brings the gate in line with the role and end of a, and forgets what was
// told of the role before. carried is what the SA has carried so far.
func (c *changes) hold(a *association, carried uint64) {
	want := a.wanted()
	if want.kind == a.held.kind && want.group == a.held.group {
		return
	}
	if a.held.kind != passes {
		c.tx.Pass(a.direction, a.reqID)
	}
	switch want.kind {
	case standsBy:
		c.tx.Standby(a.direction, a.reqID, uint8(want.group))
	case shut:
		c.tx.Shut(a.direction, a.reqID)
	case linked:
		c.tx.Link(a.direction, a.reqID)
	case passes:
	}
	want.before, want.aside = carried, a.aside
	c.done = append(c.done, func() { a.held = want })
}

// tell notes that the first packet of a was told, or is news again.
func (c *changes) tell(a *association, told bool) {
	switch {
	case a.told == told:
		return
	case told:
		c.tx.Told(a.reqID)
	default:
		c.tx.Untold(a.reqID)
	}
	c.done = append(c.done, func() { a.told = told })
}

// note replaces what the gate keeps of a for later processes.
func (c *changes) note(a *association, first bool) {
	switch {
	case !first:
		c.tx.Forget(a.reqID)
	case a.link != nil && !a.outbound():
		c.tx.Count(a.reqID)
	}
	c.tx.Note(a.reqID, a.note())
}

// forget removes all of a from the gate.
func (c *changes) forget(a *association) {
	if a.held.kind != passes {
		c.tx.Pass(a.direction, a.reqID)
	}
	if a.told {
		c.tx.Untold(a.reqID)
	}
	if a.link != nil && !a.outbound() {
		c.tx.Uncount(a.reqID)
	}
	c.tx.ForgetAside(a.reqID, a.aside)
	c.tx.Forget(a.reqID)
	c.done = append(c.done, func() { a.held, a.told, a.aside = hold{}, false, gate.Aside{} })
}

// setRole changes the role of one SA. What the gate has counted under the old one
// is kept.
func (c *changes) setRole(a *association, r offload.Role) error {
	if a.role == r {
		return nil
	}
	st, err := c.e.account(a)
	if err != nil {
		return err
	}
	a.role = r
	c.tell(a, false)
	c.hold(a, a.carried(st.Current).Packets)
	return nil
}

// read returns the kernel's state of a. One that has just come to its end is put
// back first.
func (e *Engine) read(a *association) (xfrmnl.State, error) {
	st, err := e.kernel.conn.State(a.state)
	if errors.Is(err, unix.ESRCH) {
		if err := e.hear(); err != nil {
			return st, err
		}
		st, err = e.kernel.conn.State(a.state)
	}
	a.count(&st)
	return st, err
}

// account adds what the gate counted of a to its drops, before the gate forgets
// it, and returns the kernel's state.
func (e *Engine) account(a *association) (xfrmnl.State, error) {
	st, err := e.read(a)
	if err != nil || a.held.kind == passes {
		return st, err
	}
	held, err := e.kernel.gate.Held(a.direction, a.reqID)
	if err == nil {
		err = e.lookAside(a)
	}
	if err != nil {
		return st, err
	}
	a.countHeld(&a.drops, held.Packets, a.carried(st.Current).Packets)
	return st, nil
}
