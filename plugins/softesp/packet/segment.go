package packet

import (
	"encoding/binary"
)

// Super is a packet as a TUN device with offloads delivers it: perhaps without
// its checksum, perhaps a train of TCP or UDP segments under one header, up to
// 64 KiB. The zero value is ready for Parse.
type Super struct {
	Header
	packet []byte
	vnet   VnetHeader
	// headers is what each segment repeats, payload what a full one carries; of
	// a packet that is no train payload is 0.
	headers, payload int
	count            int
	sums             sums
}

// Parse takes a frame: virtio-net header and packet. The frame belongs to s
// until the next call, and may be changed. False means that the frame makes no
// sense.
func (s *Super) Parse(frame []byte) bool {
	if len(frame) < VnetLen {
		return false
	}
	s.vnet.decode(frame)
	s.packet = frame[VnetLen:]
	if !s.Header.Parse(s.packet) {
		return false
	}
	s.packet = s.packet[:s.Len]
	s.payload, s.count = 0, 1
	if s.vnet.GSOType&^gsoECN == gsoNone {
		return s.complete()
	}
	return s.plan()
}

// ParsePacket takes the IP packet p without an offload: whole, with its checksums.
// It belongs to s until the next call. False means that it makes no sense.
func (s *Super) ParsePacket(p []byte) bool {
	if !s.Header.Parse(p) {
		return false
	}
	s.vnet, s.packet = VnetHeader{}, p[:s.Len]
	s.payload, s.count = 0, 1
	return true
}

// complete fills in a checksum that the kernel left to the device. The field
// holds the sum of the pseudo-header.
func (s *Super) complete() bool {
	if s.vnet.Flags&vnetNeedsCsum == 0 {
		return true
	}
	start, field := int(s.vnet.CsumStart), int(s.vnet.CsumStart)+int(s.vnet.CsumOffs)
	if start > len(s.packet) || field+2 > len(s.packet) {
		return false
	}
	c := Checksum(s.packet[start:])
	if c == 0 && s.Proto == ProtoUDP {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(s.packet[field:], c)
	return true
}

// plan prepares the cutting of a train. The header length is computed from the
// packet: that of the virtio-net header is a hint only.
func (s *Super) plan() bool {
	if s.Fragmented {
		return false
	}
	l4 := s.packet[s.L4:]
	switch {
	case s.vnet.GSOType&^gsoECN == gsoUDP && s.Proto == ProtoUDP:
		s.headers = s.L4 + udpHeaderLen
	case s.Proto == ProtoTCP && s.isTCP() && len(l4) >= tcpHeaderLen:
		s.headers = s.L4 + max(int(l4[12]>>4)*4, tcpHeaderLen)
	default:
		return false
	}
	s.payload = int(s.vnet.GSOSize)
	if s.payload == 0 || s.headers >= len(s.packet) {
		return false
	}
	s.count = (len(s.packet) - s.headers + s.payload - 1) / s.payload
	s.share()
	return true
}

func (s *Super) isTCP() bool {
	t := s.vnet.GSOType &^ gsoECN
	return t == gsoTCPv4 && !s.V6 || t == gsoTCPv6 && s.V6
}

// Count is the number of segments, 1 for a packet that is no train.
func (s *Super) Count() int { return s.count }

// Bytes is the length of the first n segments together, with their headers.
func (s *Super) Bytes(n int) int {
	if s.payload == 0 {
		return s.Len
	}
	return n*s.headers + min(n*s.payload, len(s.packet)-s.headers)
}

// Largest is the length of the longest segment.
func (s *Super) Largest() int {
	if s.payload == 0 || s.count == 1 {
		return s.Len
	}
	return s.headers + s.payload
}

// Segment writes segment i into b, which has Largest octets at least, and
// returns its length. Its checksums are complete.
func (s *Super) Segment(b []byte, i int) int {
	if s.payload == 0 {
		return copy(b, s.packet)
	}
	from := s.headers + i*s.payload
	payload := s.packet[from:min(from+s.payload, len(s.packet))]
	copy(b, s.packet[:s.headers])
	n := s.headers + copy(b[s.headers:], payload)
	s.fixIP(b[:n], i)
	l4 := b[s.L4:n]
	if s.Proto == ProtoUDP {
		s.fixUDP(l4, payload)
	} else {
		s.fixTCP(l4, payload, i)
	}
	return n
}

// fixIP sets the length and, in IPv4, the identification: one more per segment.
func (s *Super) fixIP(b []byte, i int) {
	if s.V6 {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-IPv6HeaderLen))
		return
	}
	length, id := uint16(len(b)), binary.BigEndian.Uint16(s.packet[4:])+uint16(i)
	binary.BigEndian.PutUint16(b[2:], length)
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[10:], ^fold(add16(add16(s.sums.ip, length), id)))
}

// fixUDP sets the length.
func (s *Super) fixUDP(l4, payload []byte) {
	length := uint16(len(l4))
	binary.BigEndian.PutUint16(l4[4:], length)
	c := ^fold(sum(payload, add16(add16(s.sums.l4, length), length))) // also that of the pseudo-header
	if c == 0 {
		c = 0xffff // see setTransportChecksum
	}
	binary.BigEndian.PutUint16(l4[6:], c)
}

// fixTCP sets the sequence number; FIN and PSH stay with the last segment, CWR
// with the first one: it answers one congestion mark once.
func (s *Super) fixTCP(l4, payload []byte, i int) {
	head := s.packet[s.L4:]
	seq := binary.BigEndian.Uint32(head[4:]) + uint32(i*s.payload)
	flags := head[13]
	if i < s.count-1 {
		flags &^= tcpFIN | tcpPSH
	}
	if i > 0 {
		flags &^= tcpCWR
	}
	binary.BigEndian.PutUint32(l4[4:], seq)
	l4[13] = flags
	c := add16(s.sums.l4, uint16(head[12])<<8|uint16(flags))
	c = add16(add16(add16(c, uint16(seq>>16)), uint16(seq)), uint16(len(l4)))
	binary.BigEndian.PutUint16(l4[16:], ^fold(sum(payload, c)))
}

// sums are running sums of what all segments of a train have alike in their IP
// header, and in their pseudo-header and TCP or UDP header. Summing a header that
// has just been written would wait for its parts to reach the cache.
type sums struct{ ip, l4 uint64 }

// share sums the headers of a train but for what fixIP, fixUDP and fixTCP set.
func (s *Super) share() {
	ip, l4 := s.packet[:s.L4], s.packet[s.L4:s.headers]
	if !s.V6 {
		s.sums.ip = without(sum(ip, 0), ip, 2, 4, 10)
	}
	s.sums.l4 = sum(l4, pseudo(ip, s.Proto, 0))
	if s.Proto == ProtoUDP {
		s.sums.l4 = without(s.sums.l4, l4, 4, 6)
	} else {
		s.sums.l4 = without(s.sums.l4, l4, 4, 6, 12, 16)
	}
}
