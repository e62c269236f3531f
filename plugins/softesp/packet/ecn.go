package packet

// The ECN field, the lower two bits of TOS and traffic class (RFC 3168).
const (
	notECT = 0b00
	ect1   = 0b01
	ect0   = 0b10
	ce     = 0b11
)

// OuterTrafficClass is what the outer header gets for an inner traffic class:
// the ECN field is copied ("normal mode", RFC 6040 section 4.1), DSCP is copied
// unless hide is set; then it is dscp.
func OuterTrafficClass(inner uint8, hide bool, dscp uint8) uint8 {
	if hide {
		return dscp<<2 | inner&ce
	}
	return inner
}

// InnerECN is the ECN field that a packet leaves the tunnel with, by those with
// which its inner and outer headers arrived: the table of RFC 6040 section 4.2,
// figure 4. False means that the packet must be dropped: congestion was marked
// on a packet whose sender would not understand it.
func InnerECN(inner, outer uint8) (uint8, bool) {
	inner, outer = inner&ce, outer&ce
	switch {
	case inner == notECT:
		return notECT, outer != ce
	case outer == ce:
		return ce, true
	case inner == ect0 && outer == ect1:
		return ect1, true
	default:
		return inner, true
	}
}

// SetECN writes the ECN field of an IP packet.
func SetECN(b []byte, ecn uint8) {
	if b[0]>>4 == 6 {
		b[1] = b[1]&^(ce<<4) | ecn<<4
		return
	}
	before := uint16(b[0])<<8 | uint16(b[1])
	b[1] = b[1]&^ce | ecn
	replaceWord(b, before, uint16(b[0])<<8|uint16(b[1]))
}
