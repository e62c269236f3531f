package mem

import (
	"errors"
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// Octets is the payload of every packet that is played.
const Octets = 1000

// maxBoot is the largest Config.Boot that fits into an IV beside the member and
// a counter: 4, 24 and 36 bits.
const maxBoot = 1<<24 - 1

// Why a packet went no further. Each is counted in offload.Drops.
var (
	ErrStandby  = errors.New("mem: a standby sa sends nothing")
	ErrNoNumber = errors.New("mem: no leased sequence number is left")
	ErrExpired  = errors.New("mem: the sa is beyond its hard limit")
	ErrHeld     = errors.New("mem: the packet waits for the successor of its sa")
	ErrReplayed = errors.New("mem: the packet was received before or is left of the window")
	ErrNoSA     = errors.New("mem: no sa selects the packet that came over the link")
)

// Packet is an ESP packet that left.
type Packet struct {
	// By is the SA that carried it: the one that was asked for, or that of the link
	// to its owner.
	By ipsec.SAID
	// Seq is the sequence number, all 64 bits.
	Seq uint64
	// IV is the explicit IV: four bits of Sender, 24 of boot, and a count of the
	// packets of this boot, whatever their SA.
	IV uint64
}

// Outbound plays a packet that SA id selects. Errors: offload.ErrNotFound,
// ErrStandby, ErrNoNumber, ErrHeld, ErrExpired.
func (e *Engine) Outbound(id ipsec.SAID) (Packet, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	sa, err := e.carrier(id, ipsec.Outbound)
	if err != nil {
		return Packet{}, err
	}
	if sa.role == offload.Active {
		return e.send(sa)
	}
	link := e.linkTo(sa.group())
	if link == nil {
		sa.drops.Standby++
		return Packet{}, ErrStandby
	}
	sa.relayed++
	return e.send(link)
}

// send makes the packet of an active SA.
func (e *Engine) send(sa *entry) (Packet, error) {
	if e.expired(sa) {
		return Packet{}, ErrExpired
	}
	seq, err := e.take(sa)
	if err != nil {
		return Packet{}, err
	}
	e.carried(sa)
	e.ivs++
	return Packet{By: sa.desc.ID, Seq: seq, IV: uint64(sa.desc.Sender)<<60 | uint64(e.boot)<<36 | e.ivs}, nil
}

// Inbound plays an authentic packet with the number seq that arrives for SA id.
// Errors: offload.ErrNotFound, ErrReplayed, ErrExpired.
func (e *Engine) Inbound(id ipsec.SAID, seq uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	sa, err := e.carrier(id, ipsec.Inbound)
	if err != nil {
		return err
	}
	if err := e.accept(sa, seq); err != nil {
		return err
	}
	e.carried(sa)
	return nil
}

// accept checks the number of an inbound packet, and marks it.
func (e *Engine) accept(sa *entry, seq uint64) error {
	switch {
	case e.expired(sa):
		return ErrExpired
	case sa.window.received(seq):
		sa.drops.Replayed++
		return ErrReplayed
	}
	sa.window.mark(seq)
	return nil
}

// Acquire plays a packet that no SA selects.
func (e *Engine) Acquire(local, remote ipsec.TrafficSelector) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.noSA++
	e.events.push(offload.Acquire{Local: local, Remote: remote})
}

// Event plays an event that follows from nothing in here: MTUChanged, PeerMoved.
func (e *Engine) Event(ev offload.Event) { e.events.push(ev) }

// carrier finds the SA of a packet and notes the packet where it is standby.
func (e *Engine) carrier(id ipsec.SAID, d ipsec.Direction) (*entry, error) {
	if e.closed {
		return nil, offload.ErrDown
	}
	sa := e.sas[id]
	if sa == nil || sa.desc.Direction != d {
		e.stats.unknownSA++
		return nil, fmt.Errorf("mem: carry a packet by %v: %w", id, offload.ErrNotFound)
	}
	if sa.role == offload.Standby {
		e.noteFirst(sa)
	}
	return sa, nil
}

// carried counts a packet of sa.
func (e *Engine) carried(sa *entry) {
	first := sa.last.IsZero()
	sa.last = e.options.Now()
	sa.packets++
	sa.bytes += Octets
	if first {
		e.placeAgain(sa) // into an NPU that waits for traffic
	}
	if !sa.softSent && sa.reached(sa.desc.Lifetime.Soft) {
		sa.softSent = true
		e.events.push(offload.Expired{ID: sa.desc.ID})
	}
	if !sa.hardSent && sa.reached(sa.desc.Lifetime.Hard) {
		sa.hardSent = true
		e.events.push(offload.Expired{ID: sa.desc.ID, Hard: true})
	}
}

// expired tells whether sa carries nothing any more, and counts the packet.
func (e *Engine) expired(sa *entry) bool {
	if !sa.reached(sa.desc.Lifetime.Hard) {
		return false
	}
	sa.drops.Lifetime++
	return true
}

// take returns the next sequence number of sa.
func (e *Engine) take(sa *entry) (uint64, error) {
	if sa.left() == 0 && !sa.runsOver(e.options.Overrun) {
		err := e.wait(sa)
		if !sa.lease.noneSent {
			sa.lease.noneSent = true
			e.events.push(offload.LeaseLow{ID: sa.desc.ID, Next: sa.next, Exhausted: true})
		}
		return 0, err
	}
	seq := sa.next
	sa.next++
	if sa.ceiling != 0 && !sa.lease.lowSent && sa.left() < (sa.lease.size+1)/2 {
		sa.lease.lowSent = true
		e.events.push(offload.LeaseLow{ID: sa.desc.ID, Next: sa.next})
	}
	return seq, nil
}
