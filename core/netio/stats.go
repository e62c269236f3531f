package netio

import (
	"sync/atomic"

	"github.com/evergate/evergate/offload/ikesock"
)

// Stats counts datagrams since the start; every drop has its reason.
type Stats struct {
	// Received went to the engine, Sent to the kernel or the dataplane, NAT
	// keepalives included.
	Received, Sent uint64
	// KeepalivesReceived were dropped, as they should be.
	KeepalivesReceived uint64
	// ESP packets came to a port 4500 that the daemon owns: no dataplane takes
	// them there.
	ESP uint64
	// Short datagrams hold no IKE message.
	Short uint64
	// ReceiveErrors and SendErrors came from the network or the kernel.
	ReceiveErrors, SendErrors uint64
	// NoSocket counts datagrams that should have left from an address and port
	// that is not, or no longer, ours.
	NoSocket uint64
	// Elsewhere came to an address of the dataplane's that is none of ours.
	Elsewhere uint64
	// Plane is the socket to the dataplane; its Received and Sent are part of
	// those above.
	Plane ikesock.Stats
}

// counters is Stats in the making, shared by the sockets of a Mux.
type counters struct {
	received, sent, keepalivesReceived, esp, short, receiveErrors, sendErrors, noSocket, elsewhere atomic.Uint64
}

func (c *counters) stats() Stats {
	return Stats{
		Received: c.received.Load(), Sent: c.sent.Load(),
		KeepalivesReceived: c.keepalivesReceived.Load(), ESP: c.esp.Load(), Short: c.short.Load(),
		ReceiveErrors: c.receiveErrors.Load(), SendErrors: c.sendErrors.Load(), NoSocket: c.noSocket.Load(),
		Elsewhere: c.elsewhere.Load(),
	}
}
