package xfrmnl

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Selector says which packets a state or policy is for. The zero Selector is for
// all of both families; prefixes are both set or none is.
type Selector struct {
	Dst, Src netip.Prefix
	// Proto is the IP protocol, 0 for any. For ICMP the source port holds the
	// type and the destination port the code.
	Proto            uint8
	DstPort, SrcPort Port
}

// Port is a value under a mask; the zero Port is any.
type Port struct{ Value, Mask uint16 }

func (s Selector) put(b []byte) {
	putAddr(b, s.Dst.Addr())
	putAddr(b[16:], s.Src.Addr())
	network.PutUint16(b[32:], s.DstPort.Value)
	network.PutUint16(b[34:], s.DstPort.Mask)
	network.PutUint16(b[36:], s.SrcPort.Value)
	network.PutUint16(b[38:], s.SrcPort.Mask)
	native.PutUint16(b[40:], family(s.Dst.Addr()))
	if s.Dst.IsValid() {
		b[42] = uint8(s.Dst.Bits())
	}
	if s.Src.IsValid() {
		b[43] = uint8(s.Src.Bits())
	}
	b[44] = s.Proto
}

// selectorOf reads a selector; b has its full size.
func selectorOf(b []byte) Selector {
	fam := native.Uint16(b[40:])
	s := Selector{
		Proto:   b[44],
		DstPort: Port{network.Uint16(b[32:]), network.Uint16(b[34:])},
		SrcPort: Port{network.Uint16(b[36:]), network.Uint16(b[38:])},
	}
	if fam == unix.AF_INET || fam == unix.AF_INET6 {
		s.Dst = netip.PrefixFrom(addrOf(b, fam), int(b[42]))
		s.Src = netip.PrefixFrom(addrOf(b[16:], fam), int(b[43]))
	}
	return s
}
