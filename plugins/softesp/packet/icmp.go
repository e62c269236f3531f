package packet

import "encoding/binary"

const (
	icmp4Unreachable    = 3
	icmp4FragNeeded     = 4 // code
	icmp4ErrorQuoteMax  = 576 - IPv4HeaderLen - icmpHeaderLen
	icmp6TooBig         = 2
	icmp6ErrorQuoteMax  = MinIPv6MTU - IPv6HeaderLen - icmpHeaderLen
	icmpHeaderLen       = 8
	icmpHopLimit        = 64
	icmp6FirstInfo      = 128 // types below are errors
	icmp4EchoReply      = 0
	icmp4EchoRequest    = 8
	icmp4Timestamp      = 13
	icmp4TimestampReply = 14

	// MinIPv6MTU is what every IPv6 link must carry (RFC 8200 section 5).
	MinIPv6MTU = 1280
	// MinIPv4MTU is the lowest path MTU that is believed. The formal minimum of
	// 68 octets leaves no room for a tunnel, and serves attackers only.
	MinIPv4MTU = 576
	// MaxTooBig is the longest message that TooBig writes.
	MaxTooBig = MinIPv6MTU
)

// TooBig writes into b the ICMP message that tells the sender of packet p that
// only mtu octets pass: "fragmentation needed and DF set" (RFC 1191 section 4)
// or "packet too big" (RFC 4443 section 3.2). It returns its length, 0 when p is
// one that must not be answered. b has MaxTooBig octets.
//
// The message comes from p's destination: the gateway has no address inside the
// tunnel, and a host that forwards would drop one of its own addresses arriving
// on an interface as a martian.
func TooBig(b, p []byte, h *Header, mtu int) int {
	if !mayAnswer(p, h) {
		return 0
	}
	if h.V6 {
		return tooBig6(b, p, h, mtu)
	}
	return tooBig4(b, p, h, mtu)
}

// mayAnswer holds the rules of RFC 1122 section 3.2.2 and RFC 4443 section 2.4:
// no errors about errors, fragments behind the first one, or packets from
// addresses that name no single host. To a multicast destination packet-too-big
// could be sent, but the tunnel has no single path to name an MTU of.
func mayAnswer(p []byte, h *Header) bool {
	if h.Fragment || h.Src.IsMulticast() || h.Src.IsUnspecified() || h.Dst.IsMulticast() {
		return false
	}
	if h.L4 >= len(p) {
		return true
	}
	switch h.Proto {
	case ProtoICMP:
		switch p[h.L4] {
		case icmp4EchoReply, icmp4EchoRequest, icmp4Timestamp, icmp4TimestampReply:
			return true
		}
		return false
	case ProtoICMPv6:
		return p[h.L4] >= icmp6FirstInfo
	default:
		return true
	}
}

func tooBig4(b, p []byte, h *Header, mtu int) int {
	quote := min(len(p), icmp4ErrorQuoteMax)
	n := IPv4HeaderLen + icmpHeaderLen + quote
	b = b[:n]
	clear(b[:IPv4HeaderLen+icmpHeaderLen])
	b[0] = 0x45
	b[1] = 0xc0 // internetwork control, as routers mark it (RFC 1812 section 4.3.2.5)
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	b[8], b[9] = icmpHopLimit, ProtoICMP
	src, dst := h.Dst.As4(), h.Src.As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	setIPv4Checksum(b, IPv4HeaderLen)
	icmp := b[IPv4HeaderLen:]
	icmp[0], icmp[1] = icmp4Unreachable, icmp4FragNeeded
	binary.BigEndian.PutUint16(icmp[6:], uint16(mtu))
	copy(icmp[icmpHeaderLen:], p)
	binary.BigEndian.PutUint16(icmp[2:], Checksum(icmp))
	return n
}

func tooBig6(b, p []byte, h *Header, mtu int) int {
	quote := min(len(p), icmp6ErrorQuoteMax)
	n := IPv6HeaderLen + icmpHeaderLen + quote
	b = b[:n]
	clear(b[:IPv6HeaderLen+icmpHeaderLen])
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], uint16(n-IPv6HeaderLen))
	b[6], b[7] = ProtoICMPv6, icmpHopLimit
	src, dst := h.Dst.As16(), h.Src.As16()
	copy(b[8:], src[:])
	copy(b[24:], dst[:])
	icmp := b[IPv6HeaderLen:]
	icmp[0] = icmp6TooBig
	binary.BigEndian.PutUint32(icmp[4:], uint32(mtu))
	copy(icmp[icmpHeaderLen:], p)
	setTransportChecksum(b, icmp, ProtoICMPv6, 2)
	return n
}
