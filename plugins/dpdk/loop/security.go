//go:build dpdk

package loop

// #include "loop.h"
import "C"

import (
	"fmt"
	"runtime"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// An Offload is something that a device may do through rte_security.
type Offload uint8

// The offloads. With the first two, sequence numbers, IVs and replay windows are the
// device's; with InlineCrypto they are the loop's, and the device encrypts what passes.
const (
	InlineProtocol    Offload = C.EVG_INLINE_PROTOCOL
	LookasideProtocol Offload = C.EVG_LOOKASIDE_PROTOCOL
	InlineCrypto      Offload = C.EVG_INLINE_CRYPTO
)

// An Offer is how much of what an SA needs a device has, the more the higher.
type Offer uint8

// The offers.
const (
	NotOffered     Offer = C.EVG_NOT_OFFERED
	LacksAlgorithm Offer = C.EVG_LACKS_ALGORITHM
	LacksMode      Offer = C.EVG_LACKS_MODE // or encapsulation, or extended sequence numbers
	Offered        Offer = C.EVG_OFFERED
)

// PortOffers asks a port about an SA.
func (p *Plane) PortOffers(port int, o Offload, sa ipsec.SA) Offer {
	t, err := transformOf(ipsec.SA{Algorithms: sa.Algorithms, Direction: sa.Direction})
	if err != nil {
		return LacksAlgorithm
	}
	return Offer(C.evg_port_offers(p.c, C.int(port), C.uint8_t(o), &t, C.bool(sa.Encap != nil)))
}

// Offers asks a cryptodev about an SA.
func (d Cryptodev) Offers(o Offload, sa ipsec.SA) Offer {
	t, err := transformOf(ipsec.SA{Algorithms: sa.Algorithms, Direction: sa.Direction})
	if err != nil {
		return LacksAlgorithm
	}
	return Offer(C.evg_cryptodev_offers(C.int(d.Index), C.uint8_t(o), &t, C.bool(sa.Encap != nil)))
}

// Inline has the card of a port do the work of a description that no SA has got. What
// the card does not see whole, and what passes other ports, is still done where the
// description was made. ENOSPC means that the card is full.
func (p *Plane) Inline(d *Description, sa ipsec.SA, port int) error {
	t, err := transformOf(sa)
	if err != nil {
		return err
	}
	defer func() { t = C.struct_evg_transform{}; runtime.KeepAlive(&t) }() // it holds keys
	ends := pathOf(Path{Endpoint: offload.Endpoint{Local: sa.Local, Remote: sa.Remote, Encap: sa.Encap}, Port: port})
	if err := errnoOf(C.evg_desc_inline(p.c, d.c, C.int(port), C.uint32_t(sa.ID.SPI), &t, &ends)); err != nil {
		return fmt.Errorf("loop: make a session at port %d: %w", port, err)
	}
	return nil
}

// Emulation is a card that software plays.
type Emulation struct {
	// InlineCrypto and InlineProtocol are what it says that it does; it does the first.
	InlineCrypto, InlineProtocol bool
	// Slots is how many sessions it has.
	Slots int
	// Dev is what does its work.
	Dev Cryptodev
}

// Emulate gives a port that has no card one that software plays, before Start.
func (p *Plane) Emulate(port int, e Emulation) error {
	c := C.struct_evg_emulation{
		inline_crypto: C.bool(e.InlineCrypto), inline_protocol: C.bool(e.InlineProtocol), slots: C.uint32_t(e.Slots), dev: C.int(e.Dev.Index),
	}
	if err := errnoOf(C.evg_plane_emulate(p.c, C.int(port), &c)); err != nil {
		return fmt.Errorf("loop: emulate a card at port %d: %w", port, err)
	}
	return nil
}
