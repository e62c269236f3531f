package xfrm

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm/xfrmnl"
)

// overlap is how many numbers an SA may send by its old path while it gets a new one.
const overlap = 1 << 16

// move gives an SA another outer path (RFC 7296 section 2.23).
//
// The kernel's own way (XFRM_MSG_MIGRATE) copies the state and then removes it: what is
// sent in between is sent again, under the same numbers, by the copy. So ports change
// in place. An outbound SA to another address is there twice for a moment, with numbers
// apart. An inbound one has its name by our own address, which stays: it is taken out
// with the window that it has then, and put in again; packets in between are lost.
func (e *Engine) move(a *association, to offload.Endpoint) error {
	dst, src := to.Remote, to.Local
	if a.direction == ipsec.Inbound {
		dst, src = src, dst
	}
	next := a.state
	next.Dst, next.Src, next.Encap = dst, src, encapOf(to.Encap, a.direction)
	switch {
	case alike(next, a.state):
		return nil
	case next.Dst == a.state.Dst && next.Src == a.state.Src && next.Encap != nil && a.state.Encap != nil:
		a.state.Encap = next.Encap
		return e.tell(a, a.state.Lifetime)
	case a.outbound() && next.Dst != a.state.Dst && !a.coarse && a.end == goesOn:
		if moved, err := e.moveAhead(a, next); moved || err != nil {
			return err
		}
	}
	err := e.reform(a, func(s *xfrmnl.State) { s.Dst, s.Src, s.Encap = next.Dst, next.Src, next.Encap })
	return errors.Join(err, e.settle(a.keys()))
}

// moveAhead puts another state for an outbound SA beside the one that it has, which goes
// on until the policies lead to the other. The new one begins above all that the old one
// may still send. It is false where the lease has no room for that.
func (e *Engine) moveAhead(a *association, next xfrmnl.State) (moved bool, err error) {
	before, err := e.read(a)
	if err != nil {
		return false, err
	}
	start := before.Replay.Sent + overlap
	if start < overlap || a.left(start) < overlap {
		return false, nil
	}
	old, limited := a.state, a.state.Lifetime
	limited.HardPackets = min(limited.HardPackets, before.Current.Packets+overlap)
	if err := e.tell(a, limited); err != nil {
		return false, err
	}
	next.Replay = before.Replay
	next.Replay.Sent = start
	a.state = next
	if err := e.put(a); err != nil {
		a.state, a.shift = old, before.Replay.Sent-before.Current.Packets
		return false, errors.Join(err, e.tell(a, old.Lifetime))
	}
	if err := e.settle(a.keys()); err != nil {
		return true, err
	}
	e.settled()
	last, told, err := e.kernel.conn.Final(old)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return true, fmt.Errorf("take %v off its old path: %w", a.id, err)
	}
	if !told { // it came to its limit, or the kernel's word was lost
		last = before
	}
	a.bury(last)
	return true, e.limit(a)
}
