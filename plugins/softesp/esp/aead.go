package esp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/evergate/evergate/core/ipsec"
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
	block, err := aes.NewCipher(key[:len(key)-saltLen])
	if err != nil {
		return nil, err
	}
	if g.icv < minGCMTag {
		m.aead, err = newShortTag(block, g.icv)
	} else {
		m.aead, err = cipher.NewGCMWithTagSize(block, g.icv)
	}
	return m, err
}

func (m *aeadMode) setIV(p []byte, iv uint64) { binary.BigEndian.PutUint64(p[fixedHeader:], iv) }

func (m *aeadMode) seal(p []byte, high uint32) {
	body := p[fixedHeader+8:]
	m.aead.Seal(body[:0], m.nonceOf(p), body[:len(body)-m.icv], m.additional(p, high))
}

func (m *aeadMode) open(p []byte, high uint32) bool {
	body := p[fixedHeader+8:]
	_, err := m.aead.Open(body[:0], m.nonceOf(p), body, m.additional(p, high))
	return err == nil
}

func (m *aeadMode) nonceOf(p []byte) []byte {
	copy(m.nonce[saltLen:], p[fixedHeader:fixedHeader+8])
	return m.nonce[:]
}

// additional is SPI and sequence number; with ESN the high half, which is not
// sent, goes between them (RFC 4106 section 5).
func (m *aeadMode) additional(p []byte, high uint32) []byte {
	if !m.esn {
		return p[:fixedHeader]
	}
	copy(m.aad[:4], p[:4])
	binary.BigEndian.PutUint32(m.aad[4:], high)
	copy(m.aad[8:], p[4:8])
	return m.aad[:]
}

// minGCMTag is the shortest tag that the standard library makes.
const minGCMTag = 12

// shortTag is AES-GCM with a tag that the standard library finds too short:
// AES-GCM-8 of RFC 4106. It lets the library make the full tag, and cuts it.
type shortTag struct {
	cipher.AEAD
	tag         int
	plain, made []byte
}

func newShortTag(block cipher.Block, tag int) (*shortTag, error) {
	full, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &shortTag{AEAD: full, tag: tag}, nil
}

func (s *shortTag) Overhead() int { return s.tag }

func (s *shortTag) Seal(dst, nonce, plaintext, additional []byte) []byte {
	s.made = s.AEAD.Seal(s.made[:0], nonce, plaintext, additional)
	return append(dst, s.made[:len(plaintext)+s.tag]...)
}

// Open encrypts the ciphertext, which yields the plaintext in a counter mode,
// and that again, which yields the tag.
func (s *shortTag) Open(dst, nonce, ciphertext, additional []byte) ([]byte, error) {
	n := len(ciphertext) - s.tag
	if n < 0 {
		return nil, ErrMalformed
	}
	s.plain = s.AEAD.Seal(s.plain[:0], nonce, ciphertext[:n], additional)[:n]
	s.made = s.AEAD.Seal(s.made[:0], nonce, s.plain, additional)
	if subtle.ConstantTimeCompare(s.made[n:n+s.tag], ciphertext[n:]) != 1 {
		return nil, ErrAuthentication
	}
	return append(dst, s.plain...), nil
}
