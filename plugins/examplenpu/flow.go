package examplenpu

import (
	"encoding/binary"
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
)

// Next headers (IANA "Protocol Numbers").
const (
	protoHopByHop    = 0
	protoICMP        = 1
	protoIPv4        = 4
	protoTCP         = 6
	protoUDP         = 17
	protoIPv6        = 41
	protoRouting     = 43
	protoFragment    = 44
	protoICMPv6      = 58
	protoNoNext      = 59
	protoDestOptions = 60
)

// flow is what selectors look at in an inner packet. Of ICMP both ports hold type
// and code (RFC 4301 section 4.4.1.1).
type flow struct {
	src, dst         netip.Addr
	proto            uint8
	srcPort, dstPort uint16
	ports            bool // there are some, and they can be seen
}

// leavesBy and arrivesBy tell whether an SA's selectors select the packet, in
// its direction.
func (f flow) leavesBy(s ipsec.Selectors) bool {
	return anyOf(s.Local, f.src, f.proto, f.srcPort, f.ports) && anyOf(s.Remote, f.dst, f.proto, f.dstPort, f.ports)
}

func (f flow) arrivesBy(s ipsec.Selectors) bool {
	return anyOf(s.Remote, f.src, f.proto, f.srcPort, f.ports) && anyOf(s.Local, f.dst, f.proto, f.dstPort, f.ports)
}

func anyOf(ts []ipsec.TrafficSelector, a netip.Addr, proto uint8, port uint16, ports bool) bool {
	for _, t := range ts {
		if t.ContainsPacket(a, proto, port, ports) {
			return true
		}
	}
	return false
}

// selectors are those of the packet alone, for Acquire.
func (f flow) selectors() (local, remote ipsec.TrafficSelector) {
	one := func(a netip.Addr, port uint16) ipsec.TrafficSelector {
		t := ipsec.TrafficSelector{Proto: f.proto, PortMin: 65535, PortMax: 0, Min: a, Max: a} // OPAQUE
		if f.ports {
			t.PortMin, t.PortMax = port, port
		}
		return t
	}
	return one(f.src, f.srcPort), one(f.dst, f.dstPort)
}

// parse reads the headers of an IP packet, and returns it without what the link
// may have padded it with. It is false for what is no IP packet.
func parse(b []byte) (packet []byte, f flow, ok bool) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		return parse4(b)
	case len(b) >= 40 && b[0]>>4 == 6:
		return parse6(b)
	default:
		return nil, flow{}, false
	}
}

func parse4(b []byte) (packet []byte, f flow, ok bool) {
	head, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if head < 20 || total < head || total > len(b) {
		return nil, flow{}, false
	}
	f = flow{src: netip.AddrFrom4([4]byte(b[12:])), dst: netip.AddrFrom4([4]byte(b[16:])), proto: b[9]}
	if fragment := binary.BigEndian.Uint16(b[6:]) & 0x1fff; fragment == 0 {
		f.readPorts(b[head:total])
	}
	return b[:total], f, true
}

// maxExtensions bounds the extension headers that are looked behind.
const maxExtensions = 8

func parse6(b []byte) (packet []byte, f flow, ok bool) {
	total := 40 + int(binary.BigEndian.Uint16(b[4:]))
	if total > len(b) {
		return nil, flow{}, false
	}
	f = flow{src: netip.AddrFrom16([16]byte(b[8:])), dst: netip.AddrFrom16([16]byte(b[24:])), proto: b[6]}
	rest := b[40:total]
	for range maxExtensions {
		length := 8
		switch f.proto {
		case protoHopByHop, protoRouting, protoDestOptions:
			if len(rest) < 8 {
				return nil, flow{}, false
			}
			length += int(rest[1]) * 8
		case protoFragment:
			if len(rest) < 8 {
				return nil, flow{}, false
			}
			if binary.BigEndian.Uint16(rest[2:])>>3 != 0 { // not the first: no ports
				f.proto = rest[0]
				return b[:total], f, true
			}
		default:
			f.readPorts(rest)
			return b[:total], f, true
		}
		if length > len(rest) {
			return nil, flow{}, false
		}
		f.proto, rest = rest[0], rest[length:]
	}
	return nil, flow{}, false
}

func (f *flow) readPorts(b []byte) {
	switch {
	case (f.proto == protoTCP || f.proto == protoUDP) && len(b) >= 4:
		f.srcPort, f.dstPort, f.ports = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), true
	case (f.proto == protoICMP || f.proto == protoICMPv6) && len(b) >= 2:
		f.srcPort, f.ports = binary.BigEndian.Uint16(b), true
		f.dstPort = f.srcPort
	}
}

// trafficClass is DSCP and ECN of an IP packet.
func trafficClass(packet []byte) byte {
	if packet[0]>>4 == 4 {
		return packet[1]
	}
	return packet[0]<<4 | packet[1]>>4
}

// The values of ECN (RFC 3168 section 5).
const (
	notECT = 0b00
	ect1   = 0b01
	ect0   = 0b10
	ce     = 0b11
)

// mergeECN gives the inner packet the mark that the outer one had, and is false
// where the packet must be dropped: RFC 6040 section 4.2, figure 4.
func mergeECN(inner []byte, outer byte) bool {
	was, mark := trafficClass(inner)&ce, outer&ce
	switch {
	case was == notECT:
		return mark != ce
	case mark == ce && was != ce, mark == ect1 && was == ect0:
		setECN(inner, mark)
	}
	return true
}

func setECN(packet []byte, mark byte) {
	if packet[0]>>4 == 6 {
		packet[1] = packet[1]&^(ce<<4) | mark<<4
		return
	}
	// RFC 1624 section 3: HC' = ~(~HC + ~m + m'), of the word that changes.
	before := binary.BigEndian.Uint16(packet)
	packet[1] = packet[1]&^ce | mark
	sum := uint32(^binary.BigEndian.Uint16(packet[10:])) + uint32(^before) + uint32(binary.BigEndian.Uint16(packet))
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(packet[10:], ^uint16(sum>>16+sum))
}
