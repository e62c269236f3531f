package esp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
)

// ctrBlocks is how many blocks of key stream are made at a time.
const ctrBlocks = 8

// ctrMode is AES-CTR (RFC 3686) with an HMAC. It makes the key stream itself:
// the standard library's stream has no way to set an IV without an allocation.
type ctrMode struct {
	mac    *mac
	block  cipher.Block
	nonce  [aes.BlockSize]byte // salt, IV, block counter
	stream [ctrBlocks * aes.BlockSize]byte
}

func newCTR(_ Geometry, m *mac, key []byte) (mode, error) {
	block, err := aes.NewCipher(key[:len(key)-saltLen])
	if err != nil {
		return nil, err
	}
	c := &ctrMode{mac: m, block: block}
	copy(c.nonce[:saltLen], key[len(key)-saltLen:])
	return c, nil
}

func (m *ctrMode) seal(p []byte, iv uint64, high uint32) {
	binary.BigEndian.PutUint64(p[fixedHeader:], iv)
	m.xor(p)
	m.mac.sign(p, high)
}

func (m *ctrMode) open(p []byte, high uint32) bool {
	if !m.mac.verify(p, high) {
		return false
	}
	m.xor(p)
	return true
}

// xor is the cipher in both directions.
//
// "The block counter field [...] is one for the first block of plaintext." RFC
// 3686 section 4.
func (m *ctrMode) xor(p []byte) {
	body := p[fixedHeader+8 : len(p)-m.mac.icv]
	copy(m.nonce[saltLen:], p[fixedHeader:fixedHeader+8])
	counter := uint32(1)
	for len(body) > 0 {
		n := min(len(body), len(m.stream))
		for off := 0; off < n; off += aes.BlockSize {
			binary.BigEndian.PutUint32(m.nonce[saltLen+8:], counter)
			m.block.Encrypt(m.stream[off:off+aes.BlockSize], m.nonce[:])
			counter++
		}
		subtle.XORBytes(body[:n], body[:n], m.stream[:n])
		body = body[n:]
	}
}
