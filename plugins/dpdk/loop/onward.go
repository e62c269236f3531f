//go:build dpdk

package loop

// #include "loop.h"
import "C"

import (
	"fmt"
	"net/netip"
)

// Between is the addresses of inner packets.
type Between struct{ From, To netip.Addr }

// Onward is where inner packets between two addresses leave.
type Onward struct {
	Between
	// Port is the index of the port, if Resolved; else the host has the packets.
	Port int
	// MAC is that of the next hop.
	MAC      [6]byte
	Resolved bool
	// MTU is that of the port or the route; the host has what is longer.
	MTU uint16
}

// askedBatch is how many pairs of addresses are taken at a time.
const askedBatch = 256

// Asked takes the addresses of packets that were given to the host because nobody has
// said where they leave. EventFD is readable when there are some.
func (p *Plane) Asked() []Between {
	var batch [askedBatch]C.struct_evg_onward
	var out []Between
	for {
		n := int(C.evg_onward_asked(p.c, &batch[0], askedBatch))
		for _, o := range batch[:n] {
			out = append(out, Between{toAddr(o.from), toAddr(o.to)})
		}
		if n < askedBatch {
			return out
		}
	}
}

// SetOnward says where packets leave. They share the slot that it returns with others:
// who was there before is forgotten.
func (p *Plane) SetOnward(o Onward) (slot int, err error) {
	c := C.struct_evg_onward{from: addrOf(o.From), to: addrOf(o.To), port: C.uint8_t(o.Port), resolved: C.bool(o.Resolved), mtu: C.uint16_t(o.MTU)}
	for i, b := range o.MAC {
		c.mac[i] = C.uint8_t(b)
	}
	n := C.evg_onward_set(p.c, &c)
	if err := errnoOf(n); err != nil {
		return 0, fmt.Errorf("loop: set the way to %v: %w", o.To, err)
	}
	return int(n), nil
}

// ClearOnward forgets a slot.
func (p *Plane) ClearOnward(slot int) { C.evg_onward_clear(p.c, C.uint32_t(slot)) }

// OnwardUsed tells whether packets asked for a slot since it was asked last.
func (p *Plane) OnwardUsed(slot int) bool { return bool(C.evg_onward_used(p.c, C.uint32_t(slot))) }
