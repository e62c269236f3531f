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
	// Links moves packets over links between members; nil when nothing can.
	Links Links
	// Holds moves packets that wait in the plane; nil when nothing can.
	Holds Holds
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
// addresses. With ESN a Sent has all of its sequence number. Their selectors are one remote address each and a
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

// Links moves packets over links between members, as Traffic does otherwise. SAs
// of links are between the harness's addresses, too: the peer plays the member.
type Links interface {
	// SendOver gives the plane n packets that the outbound sa selects, and returns
	// those that left as ESP, by sa or by one of the links, in order.
	SendOver(ctx context.Context, sa ipsec.SA, n int, links ...ipsec.SA) ([]Sent, error)
	// DeliverOver gives the plane ESP packets as the other member makes them with
	// the keys of the inbound link, with these sequence numbers in this order. In
	// them are packets that the outbound sa selects. It returns those that left as
	// ESP by sa, or by one of the links, in order.
	DeliverOver(ctx context.Context, link ipsec.SA, seqs []uint64, sa ipsec.SA, links ...ipsec.SA) ([]Sent, error)
}

// Holds moves packets that wait for the successor of their SA, as Traffic does
// otherwise.
type Holds interface {
	// SendHeld gives the plane n packets that the outbound sa selects, which has no
	// number for them. Then it calls install, which puts the successor in its place,
	// and returns what leaves by that, in order.
	SendHeld(ctx context.Context, sa ipsec.SA, n int, successor ipsec.SA, install func() error) ([]Sent, error)
}

// Sent is an ESP packet that left the plane.
type Sent struct {
	// SPI is that of the SA; Traffic may leave it out.
	SPI ipsec.SPI
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
