package packet

import (
	"bytes"
	"encoding/binary"
)

// segment is what a train must know of one packet.
type segment struct {
	proto       uint8
	l4, headers int // octets of IP header, and with that of TCP or UDP
	payload     int
	seq         uint32 // TCP
	push        bool   // TCP
}

// train is a super-packet in the making. It is empty while n is 0.
type train struct {
	segment        // of the first packet
	first   []byte // the first packet
	n       int
	total   int    // payload so far
	next    uint32 // TCP: the sequence number that continues it
	closed  bool   // nothing may follow
	pieces  [MaxSegments][]byte
	head    [VnetLen + maxHeaders]byte
}

// start makes p the first packet.
func (t *train) start(seg segment, p []byte) {
	t.segment, t.first = seg, p
	t.n, t.total, t.closed = 1, seg.payload, seg.push
	t.next = seg.seq + uint32(seg.payload)
	t.pieces[0] = p[seg.headers:]
}

// sameFlow compares addresses, protocol and ports.
func (t *train) sameFlow(p []byte, h *Header) bool {
	if t.proto != h.Proto || t.first[0]>>4 != p[0]>>4 || h.Len < h.L4+4 {
		return false
	}
	from, to := 12, 20
	if h.V6 {
		from, to = 8, 40
	}
	return bytes.Equal(t.first[from:to], p[from:to]) && bytes.Equal(t.first[t.l4:t.l4+4], p[h.L4:h.L4+4])
}

// join appends p, of the same flow, if the train can be cut into the same
// packets again. A short segment or one with PSH can only be the last.
func (t *train) join(seg segment, p []byte) bool {
	if t.closed || t.n == MaxSegments || seg.headers != t.headers || seg.payload > t.payload ||
		t.headers+t.total+seg.payload > maxTrain || !t.sameIP(p) {
		return false
	}
	if t.proto == ProtoTCP && !t.sameTCP(seg, p) {
		return false
	}
	t.pieces[t.n] = p[seg.headers:]
	t.n++
	t.total += seg.payload
	t.next += uint32(seg.payload)
	t.push = seg.push
	t.closed = seg.push || seg.payload < t.payload
	return true
}

// sameIP compares what the IP headers of a train have in common. An
// identification must count up, unless the packet is not to be fragmented: then
// it means nothing (RFC 6864 section 4.1).
func (t *train) sameIP(p []byte) bool {
	if p[0]>>4 == 6 {
		return bytes.Equal(t.first[:4], p[:4]) && t.first[7] == p[7]
	}
	id := binary.BigEndian.Uint16(t.first[4:]) + uint16(t.n)
	return t.first[1] == p[1] && bytes.Equal(t.first[6:9], p[6:9]) &&
		(p[6]&0x40 != 0 || binary.BigEndian.Uint16(p[4:]) == id)
}

// sameTCP compares what the TCP headers of a train have in common.
func (t *train) sameTCP(seg segment, p []byte) bool {
	a, b := t.first[t.l4:t.headers], p[t.l4:t.headers]
	return seg.seq == t.next &&
		bytes.Equal(a[8:13], b[8:13]) && // acknowledgment, header length
		a[13]&^tcpPSH == b[13]&^tcpPSH &&
		bytes.Equal(a[14:16], b[14:16]) && // window
		bytes.Equal(a[18:], b[18:]) // urgent pointer, options
}

// finish writes the headers of the whole train and returns them, behind the
// virtio-net header. The checksum is left to the device: its field holds the sum
// of the pseudo-header.
func (t *train) finish() []byte {
	head := t.head[:VnetLen+t.headers]
	ip := head[VnetLen:]
	copy(ip, t.first)
	length := t.headers + t.total
	v := VnetHeader{
		Flags: vnetNeedsCsum, HeaderLen: uint16(t.headers),
		GSOSize: uint16(t.payload), CsumStart: uint16(t.l4),
	}
	if ip[0]>>4 == 6 {
		binary.BigEndian.PutUint16(ip[4:], uint16(length-IPv6HeaderLen))
		v.GSOType = gsoTCPv6
	} else {
		binary.BigEndian.PutUint16(ip[2:], uint16(length))
		setIPv4Checksum(ip, t.l4)
		v.GSOType = gsoTCPv4
	}
	l4 := ip[t.l4:]
	if t.proto == ProtoUDP {
		v.GSOType, v.CsumOffs = gsoUDP, 6
		binary.BigEndian.PutUint16(l4[4:], uint16(length-t.l4))
	} else {
		v.CsumOffs = 16
		if t.push {
			l4[13] |= tcpPSH
		}
	}
	binary.BigEndian.PutUint16(l4[v.CsumOffs:], fold(pseudo(ip, t.proto, length-t.l4)))
	v.encode(head)
	return head
}
