package suite

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // 3DES is used only where the configuration names it
	"crypto/hmac"
	"crypto/sha512"
	"encoding/binary"
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
)

// composed protects messages with a cipher and an HMAC.
//
// "Integrity Checksum Data is the cryptographic checksum of the entire message
// starting with the Fixed IKE header through the Pad Length. The checksum MUST
// be computed over the encrypted message." RFC 7296 section 3.14.
type composed struct {
	block cipher.Block
	salt  []byte // of CTR; nil for CBC
	iv    int
	mac   digest
	key   []byte // of mac; it belongs to whoever gave it
	icv   int
	sum   [sha512.Size]byte // room for a checksum
}

func newComposed(a ipsec.Algorithms, k DirectionKeys) (*composed, error) {
	c := &composed{iv: a.IVLen(), icv: a.ICVLen()}
	key := k.Encryption.Reveal()
	var err error
	switch a.Encryption {
	case ipsec.EncrAESCBC:
		c.block, err = aes.NewCipher(key)
	case ipsec.EncrAESCTR:
		key, c.salt = key[:len(key)-saltLen], key[len(key)-saltLen:]
		c.block, err = aes.NewCipher(key)
	case ipsec.Encr3DES:
		c.block, err = des.NewTripleDESCipher(key)
	default:
		err = fmt.Errorf("suite: %v is no cipher for IKE", a.Encryption)
	}
	if err != nil {
		return nil, err
	}
	c.key = k.Integrity.Reveal()
	c.mac, err = digestOf(a.Integrity)
	return c, err
}

func digestOf(i ipsec.IntegrityID) (digest, error) {
	switch i {
	case ipsec.AuthHMACSHA1_96:
		return digestSHA1, nil
	case ipsec.AuthHMACSHA2_256_128:
		return digestSHA256, nil
	case ipsec.AuthHMACSHA2_384_192:
		return digestSHA384, nil
	case ipsec.AuthHMACSHA2_512_256:
		return digestSHA512, nil
	default:
		return 0, fmt.Errorf("suite: unknown integrity algorithm %d", uint16(i))
	}
}

func (c *composed) seal(msg []byte, body int) {
	iv, text, icv := c.split(msg, body)
	if c.salt != nil {
		c.counter(iv).XORKeyStream(text, text)
	} else {
		cipher.NewCBCEncrypter(c.block, iv).CryptBlocks(text, text)
	}
	copy(icv, c.checksum(msg))
}

func (c *composed) open(msg []byte, body int) bool {
	iv, text, icv := c.split(msg, body)
	if !hmac.Equal(c.checksum(msg), icv) {
		return false
	}
	if c.salt != nil {
		c.counter(iv).XORKeyStream(text, text)
	} else {
		cipher.NewCBCDecrypter(c.block, iv).CryptBlocks(text, text)
	}
	return true
}

func (c *composed) split(msg []byte, body int) (iv, text, icv []byte) {
	start, end := body+c.iv, len(msg)-c.icv
	return msg[body:start], msg[start:end], msg[end:]
}

// checksum is the truncated HMAC of all before the ICV. It is there for one message.
func (c *composed) checksum(msg []byte) []byte {
	return c.mac.appendHMAC(c.sum[:0], c.key, msg[:len(msg)-c.icv])[:c.icv]
}

// counter is AES-CTR from the block that RFC 3686 section 4 describes: salt, IV
// and a counter that starts with one (RFC 5930 section 2 for IKE).
func (c *composed) counter(iv []byte) cipher.Stream {
	var block [aes.BlockSize]byte
	copy(block[:], c.salt)
	copy(block[saltLen:], iv)
	binary.BigEndian.PutUint32(block[saltLen+ivLen:], 1)
	return cipher.NewCTR(c.block, block[:])
}
