package offload

import (
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
)

// Event is something that a dataplane noticed by itself.
type Event interface{ event() }

type (
	// FirstPacket is sent once per standby SA and role change: traffic arrived
	// although another member owns the tunnel.
	FirstPacket struct {
		ID     ipsec.SAID
		Tunnel ipsec.TunnelID
		Group  Group
	}

	// Activated reports that an armed tunnel started with its first packet.
	Activated struct {
		Tunnel ipsec.TunnelID
		Group  Group
		Epoch  Epoch
	}

	// Acquire asks for an SA: a packet wants to leave and none selects it
	// (RFC 4301 section 4.4.1). Equal ones are merged for a second.
	Acquire struct {
		Local, Remote ipsec.TrafficSelector // the packet's own
	}

	// Expired reports a limit of bytes or packets, or of time where the
	// dataplane counts it. After a hard one the SA carries nothing.
	Expired struct {
		ID   ipsec.SAID
		Hard bool
	}

	// LeaseLow asks for a higher Ceiling: less than half of the lease is left,
	// or none.
	LeaseLow struct {
		ID        ipsec.SAID
		Next      uint64
		Exhausted bool
	}

	// MTUChanged reports a learned path MTU, in octets of outer IP packet.
	MTUChanged struct {
		ID  ipsec.SAID
		MTU uint16
	}

	// PeerMoved reports that an authenticated packet came from another outer
	// address or port (RFC 3947 section 7, RFC 7296 section 2.23).
	PeerMoved struct {
		ID     ipsec.SAID
		Remote netip.AddrPort
	}

	// Placed reports that an SA moved into or out of an NPU.
	Placed struct{ Placement Placement }

	// Reset reports that installed state was lost.
	Reset struct{ BootID string }

	// Overrun reports that events were lost; the core then calls Export.
	Overrun struct{ Lost uint64 }
)

func (FirstPacket) event() {}
func (Activated) event()   {}
func (Acquire) event()     {}
func (Expired) event()     {}
func (LeaseLow) event()    {}
func (MTUChanged) event()  {}
func (PeerMoved) event()   {}
func (Placed) event()      {}
func (Reset) event()       {}
func (Overrun) event()     {}
