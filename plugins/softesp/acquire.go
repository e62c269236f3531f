package softesp

import (
	"hash/maphash"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/softesp/packet"
)

const (
	// acquireSlots bounds the flows that are remembered, and so the events that
	// packets without an SA can cause in acquireMerge.
	acquireSlots = 256
	// acquireMerge is how long equal ones are merged.
	acquireMerge = time.Second
)

// acquireFilter lets one Acquire a second pass for a flow. It remembers a fixed
// number of flows: one that meets another one's place waits until that is free.
type acquireFilter struct {
	seed  maphash.Seed
	until [acquireSlots]time.Duration
	set   bool
}

// fresh tells whether the packet's flow is worth an event.
func (f *acquireFilter) fresh(h *packet.Header, now time.Duration) bool {
	if !f.set {
		f.seed, f.set = maphash.MakeSeed(), true
	}
	until := &f.until[maphash.Comparable(f.seed, flowOf(h))%acquireSlots]
	if now < *until {
		return false
	}
	*until = now + acquireMerge
	return true
}

// flow is what makes two packets equal for an Acquire.
type flow struct {
	src, dst         [16]byte
	proto            uint8
	srcPort, dstPort uint16
}

func flowOf(h *packet.Header) flow {
	return flow{h.Src.As16(), h.Dst.As16(), h.Proto, h.SrcPort, h.DstPort}
}

// acquire asks for an SA for a packet: "the packet's own" selectors, the TSi and
// TSr that RFC 7296 section 2.9 puts first.
func acquire(h *packet.Header) offload.Acquire {
	local := ipsec.TrafficSelector{Proto: h.Proto, Min: h.Src, Max: h.Src, PortMin: h.SrcPort, PortMax: h.SrcPort}
	remote := ipsec.TrafficSelector{Proto: h.Proto, Min: h.Dst, Max: h.Dst, PortMin: h.DstPort, PortMax: h.DstPort}
	if !h.HasPorts {
		local.PortMin, local.PortMax = 0, 65535
		remote.PortMin, remote.PortMax = 0, 65535
	}
	return offload.Acquire{Local: local, Remote: remote}
}
