//go:build dpdk

package loop

// #include "loop.h"
import "C"

import (
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
)

// EventKind says what a worker noticed.
type EventKind uint8

// The kinds, as offload's events.
const (
	FirstPacket EventKind = C.EVG_FIRST_PACKET
	Activated   EventKind = C.EVG_ACTIVATED
	Acquire     EventKind = C.EVG_ACQUIRE
	ExpiredSoft EventKind = C.EVG_EXPIRED_SOFT
	ExpiredHard EventKind = C.EVG_EXPIRED_HARD
	LeaseLow    EventKind = C.EVG_LEASE_LOW
	LeaseEnd    EventKind = C.EVG_LEASE_END
	MTUChanged  EventKind = C.EVG_MTU_CHANGED
	PeerMoved   EventKind = C.EVG_PEER_MOVED
)

// An Event is what a worker noticed. Which fields mean something depends on Kind.
type Event struct {
	Kind   EventKind
	Serial uint64 // of the SA
	Tunnel ipsec.TunnelID
	Group  uint32
	// Value is an epoch, a sequence number or an MTU.
	Value uint64
	// Local and Remote are those of the packet that an Acquire is for; Remote is
	// where a peer moved to.
	Local, Remote netip.AddrPort
	Proto         uint8
	HasPorts      bool
}

// eventBatch is how many events are taken at a time.
const eventBatch = 256

// EventFD is readable when there are events; it belongs to the plane.
func (p *Plane) EventFD() int { return int(C.evg_plane_event_fd(p.c)) }

// Events takes all events that wait, and tells how many are missing behind them.
func (p *Plane) Events() (events []Event, lost uint64) {
	var batch [eventBatch]C.struct_evg_event
	for {
		var missing C.uint64_t
		n := int(C.evg_plane_events(p.c, &batch[0], eventBatch, &missing))
		for i := range batch[:n] {
			events = append(events, eventOf(&batch[i]))
		}
		lost += uint64(missing)
		if n < eventBatch {
			return events, lost
		}
	}
}

// NoticeMTU adds an event as a worker would.
func (p *Plane) NoticeMTU(serial uint64, mtu uint16) {
	e := C.struct_evg_event{kind: C.EVG_MTU_CHANGED, serial: C.uint64_t(serial), value: C.uint64_t(mtu)}
	C.evg_plane_push(p.c, &e)
}

func eventOf(e *C.struct_evg_event) Event {
	out := Event{
		Kind: EventKind(e.kind), Serial: uint64(e.serial), Tunnel: ipsec.TunnelID(e.tunnel), Group: uint32(e.group), Value: uint64(e.value),
		Proto: uint8(e.proto), HasPorts: e.has_ports != 0,
	}
	out.Local = netip.AddrPortFrom(toAddr(e.local), uint16(e.port))
	out.Remote = netip.AddrPortFrom(toAddr(e.remote), uint16(e.remote_port))
	return out
}
