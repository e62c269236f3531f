package offloadtest

import (
	"context"
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// A Harness is one fresh dataplane under test and what surrounds it.
type Harness struct {
	// Engine is the dataplane, before its first Configure.
	Engine offload.Engine
	// Config is what Configure gets; Boot 0 becomes 1. Without addresses it is
	// Local.
	Config offload.Config
	// Local and Remote are the outer addresses of all SAs; zero values become
	// addresses of RFC 5737's 192.0.2.0/24, for planes that need none to exist.
	Local, Remote netip.Addr
	// Traffic moves packets through the plane; nil when nothing can.
	Traffic Traffic
	// Faults make the plane lose things; nil when nothing can.
	Faults Faults
	// Close ends the plane; nil when there is nothing to end.
	Close func() error
}

// Open makes a fresh dataplane. The context ends with the clause, or earlier
// when it takes too long.
type Open func(context.Context) (*Harness, error)

// Traffic moves packets through a dataplane. Its calls return when the plane
// has dealt with the packets: sent or dropped, counted, events noticed.
//
// The SAs that come here protect IPv4 in tunnel mode between the harness's
// addresses, without ESN. Their selectors are one remote address each and a
// local network; no two outbound SAs select the same packet.
type Traffic interface {
	// Send gives the plane n packets that the outbound sa selects, and returns
	// those that left as ESP, in order.
	Send(ctx context.Context, sa ipsec.SA, n int) ([]Sent, error)
	// Deliver gives the plane ESP packets as the peer makes them with the keys of
	// the inbound sa, with these sequence numbers in this order, and returns how
	// many inner packets came out.
	Deliver(ctx context.Context, sa ipsec.SA, seqs ...uint64) (int, error)
}

// Sent is an ESP packet that left the plane.
type Sent struct {
	Seq uint64
	// IV is the explicit initialization vector.
	IV []byte
}

// Faults are what happens to a dataplane from outside.
type Faults interface {
	// Reset makes the plane lose its SAs, as a device that was reset does.
	Reset(context.Context) error
	// Flood makes the plane notice at least n things, all of which are events.
	Flood(ctx context.Context, n int) error
}

// withDefaults fills in what a harness left open.
func (h *Harness) withDefaults() *Harness {
	if !h.Local.IsValid() {
		h.Local = netip.AddrFrom4([4]byte{192, 0, 2, 1})
	}
	if !h.Remote.IsValid() {
		h.Remote = netip.AddrFrom4([4]byte{192, 0, 2, 2})
	}
	if h.Config.Boot == 0 {
		h.Config.Boot = 1
	}
	if len(h.Config.Addresses) == 0 {
		h.Config.Addresses = []netip.Addr{h.Local}
	}
	return h
}

func (h *Harness) close() error {
	if h.Close == nil {
		return nil
	}
	return h.Close()
}
