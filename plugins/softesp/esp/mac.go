package esp

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // HMAC-SHA1-96 is what many peers still speak (RFC 8221: MUST-).
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/evergate/evergate/core/ipsec"
)

// mac is the integrity algorithm beside a cipher that has none: an HMAC over the
// packet, cut to the ICV (RFC 2404, RFC 4868).
type mac struct {
	hash hash.Hash
	esn  bool
	icv  int
	high [4]byte
	sum  [sha512.Size]byte
}

func newMAC(a ipsec.Algorithms, g Geometry, key []byte) (*mac, error) {
	m := &mac{esn: a.ESN, icv: g.icv}
	switch a.Integrity {
	case ipsec.AuthHMACSHA1_96:
		m.hash = hmac.New(sha1.New, key)
	case ipsec.AuthHMACSHA2_256_128:
		m.hash = hmac.New(sha256.New, key)
	case ipsec.AuthHMACSHA2_384_192:
		m.hash = hmac.New(sha512.New384, key)
	case ipsec.AuthHMACSHA2_512_256:
		m.hash = hmac.New(sha512.New, key)
	default:
		return nil, fmt.Errorf("no integrity algorithm %v", a.Integrity)
	}
	return m, nil
}

// sign writes the ICV of p.
func (m *mac) sign(p []byte, high uint32) { copy(p[len(p)-m.icv:], m.compute(p, high)) }

// verify checks the ICV of p.
func (m *mac) verify(p []byte, high uint32) bool {
	return subtle.ConstantTimeCompare(m.compute(p, high), p[len(p)-m.icv:]) == 1
}

// compute is the HMAC over all but the ICV, and over the high half of the
// sequence number: "if ESN is used, the high-order 32 bits are appended after
// the Next Header field for purposes of ICV computation" (RFC 4303 section
// 2.2.1).
func (m *mac) compute(p []byte, high uint32) []byte {
	m.hash.Reset()
	m.hash.Write(p[:len(p)-m.icv])
	if m.esn {
		binary.BigEndian.PutUint32(m.high[:], high)
		m.hash.Write(m.high[:])
	}
	return m.hash.Sum(m.sum[:0])[:m.icv]
}

// nullMode authenticates and encrypts nothing (RFC 2410).
type nullMode struct{ mac *mac }

func (m *nullMode) seal(p []byte, _ uint64, high uint32) { m.mac.sign(p, high) }
func (m *nullMode) open(p []byte, high uint32) bool      { return m.mac.verify(p, high) }
