package packet_test

import (
	"encoding/binary"
	"net/netip"
)

// Plain builders of packets, apart from the code under test.

var (
	host4 = netip.MustParseAddr("192.0.2.7")
	peer4 = netip.MustParseAddr("198.51.100.9")
	host6 = netip.MustParseAddr("2001:db8::7")
	peer6 = netip.MustParseAddr("2001:db8:1::9")
)

// onesSum is the checksum as RFC 1071 section 4.1 has it, word by word.
func onesSum(parts ...[]byte) uint16 {
	var sum uint32
	odd := false
	for _, p := range parts {
		for _, v := range p {
			if odd {
				sum += uint32(v)
			} else {
				sum += uint32(v) << 8
			}
			odd = !odd
		}
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// ip puts an IP header of the family of src before the message.
func ip(src, dst netip.Addr, proto byte, message []byte) []byte {
	if src.Is4() {
		h := make([]byte, 20)
		h[0], h[6], h[8], h[9] = 0x45, 0x40, 64, proto
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(message)))
		binary.BigEndian.PutUint16(h[4:], 1000)
		copy(h[12:], src.AsSlice())
		copy(h[16:], dst.AsSlice())
		binary.BigEndian.PutUint16(h[10:], onesSum(h))
		return append(h, message...)
	}
	h := make([]byte, 40)
	h[0], h[6], h[7] = 0x60, proto, 64
	binary.BigEndian.PutUint16(h[4:], uint16(len(message)))
	copy(h[8:], src.AsSlice())
	copy(h[24:], dst.AsSlice())
	return append(h, message...)
}

// messageSum is the checksum of a TCP, UDP or ICMPv6 message.
func messageSum(src, dst netip.Addr, proto byte, message []byte) uint16 {
	pseudo := append(src.AsSlice(), dst.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(message)))
	pseudo = append(pseudo, 0, 0, 0, proto)
	return onesSum(pseudo, message)
}

// tcp is a segment of one flow: flags, sequence number and payload vary.
type tcp struct {
	seq     uint32
	flags   byte
	payload []byte
	options []byte // a multiple of four octets
	port    uint16 // source, 0 for 1234
}

func (s tcp) packet(src, dst netip.Addr) []byte {
	if s.port == 0 {
		s.port = 1234
	}
	m := make([]byte, 20)
	binary.BigEndian.PutUint16(m, s.port)
	binary.BigEndian.PutUint16(m[2:], 80)
	binary.BigEndian.PutUint32(m[4:], s.seq)
	binary.BigEndian.PutUint32(m[8:], 77)
	m[12], m[13] = byte(20+len(s.options))<<2, s.flags
	binary.BigEndian.PutUint16(m[14:], 500)
	m = append(append(m, s.options...), s.payload...)
	binary.BigEndian.PutUint16(m[16:], messageSum(src, dst, 6, m))
	return ip(src, dst, 6, m)
}

func udp(src, dst netip.Addr, payload []byte) []byte {
	m := []byte{0x10, 0x01, 0, 53}
	m = binary.BigEndian.AppendUint16(m, uint16(8+len(payload)))
	m = append(append(m, 0, 0), payload...)
	binary.BigEndian.PutUint16(m[6:], messageSum(src, dst, 17, m))
	return ip(src, dst, 17, m)
}

// filled returns n octets that differ from place to place.
func filled(n int, start byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = start + byte(i) + byte(i>>8)
	}
	return b
}
