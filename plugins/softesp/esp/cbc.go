package esp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // 3DES is offered only where the configuration names it.
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/evergate/evergate/core/ipsec"
)

// settable is a block mode that takes a new IV without an allocation, as the
// standard library's do for its TLS.
type settable interface {
	cipher.BlockMode
	SetIV([]byte)
}

// cbcMode is AES-CBC (RFC 3602) or 3DES-CBC (RFC 2451) with an HMAC.
type cbcMode struct {
	mac      *mac
	enc, dec settable
	block    int
	// ivs turns unique numbers into unpredictable ones.
	ivs     cipher.Block
	counter [aes.BlockSize]byte
}

func newCBC(a ipsec.Algorithms, g Geometry, m *mac, key []byte, random io.Reader) (mode, error) {
	enc, dec, err := newBlockModes(a.Encryption, key)
	if err != nil {
		return nil, err
	}
	secret := make([]byte, 16)
	if _, err := io.ReadFull(random, secret); err != nil {
		return nil, fmt.Errorf("draw a key for IVs: %w", err)
	}
	ivs, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return &cbcMode{mac: m, enc: enc, dec: dec, block: g.iv, ivs: ivs}, nil
}

// newBlockModes makes both directions, each with an IV of zeros that crypt
// replaces.
func newBlockModes(e ipsec.EncryptionID, key []byte) (enc, dec settable, err error) {
	if e == ipsec.EncrAESCBC && hasFastCBC() {
		enc, dec = newFastCBC(key)
		return enc, dec, nil
	}
	block, err := newBlock(e, key)
	if err != nil {
		return nil, nil, err
	}
	zero := make([]byte, block.BlockSize())
	enc, ok1 := cipher.NewCBCEncrypter(block, zero).(settable) //nolint:gosec // crypt sets the real IV
	dec, ok2 := cipher.NewCBCDecrypter(block, zero).(settable)
	if !ok1 || !ok2 {
		return nil, nil, errors.New("the standard library's CBC takes no new IV")
	}
	return enc, dec, nil
}

func newBlock(e ipsec.EncryptionID, key []byte) (cipher.Block, error) {
	switch e {
	case ipsec.EncrAESCBC:
		return aes.NewCipher(key)
	case ipsec.Encr3DES:
		return des.NewTripleDESCipher(key)
	default:
		return nil, fmt.Errorf("no encryption algorithm %v", e)
	}
}

// putIV writes the IV, which nobody can foretell: a number, encrypted.
func (m *cbcMode) putIV(p []byte, iv uint64) {
	clear(m.counter[:8])
	binary.BigEndian.PutUint64(m.counter[8:], iv)
	m.ivs.Encrypt(m.counter[:], m.counter[:])
	copy(p[fixedHeader:fixedHeader+m.block], m.counter[:])
}

func (m *cbcMode) seal(p []byte, iv uint64, high uint32) {
	m.putIV(p, iv)
	m.crypt(m.enc, p)
	m.mac.sign(p, high)
}

func (m *cbcMode) open(p []byte, high uint32) bool {
	if !m.mac.verify(p, high) {
		return false
	}
	m.crypt(m.dec, p)
	return true
}

func (m *cbcMode) crypt(with settable, p []byte) {
	start := fixedHeader + m.block
	body := p[start : len(p)-m.mac.icv]
	with.SetIV(p[fixedHeader:start])
	with.CryptBlocks(body, body)
}
