package packet

import "encoding/binary"

const (
	tcpHeaderLen = 20

	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpACK = 0x10
	tcpECE = 0x40
	tcpCWR = 0x80

	// maxTrains is how many flows can be joined at a time.
	maxTrains = 16
	// MaxSegments is the longest train, in segments.
	MaxSegments = 64
	// maxTrain is the largest train, in octets of IP packet.
	maxTrain = 65535
	// maxHeaders is the longest IP and TCP header that is joined: neither IPv4
	// options nor IPv6 extension headers, but all TCP options.
	maxHeaders = IPv6HeaderLen + 60
)

// Writer takes what a Coalescer makes: head, that is virtio-net header and
// perhaps packet headers, and the pieces that follow. Both are valid during the
// call only.
type Writer interface {
	WritePacket(head []byte, pieces [][]byte)
}

// Coalescer joins consecutive TCP segments, or UDP datagrams of one size, of a
// flow to the super-packets that a TUN device takes. It joins only what can be
// cut again into the very same packets, checks every checksum that it replaces,
// and keeps the order within each flow. What it cannot join goes through as it
// is.
//
// Packets are referred to, not copied: they must stay until Flush.
type Coalescer struct {
	// UDP tells that the device takes trains of UDP datagrams.
	UDP bool

	out    Writer
	trains [maxTrains]train
	n      int
	plain  [VnetLen]byte // the virtio-net header of a packet without offloads
	one    [1][]byte
}

// NewCoalescer makes one that writes to out.
func NewCoalescer(out Writer) *Coalescer { return &Coalescer{out: out} }

// Add takes the IP packet p, exactly as long as it says. h is what Parse found.
func (c *Coalescer) Add(p []byte, h *Header) {
	if h.Fragmented || h.Proto != ProtoTCP && h.Proto != ProtoUDP {
		if h.Fragmented {
			c.Flush() // it may belong to any flow
		}
		c.write(p)
		return
	}
	at := c.find(p, h)
	seg, joinable := c.describe(p, h)
	if at >= 0 {
		if joinable && c.trains[at].join(seg, p) {
			return
		}
		c.send(at)
	}
	switch {
	case !joinable:
		c.write(p)
	case at >= 0:
		c.trains[at].start(seg, p)
	default:
		if c.n == maxTrains {
			c.Flush()
		}
		c.trains[c.n].start(seg, p)
		c.n++
	}
}

// Flush writes what is held back. Afterwards no packet is referred to.
func (c *Coalescer) Flush() {
	for i := range c.n {
		c.send(i)
	}
	c.n = 0
}

// send writes train i, if there is one, and leaves the place empty.
func (c *Coalescer) send(i int) {
	t := &c.trains[i]
	switch {
	case t.n == 1:
		c.write(t.first)
	case t.n > 1:
		c.out.WritePacket(t.finish(), t.pieces[:t.n])
	}
	t.n, t.first = 0, nil
}

// write passes p on as it is.
func (c *Coalescer) write(p []byte) {
	c.one[0] = p
	c.out.WritePacket(c.plain[:], c.one[:])
	c.one[0] = nil
}

// find returns the train of p's flow, -1 for none.
func (c *Coalescer) find(p []byte, h *Header) int {
	for i := range c.n {
		if t := &c.trains[i]; t.n > 0 && t.sameFlow(p, h) {
			return i
		}
	}
	return -1
}

// describe tells what a train must know of a packet, and whether it may be part
// of one.
func (c *Coalescer) describe(p []byte, h *Header) (segment, bool) {
	l4 := p[h.L4:]
	seg := segment{proto: h.Proto, l4: h.L4}
	plainHeader := h.V6 && h.L4 == IPv6HeaderLen || !h.V6 && h.L4 == IPv4HeaderLen
	switch {
	case !plainHeader:
		return seg, false
	case h.Proto == ProtoTCP && len(l4) >= tcpHeaderLen:
		seg.headers = h.L4 + int(l4[12]>>4)*4
		seg.seq = binary.BigEndian.Uint32(l4[4:])
		seg.push = l4[13]&tcpPSH != 0
		if l4[13]&^(tcpPSH|tcpECE) != tcpACK || seg.headers < h.L4+tcpHeaderLen {
			return seg, false
		}
	case h.Proto == ProtoUDP && len(l4) > udpHeaderLen && c.UDP:
		seg.headers = h.L4 + udpHeaderLen
		// "An all zero transmitted checksum value means that the transmitter
		// generated no checksum" (RFC 768): a train would give it one.
		if int(binary.BigEndian.Uint16(l4[4:])) != len(l4) || binary.BigEndian.Uint16(l4[6:]) == 0 {
			return seg, false
		}
	default:
		return seg, false
	}
	seg.payload = len(p) - seg.headers
	return seg, seg.payload > 0 && (h.V6 || Checksum(p[:h.L4]) == 0) && transportChecksumOK(p, l4, h.Proto)
}
