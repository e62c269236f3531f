//go:build dpdk

package loop

// #include "loop.h"
import "C"

import "unsafe"

// Fill waits for the next packet of the host, for at most some 10 ms, and puts it
// into packet, an empty mbuf that stays the caller's. Without one packet stays empty:
// carrying it does nothing. It is for a plane of Config.Graph, and for one thread.
func (p *Plane) Fill(packet unsafe.Pointer) { C.evg_graph_fill(p.c, packet) }

// Carry brings packets that arrived at ports or that Fill has filled to their end.
// They are mbufs, and no longer the caller's. It is for a plane of Config.Graph, and
// for one thread.
func (p *Plane) Carry(packets []unsafe.Pointer) {
	if len(packets) > 0 {
		C.evg_graph_carry(p.c, &packets[0], C.uint32_t(len(packets)))
	}
}

// EndCarry gives up what waits for more packets. The thread that called Carry calls
// it last, before the memory of the ports ends.
func (p *Plane) EndCarry() { C.evg_graph_end(p.c) }
