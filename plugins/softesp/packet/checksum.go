package packet

import (
	"encoding/binary"
	"math/bits"
)

// sum adds the octets of b, as 16-bit words, to a running sum of the Internet
// checksum (RFC 1071). Only the last part of what is summed may have an odd
// length.
//
// It adds in larger words, with an end-around carry, and in the byte order of most
// machines: the sum of larger words folds to that of their 16-bit parts, and
// swapping the octets of all words swaps those of the sum (RFC 1071 section 2).
// fold swaps them back.
func sum(b []byte, s uint64) uint64 {
	b, s = sumBlocks(b, s)
	for len(b) >= 8 {
		s = addWord(s, binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	if len(b) >= 4 {
		s = addWord(s, uint64(binary.LittleEndian.Uint32(b)))
		b = b[4:]
	}
	if len(b) >= 2 {
		s = addWord(s, uint64(binary.LittleEndian.Uint16(b)))
		b = b[2:]
	}
	if len(b) > 0 {
		s = addWord(s, uint64(b[0]))
	}
	return s
}

// addWord adds with an end-around carry.
func addWord(s, w uint64) uint64 {
	s, c := bits.Add64(s, w, 0)
	return s + c // cannot overflow: after a carry s is not all ones
}

// add16 adds a word in network byte order.
func add16(s uint64, w uint16) uint64 { return addWord(s, uint64(bits.ReverseBytes16(w))) }

// without takes the words at some offsets of b out of a running sum: it adds their
// complements (RFC 1624 section 3).
func without(s uint64, b []byte, offsets ...int) uint64 {
	for _, at := range offsets {
		s = addWord(s, ^uint64(binary.LittleEndian.Uint16(b[at:])))
	}
	return s
}

// blockLen is how many octets a turn of sumWords and of its like adds.
const blockLen = 64

// sumWords adds the whole blocks of b, and returns what is left of b and the sum.
func sumWords(b []byte, s uint64) ([]byte, uint64) {
	var c uint64
	for len(b) >= blockLen {
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b), 0)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[8:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[16:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[24:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[32:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[40:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[48:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[56:]), c)
		s += c
		b = b[blockLen:]
	}
	return b, s
}

// fold reduces a running sum to 16 bits, in network byte order.
func fold(s uint64) uint16 {
	s = s>>32 + s&0xffff_ffff
	s = s>>32 + s&0xffff_ffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return bits.ReverseBytes16(uint16(s>>16 + s&0xffff))
}

// Checksum is the Internet checksum of b.
func Checksum(b []byte) uint16 { return ^fold(sum(b, 0)) }

// pseudo is the running sum of the pseudo-header of TCP, UDP and ICMPv6: the
// addresses of the IP header ip, the protocol and the length (RFC 9293 section
// 3.1, RFC 8200 section 8.1).
func pseudo(ip []byte, proto uint8, length int) uint64 {
	s := uint64(bits.ReverseBytes16(uint16(proto))) + uint64(bits.ReverseBytes16(uint16(length)))
	if ip[0]>>4 == 6 {
		return sum(ip[8:40], s)
	}
	return sum(ip[12:20], s)
}

// setIPv4Checksum computes the header checksum of an IPv4 packet.
func setIPv4Checksum(ip []byte, headerLen int) {
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], Checksum(ip[:headerLen]))
}

// setTransportChecksum computes the checksum of the TCP, UDP or ICMPv6 message l4
// of packet ip; field is where it lies in l4.
func setTransportChecksum(ip, l4 []byte, proto uint8, field int) {
	l4[field], l4[field+1] = 0, 0
	c := ^fold(sum(l4, pseudo(ip, proto, len(l4))))
	if c == 0 && proto == ProtoUDP {
		c = 0xffff // "If the computed checksum is zero, it is transmitted as all ones" RFC 768
	}
	binary.BigEndian.PutUint16(l4[field:], c)
}

// transportChecksumOK tells whether the checksum of a TCP or UDP message is
// right.
func transportChecksumOK(ip, l4 []byte, proto uint8) bool {
	return fold(sum(l4, pseudo(ip, proto, len(l4)))) == 0xffff
}

// replaceWord corrects the header checksum of an IPv4 packet for a 16-bit word
// that changes from before to after (RFC 1624 section 3, equation 3).
func replaceWord(ip []byte, before, after uint16) {
	c := binary.BigEndian.Uint16(ip[10:])
	s := uint32(^c) + uint32(^before) + uint32(after)
	s = s>>16 + s&0xffff
	binary.BigEndian.PutUint16(ip[10:], ^uint16(s>>16+s&0xffff))
}
