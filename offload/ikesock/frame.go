package ikesock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// MaxPayload is the longest IKE message in octets: what fits in a UDP datagram
// over IPv4 (65535 - 20 - 8) behind a non-ESP marker.
const MaxPayload = 65535 - 20 - 8 - 4

// Datagram is one IKE message, or NAT keepalive, of UDP port 4500. It has the
// shape of ike.Datagram, into which it converts.
type Datagram struct {
	// Local and Remote are the outer addresses and ports, of one family and
	// without zones; an IPv4 address is never mapped into IPv6.
	Local, Remote netip.AddrPort
	// Payload starts with the IKE header. It is ignored for keepalives.
	Payload []byte
	// Keepalive marks a NAT keepalive (RFC 3948 section 2.3).
	Keepalive bool
}

// ErrMalformed is what a frame that cannot be parsed fails with; the text says
// where.
var ErrMalformed = errors.New("ikesock: malformed frame")

const (
	version       = 1
	kindMessage   = 1
	kindKeepalive = 2
	headerLen     = 10
	maxFrame      = headerLen + 2*16 + MaxPayload
)

// AppendFrame appends the frame of d to b. It fails when d cannot be sent: no
// payload or one above MaxPayload, addresses that are invalid, of two families
// or with a zone.
func AppendFrame(b []byte, d Datagram) ([]byte, error) {
	local, remote := d.Local.Addr().Unmap(), d.Remote.Addr().Unmap()
	switch {
	case !local.IsValid() || !remote.IsValid() || local.Is4() != remote.Is4():
		return b, fmt.Errorf("ikesock: frame from %v to %v: want two addresses of one family", d.Local, d.Remote)
	case local.Zone() != "" || remote.Zone() != "":
		return b, fmt.Errorf("ikesock: frame from %v to %v: a zone means nothing to another process", d.Local, d.Remote)
	case !d.Keepalive && len(d.Payload) == 0:
		return b, fmt.Errorf("ikesock: frame from %v to %v: no payload", d.Local, d.Remote)
	case !d.Keepalive && len(d.Payload) > MaxPayload:
		return b, fmt.Errorf("ikesock: frame from %v to %v: %d octets of payload, at most %d", d.Local, d.Remote, len(d.Payload), MaxPayload)
	}
	kind, family, payload := byte(kindMessage), byte(4), d.Payload
	if d.Keepalive {
		kind, payload = kindKeepalive, nil
	}
	if local.Is6() {
		family = 6
	}
	b = append(b, version, kind, family, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	b = binary.BigEndian.AppendUint16(b, d.Local.Port())
	b = binary.BigEndian.AppendUint16(b, d.Remote.Port())
	b = append(b, local.AsSlice()...)
	b = append(b, remote.AsSlice()...)
	return append(b, payload...), nil
}

// ParseFrame reads the one frame that b is. Payload is part of b. All errors are
// ErrMalformed.
func ParseFrame(b []byte) (Datagram, error) {
	if len(b) < headerLen {
		return Datagram{}, fmt.Errorf("%w: %d octets are less than a header", ErrMalformed, len(b))
	}
	if b[0] != version {
		return Datagram{}, fmt.Errorf("%w: version %d, want %d", ErrMalformed, b[0], version)
	}
	var d Datagram
	switch b[1] {
	case kindMessage:
	case kindKeepalive:
		d.Keepalive = true
	default:
		return Datagram{}, fmt.Errorf("%w: unknown kind %d", ErrMalformed, b[1])
	}
	var addrLen int
	switch b[2] {
	case 4:
		addrLen = 4
	case 6:
		addrLen = 16
	default:
		return Datagram{}, fmt.Errorf("%w: unknown address family %d", ErrMalformed, b[2])
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if want := headerLen + 2*addrLen + length; len(b) != want {
		return Datagram{}, fmt.Errorf("%w: %d octets, the header says %d", ErrMalformed, len(b), want)
	}
	if length > MaxPayload || (length == 0) != d.Keepalive {
		return Datagram{}, fmt.Errorf("%w: a payload of %d octets", ErrMalformed, length)
	}
	local, _ := netip.AddrFromSlice(b[headerLen : headerLen+addrLen])
	remote, _ := netip.AddrFromSlice(b[headerLen+addrLen : headerLen+2*addrLen])
	if local.Is4In6() || remote.Is4In6() {
		return Datagram{}, fmt.Errorf("%w: an IPv4 address mapped into IPv6", ErrMalformed)
	}
	d.Local = netip.AddrPortFrom(local, binary.BigEndian.Uint16(b[6:]))
	d.Remote = netip.AddrPortFrom(remote, binary.BigEndian.Uint16(b[8:]))
	if length > 0 {
		d.Payload = b[headerLen+2*addrLen:]
	}
	return d, nil
}
