package xfrm

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm/xfrmnl"
)

// listen hears what the kernel says while nobody calls, until Close.
func (e *Engine) listen(k *kernel) {
	for _, wait := range []func() error{k.monitor.Wait, k.gate.Wait, k.gate.GuardWait} {
		e.waiters.Go(func() {
			for wait() == nil {
				e.mu.Lock()
				if e.usable() == nil {
					if err := e.hear(); err != nil {
						e.log.Error("kernel could not be heard", "error", err)
					}
				}
				e.mu.Unlock()
			}
		})
	}
	e.waiters.Go(e.watchPaths)
}

// hear takes in all that the kernel has said. e.mu is held.
func (e *Engine) hear() error {
	if lost, err := e.kernel.gate.Lost(); err != nil {
		return err
	} else if lost {
		if err := e.rebuild(); err != nil {
			return err
		}
	}
	return errors.Join(e.hearGate(), e.hearXFRM())
}

// hearGate deals with first packets.
func (e *Engine) hearGate() error {
	var knocked []uint32
	overrun, err := e.kernel.gate.Read(func(reqID uint32) { knocked = append(knocked, reqID) })
	if err != nil {
		return err
	}
	if overrun {
		e.events.miss(1) // such a packet is told again, or shows in the counters
	}
	c := e.changes()
	var failed []error
	for _, id := range knocked {
		if a := e.byReqID[id]; a != nil {
			failed = append(failed, e.knocked(c, a))
			// What was heard of twice is one.
			failed = append(failed, c.commit())
		}
	}
	return errors.Join(failed...)
}

// hearXFRM deals with what XFRM says.
func (e *Engine) hearXFRM() error {
	var events []xfrmnl.Event
	overrun, err := e.kernel.monitor.Read(func(m netlink.Message) {
		ev, err := xfrmnl.UnmarshalEvent(m)
		if err != nil {
			e.log.Warn("kernel event not understood", "error", err)
			return
		}
		if ev != nil {
			events = append(events, ev)
		}
	})
	if err != nil {
		return err
	}
	var failed []error
	for _, ev := range events {
		failed = append(failed, e.on(ev))
	}
	if overrun {
		e.events.miss(1)
		failed = append(failed, e.catchUp())
	}
	return errors.Join(failed...)
}

func (e *Engine) on(ev xfrmnl.Event) error {
	switch ev := ev.(type) {
	case xfrmnl.Expired:
		a := e.byReqID[ev.State.ReqID]
		switch {
		case a == nil || ev.State.SPI != a.state.SPI || ev.State.Dst != a.state.Dst:
			return nil
		case ev.Hard:
			return e.ended(a, ev.State)
		default:
			return e.reached(a, ev.State)
		}
	case xfrmnl.Acquire:
		if ev.ReqID == acquireReqID {
			e.acquire(ev.Packet)
		}
	case xfrmnl.Mapped:
		if a := e.byReqID[ev.ReqID]; a != nil {
			e.mapped(a, ev.New)
		}
	}
	return nil
}

// mapped tells that the peer of an inbound SA is at another place than the daemon has it,
// and again while that is so: a member that takes the tunnel over has not heard it before.
func (e *Engine) mapped(a *association, at netip.AddrPort) {
	switch now := now(); {
	case at == a.peer:
		a.movedTo = netip.AddrPort{}
	case at != a.movedTo || now.Sub(a.movedAt) >= mappingAge:
		a.movedTo, a.movedAt = at, now
		e.events.push(offload.PeerMoved{ID: a.id, Remote: at})
	}
}

// reached deals with a soft limit, and tells the kernel the next one.
func (e *Engine) reached(a *association, st xfrmnl.State) error {
	total := a.carried(st.Current)
	if !a.softTold && past(a.lifetime.Soft, total) {
		a.softTold = true
		e.events.push(offload.Expired{ID: a.id})
	}
	if err := e.recount(a); err != nil {
		return err
	}
	if sent := a.shift + st.Current.Packets; a.outbound() && a.ceiling != 0 && !a.lowTold && sent >= a.low() {
		a.lowTold = true
		e.events.push(offload.LeaseLow{ID: a.id, Next: sent + 1})
	}
	l := a.limits()
	if l.SoftBytes == xfrmnl.Unlimited && l.SoftPackets == xfrmnl.Unlimited {
		return nil
	}
	return e.tell(a, l)
}

// past tells whether a limit is reached.
func past(l ipsec.Limits, c xfrmnl.Current) bool {
	return l.Bytes != 0 && c.Bytes >= l.Bytes || l.Packets != 0 && c.Packets >= l.Packets
}

// ended deals with a hard limit: a packet met it, and the kernel has removed the
// state. The SA goes back into the kernel behind a shut gate, which counts what
// more comes.
func (e *Engine) ended(a *association, last xfrmnl.State) error {
	total := a.carried(last.Current)
	sent := a.shift + last.Current.Packets
	if a.coarse {
		sent = max(sent, a.last()) // at most that: the limit was below it
	}
	c := e.changes()
	if past(a.lifetime.Hard, total) {
		a.drops.Lifetime++
		e.expire(a)
	} else {
		a.drops.Ceiling++
		e.exhaust(a, sent)
	}
	held, err := e.kernel.gate.Held(a.direction, a.reqID)
	if err == nil {
		err = e.lookAside(a)
	}
	if a.held.kind != passes && err == nil {
		a.countHeld(&a.drops, held.Packets, total.Packets)
	}
	a.bury(last)
	a.state.Replay = xfrmnl.NewReplay(a.state.Replay.Window)
	a.state.Replay.Sent = sent
	if a.end == goesOn {
		a.end = atCeiling
		if past(a.lifetime.Hard, total) {
			a.end = atLimit
		}
	}
	c.hold(a, total.Packets)
	c.note(a, false)
	if err := c.commit(); err != nil {
		return fmt.Errorf("hold %v back: %w", a.id, err)
	}
	if err := e.put(a); err != nil {
		return fmt.Errorf("put %v back: %w", a.id, err)
	}
	return nil
}

// expire tells, once, that a hard limit was reached.
func (e *Engine) expire(a *association) {
	if !a.hardTold {
		a.hardTold = true
		e.events.push(offload.Expired{ID: a.id, Hard: true})
	}
}

// exhaust tells, once per lease, that a packet found no number.
func (e *Engine) exhaust(a *association, sent uint64) {
	if !a.endTold {
		a.endTold = true
		e.events.push(offload.LeaseLow{ID: a.id, Next: sent + 1, Exhausted: true})
	}
}

// catchUp finds out what was said in messages that were lost: of states that are
// gone, and of soft limits.
func (e *Engine) catchUp() error {
	there := make(map[uint32]xfrmnl.State)
	if err := e.kernel.conn.States(func(s xfrmnl.State) { there[s.ReqID] = s }); err != nil {
		return err
	}
	var failed []error
	for id, a := range e.byReqID {
		st, ok := there[id]
		if !ok {
			gone := a.state
			gone.Current.Packets = a.state.Lifetime.HardPackets
			if gone.Current.Packets == xfrmnl.Unlimited {
				gone.Current = xfrmnl.Current{Bytes: a.state.Lifetime.HardBytes}
			}
			failed = append(failed, e.ended(a, gone))
			continue
		}
		failed = append(failed, e.reached(a, st))
	}
	return errors.Join(failed...)
}
