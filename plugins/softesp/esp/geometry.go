package esp

import "github.com/evergate/evergate/core/ipsec"

const (
	// fixedHeader is SPI and sequence number.
	fixedHeader = 8
	// trailer is pad length and next header.
	trailer = 2
	// MaxICV is the longest ICV, that of HMAC-SHA2-512-256.
	MaxICV = 32
	// MaxOverhead is by how much an ESP packet can be longer than its payload:
	// header, CBC's IV and padding, trailer, ICV.
	MaxOverhead = fixedHeader + 16 + 15 + trailer + MaxICV
)

// Geometry says how large packets of an SA are. The zero value is invalid.
type Geometry struct {
	iv, icv int
	align   int // a power of two
}

// GeometryOf returns the geometry of a.
func GeometryOf(a ipsec.Algorithms) Geometry {
	// "the resulting ciphertext [must] terminate on a 4-byte boundary" whatever
	// the cipher (RFC 4303 section 2.4).
	return Geometry{iv: a.IVLen(), icv: a.ICVLen(), align: max(a.BlockLen(), 4)}
}

// HeaderLen is the octets before the payload: SPI, sequence number and IV.
func (g Geometry) HeaderLen() int { return fixedHeader + g.iv }

// Len is the octets of an ESP packet around n octets of payload.
func (g Geometry) Len(n int) int { return g.HeaderLen() + g.padded(n) + g.icv }

// MaxPayload is the largest payload whose ESP packet fits into room octets; it
// is negative when not even an empty one does.
func (g Geometry) MaxPayload(room int) int {
	room -= g.HeaderLen() + g.icv
	if room < g.align {
		return -1
	}
	return room/g.align*g.align - trailer
}

// padded is the octets of payload, padding and trailer. To divide by a power of two that
// the compiler does not know takes a tenth of the time of sealing a small packet.
func (g Geometry) padded(n int) int { return (n + trailer + g.align - 1) &^ (g.align - 1) }
