package ipsec

import (
	"cmp"
	"fmt"
	"net/netip"
)

// MemberID names one member of a group of gateways, 0 to 15
// (group-member-id). A gateway that stands alone is member 0.
type MemberID uint8

// MaxMembers bounds a group: a member id fits in the top four bits of an SPI.
const MaxMembers = 16

// SPI is the Security Parameters Index of an ESP or AH SA (RFC 4301 section
// 4.1). Our own inbound SPIs carry the id of the member that allocated them in
// the top four bits, so members never collide and any of them can tell whose a
// stray packet is.
type SPI uint32

// MinSPI is the lowest SPI that may be used.
//
// "The set of SPI values in the range 1 through 255 are reserved by the
// Internet Assigned Numbers Authority (IANA) for future use". RFC 4303
// section 2.1. Zero is never sent on the wire.
const MinSPI SPI = 256

// NewSPI returns an SPI of member m whose other 28 bits come from random. The
// result is at least MinSPI for every value of random.
func NewSPI(m MemberID, random uint32) SPI {
	low := random & 0x0fff_ffff
	if low < uint32(MinSPI) {
		low += uint32(MinSPI)
	}
	return SPI(uint32(m)<<28 | low)
}

// Member tells which member allocated s. It has a meaning only for SPIs that
// our group chose: those of our inbound SAs.
func (s SPI) Member() MemberID { return MemberID(s >> 28) }

// String formats s as eight hexadecimal digits.
func (s SPI) String() string { return fmt.Sprintf("%08x", uint32(s)) }

// IKESPI is one of the two SPIs of an IKE SA (RFC 7296 section 2.6). Our own
// carry the member id in the top four bits, as ESP SPIs do.
type IKESPI uint64

// NewIKESPI returns an IKE SPI of member m whose other 60 bits come from
// random. It is never zero.
//
// "This value MUST NOT be zero." RFC 7296 section 3.1, of the initiator's SPI.
// A responder's zero SPI would read as an IKE_SA_INIT request.
func NewIKESPI(m MemberID, random uint64) IKESPI {
	low := random & 0x0fff_ffff_ffff_ffff
	if low == 0 {
		low = 1
	}
	return IKESPI(uint64(m)<<60 | low)
}

// Member tells which member allocated s, as for SPI.
func (s IKESPI) Member() MemberID { return MemberID(s >> 60) }

// String formats s as sixteen hexadecimal digits.
func (s IKESPI) String() string { return fmt.Sprintf("%016x", uint64(s)) }

// TunnelID names a tunnel: the IKE SA with one peer, its Child SAs and all
// that follow them by rekeying. It is the local SPI of the tunnel's first IKE
// SA, so it is unique in the group and never reused by chance.
type TunnelID uint64

// String formats t as sixteen hexadecimal digits.
func (t TunnelID) String() string { return fmt.Sprintf("%016x", uint64(t)) }

// Protocol is an IP protocol number of an IPsec protocol.
type Protocol uint8

// The IPsec protocols.
const (
	ESP Protocol = 50
	AH  Protocol = 51
)

// Direction of an SA, seen from the gateway that holds it.
type Direction uint8

// The directions. The zero value is invalid.
const (
	Inbound Direction = iota + 1
	Outbound
)

// String is "in" or "out".
func (d Direction) String() string {
	switch d {
	case Inbound:
		return "in"
	case Outbound:
		return "out"
	default:
		return fmt.Sprintf("direction(%d)", uint8(d))
	}
}

// SAID names one SA: the triple of RFC 4301 section 4.1, and the port of a peer
// behind a NAT. Dst is the outer destination: our own address for an inbound SA,
// the peer's for an outbound one.
type SAID struct {
	SPI   SPI
	Dst   netip.Addr
	Proto Protocol
	// Port is the peer's UDP port where an outbound SA is encapsulated, else 0.
	// Peers choose the SPIs of outbound SAs, and two behind one address may well
	// choose the same: only the port tells them apart then, as it does for the NAT.
	Port uint16
}

// String formats id as "c0a80001@192.0.2.1/esp", or with a port as
// "c0a80001@192.0.2.1:4500/esp".
func (id SAID) String() string {
	p := "esp"
	if id.Proto == AH {
		p = "ah"
	}
	if id.Port != 0 {
		return fmt.Sprintf("%v@%v/%s", id.SPI, netip.AddrPortFrom(id.Dst, id.Port), p)
	}
	return fmt.Sprintf("%v@%v/%s", id.SPI, id.Dst, p)
}

// Compare orders names: by SPI, then by destination, protocol and port.
func (id SAID) Compare(o SAID) int {
	return cmp.Or(cmp.Compare(id.SPI, o.SPI), id.Dst.Compare(o.Dst), cmp.Compare(id.Proto, o.Proto), cmp.Compare(id.Port, o.Port))
}
