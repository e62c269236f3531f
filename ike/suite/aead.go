package suite

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/evergate/evergate/core/ipsec"
)

// The nonce of our AEADs is four octets of salt and the eight octets of the
// message's IV (RFC 5282 section 4, RFC 7634 section 2).
const (
	saltLen = 4
	ivLen   = 8
)

// combined protects messages with an AEAD. Its associated data reach from the
// first octet of the IKE header to the last one of the Encrypted payload's own
// header (RFC 5282 section 5.1), fragment numbers included (RFC 7383 section
// 2.5).
type combined struct {
	aead  cipher.AEAD
	nonce [saltLen + ivLen]byte // the salt, and room for an IV
}

// newCombined splits key into the cipher's key and the salt behind it.
func newCombined(a ipsec.Algorithms, key ipsec.Key) (*combined, error) {
	b := key.Reveal()
	b, salt := b[:len(b)-saltLen], b[len(b)-saltLen:]
	var c combined
	copy(c.nonce[:], salt)
	var err error
	switch a.Encryption {
	case ipsec.EncrChaCha20Poly1305:
		c.aead, err = chacha20poly1305.New(b)
	case ipsec.EncrAESGCM8, ipsec.EncrAESGCM12, ipsec.EncrAESGCM16:
		c.aead, err = newGCM(b, a.ICVLen())
	default:
		err = fmt.Errorf("suite: %v is no combined mode", a.Encryption)
	}
	return &c, err
}

func (c *combined) seal(msg []byte, body int) {
	text := msg[body+ivLen : len(msg)-c.aead.Overhead()]
	c.aead.Seal(text[:0], c.nonceOf(msg, body), text, msg[:body])
}

// open decrypts into memory of its own first: an AEAD may spoil its output when
// the message is not authentic.
func (c *combined) open(msg []byte, body int) bool {
	text := msg[body+ivLen:]
	plain, err := c.aead.Open(make([]byte, 0, len(text)), c.nonceOf(msg, body), text, msg[:body])
	if err != nil {
		return false
	}
	copy(text, plain)
	return true
}

func (c *combined) nonceOf(msg []byte, body int) []byte {
	copy(c.nonce[saltLen:], msg[body:body+ivLen])
	return c.nonce[:]
}

func newGCM(key []byte, tag int) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if tag >= 12 {
		return cipher.NewGCMWithTagSize(block, tag)
	}
	full, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &shortGCM{full, block, tag}, nil
}

// shortGCM is AES-GCM with a tag of less than 12 octets, which crypto/cipher
// does not make: the 8-octet ICV of RFC 4106 section 6. A short tag is the front
// of the full one (NIST SP 800-38D section 7.1, step 7).
type shortGCM struct {
	full  cipher.AEAD
	block cipher.Block
	tag   int
}

func (g *shortGCM) NonceSize() int { return g.full.NonceSize() }
func (g *shortGCM) Overhead() int  { return g.tag }

// Seal is cipher.AEAD's.
func (g *shortGCM) Seal(dst, nonce, plain, aad []byte) []byte {
	out := g.full.Seal(nil, nonce, plain, aad)
	return append(dst, out[:len(plain)+g.tag]...)
}

// Open is cipher.AEAD's. It decrypts with the counter mode inside GCM, whose
// data starts at counter 2, then seals again to learn the tag, and lets nothing
// out before that has matched.
func (g *shortGCM) Open(dst, nonce, sealed, aad []byte) ([]byte, error) {
	n := len(sealed) - g.tag
	if n < 0 {
		return nil, errShortTag
	}
	var counter [aes.BlockSize]byte
	copy(counter[:], nonce)
	binary.BigEndian.PutUint32(counter[len(nonce):], 2)
	plain := make([]byte, n)
	cipher.NewCTR(g.block, counter[:]).XORKeyStream(plain, sealed[:n])
	again := g.full.Seal(nil, nonce, plain, aad)
	if subtle.ConstantTimeCompare(again[n:n+g.tag], sealed[n:]) != 1 {
		clear(plain)
		return nil, errShortTag
	}
	return append(dst, plain...), nil
}

var errShortTag = errors.New("suite: tag does not match")
