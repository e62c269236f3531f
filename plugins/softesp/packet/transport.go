package packet

import (
	"encoding/binary"
	"net/netip"
)

// transportTTL is the hop limit of a packet rebuilt from transport mode; it has
// arrived, so nobody looks.
const transportTTL = 64

// TransportProto is the protocol number of what transport mode protects of the
// packet p: all behind the IP header (RFC 4303 section 3.1.1). IPv6 extension
// headers are protected too; options of IPv4 are not carried.
func (h *Header) TransportProto(p []byte) uint8 {
	if h.V6 {
		return p[6]
	}
	return p[9]
}

// TransportHeaderLen is the octets of the header that WriteTransport writes.
func TransportHeaderLen(dst netip.Addr) int {
	if dst.Is4() {
		return IPv4HeaderLen
	}
	return IPv6HeaderLen
}

// WriteTransport writes the IP header of a packet that came in transport mode:
// n octets of proto follow it.
func WriteTransport(b []byte, src, dst netip.Addr, proto, class uint8, n int) {
	if dst.Is4() {
		clear(b[:IPv4HeaderLen])
		b[0], b[1] = 0x45, class
		binary.BigEndian.PutUint16(b[2:], uint16(IPv4HeaderLen+n))
		b[6] = 0x40 // DF: a whole datagram, on its last hop
		b[8], b[9] = transportTTL, proto
		from, to := src.As4(), dst.As4()
		copy(b[12:], from[:])
		copy(b[16:], to[:])
		setIPv4Checksum(b, IPv4HeaderLen)
		return
	}
	clear(b[:8])
	b[0] = 0x60 | class>>4
	b[1] = class << 4
	binary.BigEndian.PutUint16(b[4:], uint16(n))
	b[6], b[7] = proto, transportTTL
	from, to := src.As16(), dst.As16()
	copy(b[8:], from[:])
	copy(b[24:], to[:])
}

// FixTransportChecksum computes the TCP or UDP checksum of packet p anew.
//
// "the TCP/UDP header checksum [...] MAY be recomputed" when a NAT changed the
// addresses that it covers: ESP's own check has covered the rest (RFC 3948
// section 3.1.2).
func FixTransportChecksum(p []byte, h *Header) {
	if h.Fragmented {
		return
	}
	l4 := p[h.L4:h.Len]
	switch {
	case h.Proto == ProtoTCP && len(l4) >= tcpHeaderLen:
		setTransportChecksum(p, l4, ProtoTCP, 16)
	case h.Proto == ProtoUDP && len(l4) >= udpHeaderLen && binary.BigEndian.Uint16(l4[6:]) != 0:
		setTransportChecksum(p, l4, ProtoUDP, 6)
	}
}
