package xfrm

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm/gate"
	"github.com/evergate/evergate/plugins/xfrm/xfrmnl"
)

// adopt takes over the SAs that an earlier process of this dataplane left in the
// kernel, where they went on meanwhile: those of our reqids that the gate has a note
// of. What is ours and incomplete is removed; what is not ours stays as it is.
func (e *Engine) adopt() error {
	notes, err := e.kernel.gate.Notes()
	if err != nil {
		return err
	}
	told, err := e.kernel.gate.AllTold()
	if err != nil {
		return err
	}
	held := make(map[uint32]gate.Held)
	for _, d := range []ipsec.Direction{ipsec.Inbound, ipsec.Outbound} {
		some, err := e.kernel.gate.Holds(d)
		if err != nil {
			return err
		}
		for id, h := range some {
			held[id] = h
		}
	}
	asides, err := e.kernel.gate.Asides()
	if err != nil {
		return err
	}
	e.linked = len(asides) > 0
	strays, err := e.adoptStates(notes, held, told)
	if err != nil {
		return err
	}
	for id, a := range e.byReqID {
		a.aside = asides[id]
		a.held.aside = a.aside
	}
	foreign, err := e.adoptPolicies()
	if err != nil {
		return err
	}
	if len(e.sas)+len(strays)+len(foreign) > 0 {
		e.log.Info("sas adopted", "count", len(e.sas), "stray_states", len(strays), "stray_policies", len(foreign))
	}
	failed := []error{e.discard(strays, foreign), e.forgetAll(notes, held, told, asides)}
	for _, a := range e.links {
		failed = append(failed, e.relink(a.link.Member))
	}
	return errors.Join(failed...)
}

// adoptStates makes associations of states and notes, and returns the states that
// have none.
func (e *Engine) adoptStates(notes map[uint32][]byte, held map[uint32]gate.Held, told map[uint32]bool) (strays []xfrmnl.State, err error) {
	err = e.kernel.conn.States(func(st xfrmnl.State) {
		if !ours(st.ReqID) || st.IfID != e.settings.ifID {
			return
		}
		a, err := readNote(st.ReqID, notes[st.ReqID])
		if err != nil || a.state.SPI != 0 || a.id.SPI != st.SPI || e.byReqID[st.ReqID] != nil {
			strays = append(strays, st)
			return
		}
		h, isHeld := held[st.ReqID]
		a.resume(st, h, isHeld, told[st.ReqID])
		a.coarse = e.settings.link == ""
		_, a.whyNot = e.choose(a)
		e.placed(a, st)
		e.enlist(a)
		e.serial = max(e.serial, a.reqID&serialMask)
	})
	return strays, err
}

// resume goes on with a state as it is.
func (a *association) resume(st xfrmnl.State, h gate.Held, held, told bool) {
	a.state, a.told, a.role, a.peer = st, told, offload.Active, peerOf(st)
	a.shift, a.counted = st.Replay.Sent-st.Current.Packets, st.Current.Packets
	a.softTold = a.lifetime.Soft != (ipsec.Limits{}) && st.Lifetime.SoftBytes == xfrmnl.Unlimited && st.Lifetime.SoftPackets == xfrmnl.Unlimited
	switch {
	case !held:
	case !h.Shut && a.link != nil:
		a.held = hold{kind: linked}
	case !h.Shut:
		a.role = offload.Standby
		// What it carried in this role is not known; nothing more is dropped by that.
		a.held = hold{kind: standsBy, group: a.group, before: a.carried(st.Current).Packets}
	default:
		a.held = hold{kind: shut}
		a.end = atLimit
		if a.outbound() && a.left(st.Replay.Sent) == 0 {
			a.end = atCeiling
		}
	}
}

// adoptPolicies finds the selectors of adopted SAs, and returns the policies that
// ask for none of them.
func (e *Engine) adoptPolicies() (strays []xfrmnl.Policy, err error) {
	err = e.kernel.conn.Policies(func(p xfrmnl.Policy) {
		known, mine := false, false
		for _, t := range p.Templates {
			mine = mine || ours(t.ReqID) && p.IfID == e.settings.ifID
			known = known || t.ReqID == acquireReqID
			if a := e.byReqID[t.ReqID]; a != nil {
				known = true
				if p.Dir != xfrmnl.Forward && a.link == nil {
					a.selectors = append(a.selectors, p.Selector)
				}
			}
		}
		if ours(p.Mark.Value) && p.IfID == e.settings.ifID { // of what comes over a link
			known, mine = e.byReqID[p.Mark.Value] != nil, true
		}
		if mine && !known {
			strays = append(strays, p)
		}
	})
	for _, a := range e.sas {
		if a.link != nil {
			a.selectors = everything()
		}
		e.policies.join(a)
	}
	return strays, err
}

// discard removes what is ours and of no use.
func (e *Engine) discard(states []xfrmnl.State, policies []xfrmnl.Policy) error {
	var failed []error
	for _, p := range policies {
		if err := e.kernel.conn.DeletePolicy(p); err != nil && !errors.Is(err, unix.ENOENT) {
			failed = append(failed, err)
		}
	}
	for _, s := range states {
		if err := e.kernel.conn.DeleteState(s); err != nil && !errors.Is(err, unix.ESRCH) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// forgetAll removes from the gate what belongs to no SA: those that came to their
// end while nobody looked.
func (e *Engine) forgetAll(notes map[uint32][]byte, held map[uint32]gate.Held, told map[uint32]bool, asides map[uint32]gate.Aside) error {
	c := e.changes()
	for id, b := range notes {
		if e.byReqID[id] != nil {
			continue
		}
		a, err := readNote(id, b)
		if err != nil {
			a = &association{reqID: id, direction: ipsec.Outbound}
		}
		if h, ok := held[id]; ok && err == nil {
			a.held.kind = standsBy
			if h.Shut {
				a.held.kind = shut
			}
		}
		a.told, a.aside = told[id], asides[id]
		c.forget(a)
		c.room()
	}
	return c.commit()
}

// rebuild makes the gate again after somebody removed it. Counts that it had are
// lost; what is held back passed meanwhile.
func (e *Engine) rebuild() error {
	e.log.Error("nftables table was removed; it holds back what must not be sent, and is built again", "table", e.settings.table)
	e.stats.rebuilt++
	if err := e.kernel.gate.Build(); err != nil {
		return err
	}
	c := e.changes()
	for _, a := range e.sas {
		a.relayed += a.aside.Relayed
		a.held, a.told, a.aside = hold{}, false, gate.Aside{}
		c.note(a, true)
		c.hold(a, 0)
		c.room()
	}
	for g := range e.groups {
		if e.groups[g].armed {
			c.tx.Arm(uint8(g))
		} else {
			e.holdBack(c, offload.Group(g))
		}
	}
	return c.commit()
}
