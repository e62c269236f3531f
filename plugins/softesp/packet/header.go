package packet

import (
	"encoding/binary"
	"net/netip"
)

// Protocol numbers that this package knows.
const (
	ProtoICMP   = 1
	ProtoIPv4   = 4
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoIPv6   = 41
	ProtoESP    = 50
	ProtoICMPv6 = 58
	ProtoNone   = 59 // "No Next Header"; in ESP a dummy packet

	extHopByHop    = 0
	extRouting     = 43
	extFragment    = 44
	extDestination = 60
)

const (
	// IPv4HeaderLen is an IPv4 header without options.
	IPv4HeaderLen = 20
	// IPv6HeaderLen is an IPv6 header without extension headers.
	IPv6HeaderLen = 40

	udpHeaderLen = 8
	// maxExtensions bounds the walk over IPv6 extension headers. RFC 8200
	// section 4.1 has room for seven.
	maxExtensions = 8
)

// Header is what selectors and tunnels must know of a packet.
type Header struct {
	Src, Dst netip.Addr
	V6       bool
	// DF tells that no router may fragment the packet: the flag of IPv4, always
	// for IPv6.
	DF bool
	// Fragment tells that the packet is one, and not the first.
	Fragment bool
	// Fragmented tells that the packet is one, perhaps the first.
	Fragmented bool
	// Proto is the protocol behind all extension headers.
	Proto uint8
	// TrafficClass is DSCP and ECN.
	TrafficClass uint8
	// HasPorts tells that SrcPort and DstPort are known. For ICMP both hold
	// type and code, type in the upper octet (RFC 4301 section 4.4.1.1).
	HasPorts         bool
	SrcPort, DstPort uint16
	// L4 is where the protocol's own header starts, Len where the packet ends.
	L4, Len int
}

// SameFlow tells whether selectors see no difference between two packets.
func (h *Header) SameFlow(o *Header) bool {
	return h.SrcPort == o.SrcPort && h.DstPort == o.DstPort && h.HasPorts == o.HasPorts && h.Proto == o.Proto &&
		h.Src == o.Src && h.Dst == o.Dst
}

// Parse reads the headers of the IP packet at the start of b into h. False means
// that it is none, or shorter than it says.
func (h *Header) Parse(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	var ok bool
	switch b[0] >> 4 {
	case 4:
		ok = h.parse4(b)
	case 6:
		ok = h.parse6(b)
	}
	if ok {
		h.parsePorts(b)
	}
	return ok
}

func (h *Header) parse4(b []byte) bool {
	if len(b) < IPv4HeaderLen {
		return false
	}
	headerLen := int(b[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if headerLen < IPv4HeaderLen || total < headerLen || total > len(b) {
		return false
	}
	flags := binary.BigEndian.Uint16(b[6:])
	*h = Header{
		Src:          netip.AddrFrom4([4]byte(b[12:16])),
		Dst:          netip.AddrFrom4([4]byte(b[16:20])),
		DF:           flags&0x4000 != 0,
		Fragment:     flags&0x1fff != 0,
		Fragmented:   flags&0x3fff != 0,
		Proto:        b[9],
		TrafficClass: b[1],
		L4:           headerLen,
		Len:          total,
	}
	return true
}

func (h *Header) parse6(b []byte) bool {
	if len(b) < IPv6HeaderLen {
		return false
	}
	total := IPv6HeaderLen + int(binary.BigEndian.Uint16(b[4:]))
	if total > len(b) {
		return false
	}
	*h = Header{
		Src:          netip.AddrFrom16([16]byte(b[8:24])),
		Dst:          netip.AddrFrom16([16]byte(b[24:40])),
		V6:           true,
		DF:           true,
		Proto:        b[6],
		TrafficClass: uint8(binary.BigEndian.Uint16(b) >> 4),
		L4:           IPv6HeaderLen,
		Len:          total,
	}
	return h.skipExtensions(b[:total])
}

// skipExtensions walks over IPv6 extension headers: selectors mean the protocol
// behind them (RFC 4301 section 4.4.1.1).
func (h *Header) skipExtensions(b []byte) bool {
	for range maxExtensions {
		length := 8
		switch h.Proto {
		case extHopByHop, extRouting, extDestination:
			if h.L4+8 > len(b) {
				return false
			}
			length = (int(b[h.L4+1]) + 1) * 8
		case extFragment:
			if h.L4+8 > len(b) {
				return false
			}
			offset := binary.BigEndian.Uint16(b[h.L4+2:])
			h.Fragment = offset>>3 != 0
			h.Fragmented = true
		default:
			return true
		}
		if h.L4+length > len(b) {
			return false
		}
		h.Proto = b[h.L4]
		h.L4 += length
		if h.Fragment {
			return true // what follows is the middle of something
		}
	}
	return false
}

// parsePorts reads ports, or ICMP type and code, where they can be seen.
func (h *Header) parsePorts(b []byte) {
	l4 := b[h.L4:h.Len]
	if h.Fragment || len(l4) < 4 {
		return
	}
	switch h.Proto {
	case ProtoTCP, ProtoUDP, 132, 136, 33: // SCTP, UDP-Lite and DCCP have their ports there too
		h.SrcPort, h.DstPort = binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])
		h.HasPorts = true
	case ProtoICMP, ProtoICMPv6:
		h.SrcPort = binary.BigEndian.Uint16(l4)
		h.DstPort, h.HasPorts = h.SrcPort, true
	}
}
