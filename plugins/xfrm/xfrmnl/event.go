package xfrmnl

import (
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"

	"github.com/evergate/evergate/core/ipsec"
)

// Event is something that the kernel noticed by itself.
type Event interface{ event() }

type (
	// Expired tells that a state reached a limit. After a hard one it is gone, and
	// with it its sequence state.
	Expired struct {
		State State
		Hard  bool
	}

	// Acquire asks for an SA: a packet met a template and no state.
	Acquire struct {
		// Packet selects what it was.
		Packet Selector
		// Policy is the one that the packet met; ReqID that of its template.
		Policy Policy
		ReqID  uint32
	}

	// Mapped tells that authentic packets in UDP come from elsewhere.
	Mapped struct {
		SPI      ipsec.SPI
		Dst      netip.Addr
		ReqID    uint32
		Old, New netip.AddrPort
	}

	// Deleted tells that a state was removed by request, and how it was then.
	Deleted struct{ State State }
)

func (Expired) event() {}
func (Acquire) event() {}
func (Mapped) event()  {}
func (Deleted) event() {}

// UnmarshalEvent reads a message that came from a group; nil is what this package
// has no word for.
func UnmarshalEvent(m netlink.Message) (ev Event, err error) {
	switch uint16(m.Header.Type) {
	case msgExpire:
		ev, err = expiredOf(m.Data)
	case msgAcquire:
		ev, err = acquireOf(m.Data)
	case msgMapping:
		ev, err = mappedOf(m.Data)
	case msgDelSA:
		ev, err = deletedOf(m.Data)
	}
	if err != nil {
		return nil, fmt.Errorf("xfrmnl: parse event %#x: %w", uint16(m.Header.Type), err)
	}
	return ev, nil
}

func expiredOf(b []byte) (Event, error) {
	if len(b) < sizeExpire {
		return nil, errShort
	}
	s := stateOf(b)
	if err := s.readAttributes(b[sizeExpire:]); err != nil {
		return nil, err
	}
	return Expired{State: s, Hard: b[sizeSA] != 0}, nil
}

func acquireOf(b []byte) (Event, error) {
	if len(b) < sizeAcquire {
		return nil, errShort
	}
	a := Acquire{Packet: selectorOf(b[40:]), Policy: Policy{
		Selector: selectorOf(b[96:]), Priority: native.Uint32(b[96+152:]), Index: native.Uint32(b[96+156:]), Dir: Direction(b[96+160]),
	}}
	if err := a.Policy.readAttributes(b[sizeAcquire:]); err != nil {
		return nil, err
	}
	if len(a.Policy.Templates) > 0 {
		a.ReqID = a.Policy.Templates[0].ReqID
	}
	return a, nil
}

func mappedOf(b []byte) (Event, error) {
	if len(b) < sizeMapping {
		return nil, errShort
	}
	fam := native.Uint16(b[20:])
	return Mapped{
		Dst: addrOf(b, fam), SPI: ipsec.SPI(network.Uint32(b[16:])), ReqID: native.Uint32(b[24:]),
		Old: netip.AddrPortFrom(addrOf(b[28:], fam), network.Uint16(b[60:])),
		New: netip.AddrPortFrom(addrOf(b[44:], fam), network.Uint16(b[62:])),
	}, nil
}

// deletedOf reads a DELSA: struct xfrm_usersa_id, the state in an attribute, and
// its attributes beside that.
func deletedOf(b []byte) (Event, error) {
	if len(b) < sizeSAID {
		return nil, errShort
	}
	ad, err := netlink.NewAttributeDecoder(b[sizeSAID:])
	if err != nil {
		return nil, err
	}
	var s State
	for ad.Next() {
		if ad.Type() == attrSA {
			ad.Do(func(b []byte) error {
				if len(b) < sizeSA {
					return errShort
				}
				s = stateOf(b)
				return nil
			})
		}
	}
	if err := ad.Err(); err != nil {
		return nil, err
	}
	if err := s.readAttributes(b[sizeSAID:]); err != nil {
		return nil, err
	}
	return Deleted{s}, nil
}
