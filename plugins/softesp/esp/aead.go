package esp

import (
	"crypto/cipher"
	"encoding/binary"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/plugins/softesp/esp/gcm"
)

const saltLen = 4

// aeadMode is AES-GCM (RFC 4106) and ChaCha20-Poly1305 (RFC 7634): the nonce is
// the salt and the explicit IV, the additional data are SPI and sequence number.
type aeadMode struct {
	aead  cipher.AEAD
	esn   bool
	icv   int
	nonce [saltLen + 8]byte
	aad   [12]byte
}

func newAEAD(a ipsec.Algorithms, g Geometry, key []byte) (mode, error) {
	salt := key[len(key)-saltLen:]
	m := &aeadMode{esn: a.ESN, icv: g.icv}
	copy(m.nonce[:], salt)
	var err error
	if a.Encryption == ipsec.EncrChaCha20Poly1305 {
		m.aead, err = chacha20poly1305.New(key[:len(key)-saltLen])
		return m, err
	}
	m.aead, err = gcm.New(key[:len(key)-saltLen], g.icv)
	return m, err
}

func (m *aeadMode) seal(p []byte, iv uint64, high uint32) {
	binary.BigEndian.PutUint64(p[fixedHeader:], iv)
	binary.BigEndian.PutUint64(m.nonce[saltLen:], iv)
	body := p[fixedHeader+8:]
	m.aead.Seal(body[:0], m.nonce[:], body[:len(body)-m.icv], m.additional(p, high))
}

func (m *aeadMode) open(p []byte, high uint32) bool {
	body := p[fixedHeader+8:]
	copy(m.nonce[saltLen:], p[fixedHeader:fixedHeader+8])
	_, err := m.aead.Open(body[:0], m.nonce[:], body, m.additional(p, high))
	return err == nil
}

// additional is SPI and sequence number; with ESN the high half, which is not
// sent, goes between them (RFC 4106 section 5).
func (m *aeadMode) additional(p []byte, high uint32) []byte {
	if !m.esn {
		return p[:fixedHeader]
	}
	binary.BigEndian.PutUint64(m.aad[:], uint64(binary.BigEndian.Uint32(p))<<32|uint64(high))
	copy(m.aad[8:], p[4:8])
	return m.aad[:]
}
