package xfrm

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm/xfrmnl"
)

// unknownSent is how far an outbound SA without a lease jumps ahead when the kernel
// could not tell the last number that it sent: more than it can send between two
// calls.
const unknownSent = 1 << 24

// put gives the state of a to the kernel, where it is not yet.
func (e *Engine) put(a *association) error {
	a.shift, a.counted = a.state.Replay.Sent, 0
	if at := peerOf(a.state); at.IsValid() {
		a.peer = at
	}
	a.coarse = e.settings.link == ""
	a.state.Current, a.state.Stats = xfrmnl.Current{}, xfrmnl.Stats{}
	a.state.Lifetime = a.limits()
	err := e.add(a)
	if errors.Is(err, unix.EEXIST) {
		// Another program's, or one to another port of the same address, which the
		// kernel does not tell apart.
		return fmt.Errorf("%w: the kernel has an SA to %v with SPI %v already", offload.ErrUnsupported, a.state.Dst, a.state.SPI)
	}
	return err
}

// reform takes the state of a out of the kernel and puts it in again with what
// change changes, going on from the very number at which it was taken out. Packets
// in between are lost, and none is sent or accepted twice.
func (e *Engine) reform(a *association, change func(*xfrmnl.State)) error {
	before, err := e.read(a)
	if err != nil {
		return err
	}
	last, told, err := e.kernel.conn.Final(a.state)
	a.count(&last)
	if err != nil {
		return err
	}
	if !told {
		last = before
		last.Replay.Sent = a.beyond(before.Replay.Sent)
		last.Replay.Shut()
	}
	a.bury(last)
	a.state.Replay = last.Replay
	change(&a.state)
	return e.put(a)
}

// beyond is a number that is not below any that was sent when sent was read a
// moment ago.
func (a *association) beyond(sent uint64) uint64 {
	if a.ceiling != 0 {
		return max(sent, a.ceiling)
	}
	return sent + min(unknownSent, a.left(sent))
}

// bury keeps the counts of a state that is gone.
func (a *association) bury(last xfrmnl.State) {
	a.earlier, a.latest = a.carried(last.Current), xfrmnl.Current{}
	a.earlierBad.OutsideWindow += last.Stats.OutsideWindow
	a.earlierBad.Replayed += last.Stats.Replayed
	a.earlierBad.BadIntegrity += last.Stats.BadIntegrity
}

// recount notes how numbers and packets of a coarse SA have drifted apart.
func (e *Engine) recount(a *association) error {
	if !a.coarse || !a.outbound() {
		return nil
	}
	st, err := e.kernel.conn.State(a.state)
	if err == nil {
		a.shift, a.counted = st.Replay.Sent-st.Current.Packets, st.Current.Packets
	}
	if errors.Is(err, unix.ESRCH) {
		return nil // it has come to its end; what the kernel says of that is next
	}
	return err
}

// limit tells the kernel the limits of a, if they are others.
func (e *Engine) limit(a *association) error {
	if err := e.recount(a); err != nil {
		return err
	}
	l := a.limits()
	if l == a.state.Lifetime {
		return nil
	}
	return e.tell(a, l)
}

// tell tells the kernel the limits of a. A device has no part in them.
func (e *Engine) tell(a *association, l xfrmnl.Lifetime) error {
	a.state.Lifetime = l
	st := a.state
	st.Offload = nil
	return e.kernel.conn.UpdateState(st)
}

// jump moves the next number of a ahead.
func (e *Engine) jump(a *association, next uint64) error {
	if a.held.kind == shut || a.held.kind == standsBy && !e.groups[a.group].armed {
		st, err := e.read(a)
		if err != nil {
			return err
		}
		st.Replay.Sent = next - 1
		if err := e.kernel.conn.SetReplay(a.state, st.Replay); err != nil {
			return err
		}
		a.shift, a.counted = next-1-st.Current.Packets, st.Current.Packets
		return nil
	}
	return e.reform(a, func(s *xfrmnl.State) { s.Replay.Sent = max(s.Replay.Sent, next-1) })
}
