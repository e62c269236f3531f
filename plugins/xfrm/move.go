package xfrm

import (
	"errors"
	"fmt"
	"net/netip"

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
// sent or accepted in between is so again, under the same numbers, by the copy. So an
// inbound SA stays, as the kernel does not ask where its packets come from; ports change
// in place; and an outbound SA to another address is there twice for a moment, with
// numbers apart. What else there is, as another address of our own, or UDP where there was
// none, takes the SA out with the numbers that it has then and puts it in again; packets
// in between are lost.
func (e *Engine) move(a *association, to offload.Endpoint) error {
	dst, src := to.Remote, to.Local
	if a.direction == ipsec.Inbound {
		dst, src = src, dst
	}
	next := a.state
	next.Dst, next.Src, next.Encap = dst, src, encapOf(to.Encap, a.direction)
	switch {
	case e.stays(a, next):
		return e.follow(a, next)
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
	err := e.reform(a, func(s *xfrmnl.State) {
		s.Dst, s.Src, s.Encap, s.MappingAge = next.Dst, next.Src, next.Encap, mappingAgeOf(next.Encap, a.direction)
	})
	return errors.Join(err, e.settle(a.keys()))
}

// stays tells whether an inbound SA need not change for a peer that is where next has it.
//
// "For a unicast SA, the SPI can be used by itself to specify an SA, or it may be used in
// conjunction with the IPsec protocol type" (RFC 4303 section 2.1): the kernel looks for
// these and our own address, and its policies ask for the address that stands in the
// state. A device may ask for more.
func (e *Engine) stays(a *association, next xfrmnl.State) bool {
	if a.outbound() || a.npu != 0 || next.Dst != a.state.Dst || (next.Encap == nil) != (a.state.Encap == nil) {
		return false
	}
	there := *a
	there.state = next
	n, _ := e.choose(&there)
	return n == nil
}

// follow notes where the peer of an inbound SA is. Of one in UDP the kernel compares that
// with each packet's source and tells of others. Where the address is not the state's, it
// is given a port that no packet has, so that it tells of all, at its pace: otherwise the
// peer could return unnoticed.
func (e *Engine) follow(a *association, next xfrmnl.State) error {
	a.peer = peerOf(next)
	if next.Encap == nil {
		return nil
	}
	encap := *next.Encap
	if next.Src != a.state.Src {
		encap.SrcPort = 0
	}
	if encap == *a.state.Encap {
		return nil
	}
	a.state.Encap = &encap
	return e.tell(a, a.state.Lifetime)
}

// peerOf is where packets for an inbound SA in UDP come from; the zero value where that is
// not known.
func peerOf(s xfrmnl.State) netip.AddrPort {
	if s.Encap == nil || s.Encap.SrcPort == 0 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(s.Src, s.Encap.SrcPort)
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
