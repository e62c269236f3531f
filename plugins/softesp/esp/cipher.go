package esp

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
)

// Why a packet is not opened.
var (
	// ErrAuthentication: the integrity check failed.
	ErrAuthentication = errors.New("esp: integrity check failed")
	// ErrMalformed: too short, or not a multiple of the block length. Nothing is
	// known of where the packet comes from.
	ErrMalformed = errors.New("esp: malformed packet")
	// ErrPadding: padding that makes no sense, in an authentic packet.
	ErrPadding = errors.New("esp: wrong padding")
)

// Cipher holds the keys of one SA, ready for use by one goroutine: hashes and
// block modes have a state that cannot be shared.
type Cipher struct {
	Geometry
	esn  bool
	mode mode
}

// mode is how an algorithm, or a pair of them, protects a packet that lies
// complete in memory: header, IV, plaintext and room for the ICV.
type mode interface {
	// seal writes the IV, encrypts the part between header and ICV and writes the ICV;
	// iv is unique for the key.
	seal(p []byte, iv uint64, high uint32)
	// open checks the ICV and decrypts the part before it, or returns false and
	// leaves nothing decrypted behind.
	open(p []byte, high uint32) bool
}

// New makes a cipher of the keys of an SA. The keys are copied. Errors name the
// algorithm.
func New(a ipsec.Algorithms, encryption, integrity ipsec.Key) (*Cipher, error) {
	if err := checkKeyLengths(a, encryption, integrity); err != nil {
		return nil, err
	}
	g := GeometryOf(a)
	m, err := newMode(a, g, encryption.Reveal(), integrity.Reveal())
	if err != nil {
		return nil, fmt.Errorf("esp: set up %v: %w", a, err)
	}
	return &Cipher{Geometry: g, esn: a.ESN, mode: m}, nil
}

func checkKeyLengths(a ipsec.Algorithms, encryption, integrity ipsec.Key) error {
	e, err := a.EncryptionKeyLen()
	if err != nil {
		return fmt.Errorf("esp: %w", err)
	}
	i, err := a.Integrity.KeyLen()
	if err != nil {
		return fmt.Errorf("esp: %w", err)
	}
	if encryption.Len() != e || integrity.Len() != i {
		return fmt.Errorf("esp: %v takes keys of %d and %d octets, got %d and %d", a, e, i, encryption.Len(), integrity.Len())
	}
	return nil
}

func newMode(a ipsec.Algorithms, g Geometry, encryption, integrity []byte) (mode, error) {
	if a.Encryption.AEAD() {
		return newAEAD(a, g, encryption)
	}
	mac, err := newMAC(a, g, integrity)
	if err != nil {
		return nil, err
	}
	switch a.Encryption {
	case ipsec.EncrNull:
		return &nullMode{mac: mac}, nil
	case ipsec.EncrAESCTR:
		return newCTR(g, mac, encryption)
	default:
		return newCBC(a, g, mac, encryption, rand.Reader)
	}
}

// Seal builds an ESP packet around the n octets of payload at p[HeaderLen():]
// and returns its length, Len(n). p has at least that many octets. seq is the
// full sequence number; iv is unique for the SA's key (IVPrefix.IV).
func (c *Cipher) Seal(p []byte, n int, next uint8, spi ipsec.SPI, seq, iv uint64) int {
	p = p[:c.Len(n)]
	// As one: what authenticates the packet reads both at once.
	binary.BigEndian.PutUint64(p, uint64(spi)<<32|uint64(uint32(seq)))
	c.pad(p[c.HeaderLen():len(p)-c.icv], n, next)
	c.mode.seal(p, iv, uint32(seq>>32))
	return len(p)
}

// pad writes padding and trailer behind n octets of payload.
//
// "the Padding bytes are initialized with a series of (unsigned, 1-byte) integer
// values. [...] 1, 2, 3, ..." RFC 4303 section 2.4.
func (c *Cipher) pad(b []byte, n int, next uint8) {
	padding := b[n : len(b)-trailer]
	for i := range padding {
		padding[i] = uint8(i + 1)
	}
	b[len(b)-2] = uint8(len(padding))
	b[len(b)-1] = next
}

// Open checks and decrypts the ESP packet p in place; seq is its full sequence
// number, as Window.Infer tells. The payload that it returns lies in p. After an
// error the contents of p are undefined.
func (c *Cipher) Open(p []byte, seq uint64) (payload []byte, next uint8, err error) {
	n := len(p) - c.HeaderLen() - c.icv
	if n < c.align || n&(c.align-1) != 0 {
		return nil, 0, ErrMalformed
	}
	if !c.mode.open(p, uint32(seq>>32)) {
		return nil, 0, ErrAuthentication
	}
	return unpad(p[c.HeaderLen() : c.HeaderLen()+n])
}

// unpad takes off padding and trailer.
//
// "the receiver SHOULD inspect the Padding field." RFC 4303 section 2.4.
func unpad(b []byte) (payload []byte, next uint8, err error) {
	padding := int(b[len(b)-2])
	n := len(b) - trailer - padding
	if n < 0 {
		return nil, 0, ErrPadding
	}
	for i, v := range b[n : n+padding] {
		if v != uint8(i+1) {
			return nil, 0, ErrPadding
		}
	}
	return b[:n], b[len(b)-1], nil
}
