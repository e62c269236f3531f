package examplenpu

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // RFC 8221 section 6 wants HMAC-SHA1-96, which the collisions of SHA-1 do not break
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

const (
	headerLen = 8 // SPI and sequence number (RFC 4303 section 2)
	ivLenGCM  = 8 // RFC 4106 section 3.1
)

// errIntegrity: the packet is not from who has the key.
var errIntegrity = errors.New("examplenpu: integrity check failed")

// errPadding: the packet is authentic and makes no sense.
var errPadding = errors.New("examplenpu: malformed padding")

// transform seals or opens the packets of one SA. It has room of its own for what
// a packet needs, so one goroutine uses it at a time.
type transform struct {
	esn   bool
	icv   int
	align int

	aead  cipher.AEAD // AES-GCM, or else block and mac
	nonce [12]byte    // salt, then the IV (RFC 4106 section 4)
	aad   [12]byte    // SPI and sequence number

	block cipher.Block // AES-CBC
	mac   hash.Hash
	sum   [sha256.Size]byte
}

// algorithms are those that can be installed.
func algorithms() []ipsec.Algorithms {
	var all []ipsec.Algorithms
	for _, esn := range []bool{false, true} {
		for _, bits := range []uint16{128, 256} {
			all = append(all,
				ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: bits, ESN: esn},
				ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: bits, Integrity: ipsec.AuthHMACSHA1_96, ESN: esn},
				ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: bits, Integrity: ipsec.AuthHMACSHA2_256_128, ESN: esn})
		}
	}
	return all
}

// newTransform makes that of an SA that passed CheckSA, so its keys have the
// right lengths. The error wraps offload.ErrUnsupported.
func newTransform(d ipsec.SA) (*transform, error) {
	a := d.Algorithms
	t := &transform{esn: a.ESN, icv: a.ICVLen(), align: max(a.BlockLen(), 4)}
	key := d.Encryption.Reveal()
	switch {
	case a.KeyBits == 192:
		return nil, fmt.Errorf("%w: %v", offload.ErrUnsupported, a)
	case a.Encryption == ipsec.EncrAESGCM16:
		key = key[:copyTail(t.nonce[:4], key)]
	case a.Encryption == ipsec.EncrAESCBC && a.Integrity == ipsec.AuthHMACSHA1_96:
		t.mac = hmac.New(sha1.New, d.Integrity.Reveal())
	case a.Encryption == ipsec.EncrAESCBC && a.Integrity == ipsec.AuthHMACSHA2_256_128:
		t.mac = hmac.New(sha256.New, d.Integrity.Reveal())
	default:
		return nil, fmt.Errorf("%w: %v", offload.ErrUnsupported, a)
	}
	block, err := aes.NewCipher(key)
	if err == nil && t.mac == nil {
		t.aead, err = cipher.NewGCM(block)
	}
	if err != nil {
		return nil, fmt.Errorf("make the cipher: %w", err)
	}
	t.block = block
	return t, nil
}

// copyTail copies the end of b, as much as dst holds, and returns where it
// starts.
func copyTail(dst, b []byte) int { return len(b) - copy(dst, b[len(b)-len(dst):]) }

// ivLen is the length of the explicit IV.
func (t *transform) ivLen() int {
	if t.aead != nil {
		return ivLenGCM
	}
	return t.block.BlockSize()
}

// seal appends the ESP packet of payload to dst. The caller sees to it that iv,
// of ivLen octets, fits the cipher: never used before for GCM, unpredictable
// for CBC.
func (t *transform) seal(dst []byte, spi ipsec.SPI, seq uint64, iv, payload []byte, next byte) []byte {
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, uint32(spi))
	dst = binary.BigEndian.AppendUint32(dst, uint32(seq))
	dst = append(dst, iv...)
	body := len(dst)
	dst = append(dst, payload...)
	for i := byte(1); (len(dst)-body+2)%t.align != 0; i++ {
		dst = append(dst, i) // RFC 4303 section 2.4: 1, 2, 3, ...
	}
	dst = append(dst, byte(len(dst)-body-len(payload)), next)
	if t.aead != nil {
		copy(t.nonce[4:], iv)
		return t.aead.Seal(dst[:body], t.nonce[:], dst[body:], t.additional(dst[start:], seq))
	}
	cipher.NewCBCEncrypter(t.block, iv).CryptBlocks(dst[body:], dst[body:])
	return append(dst, t.sign(dst[start:], seq)...)
}

// open decrypts packet, whose whole number is seq, in place.
func (t *transform) open(packet []byte, seq uint64) (payload []byte, next byte, err error) {
	body := headerLen + t.ivLen()
	if len(packet) < body+t.align+t.icv {
		return nil, 0, errPadding
	}
	iv, text := packet[headerLen:body], packet[body:len(packet)-t.icv]
	if t.aead != nil {
		copy(t.nonce[4:], iv)
		if text, err = t.aead.Open(text[:0], t.nonce[:], packet[body:], t.additional(packet, seq)); err != nil {
			return nil, 0, errIntegrity
		}
	} else {
		if !hmac.Equal(t.sign(packet[:len(packet)-t.icv], seq), packet[len(packet)-t.icv:]) {
			return nil, 0, errIntegrity
		}
		if len(text)%t.block.BlockSize() != 0 {
			return nil, 0, errPadding
		}
		cipher.NewCBCDecrypter(t.block, iv).CryptBlocks(text, text)
	}
	return unpad(text)
}

// unpad checks the padding, as RFC 4303 section 2.4 advises.
func unpad(text []byte) (payload []byte, next byte, err error) {
	if len(text) < 2 {
		return nil, 0, errPadding
	}
	n, next := int(text[len(text)-2]), text[len(text)-1]
	end := len(text) - 2 - n
	if end < 0 {
		return nil, 0, errPadding
	}
	for i, b := range text[end : len(text)-2] {
		if b != byte(i+1) {
			return nil, 0, errPadding
		}
	}
	return text[:end], next, nil
}

// additional is what GCM authenticates beside the payload: the SPI, and the
// sequence number as wide as it is (RFC 4106 section 5).
func (t *transform) additional(packet []byte, seq uint64) []byte {
	if !t.esn {
		return append(t.aad[:0], packet[:headerLen]...)
	}
	return binary.BigEndian.AppendUint64(append(t.aad[:0], packet[:4]...), seq)
}

// sign returns the ICV of a packet without one. With ESN the upper half of the
// number counts as if it stood behind the packet (RFC 4303 section 2.2.1).
func (t *transform) sign(packet []byte, seq uint64) []byte {
	t.mac.Reset()
	t.mac.Write(packet)
	if t.esn {
		t.mac.Write(binary.BigEndian.AppendUint32(t.aad[:0], uint32(seq>>32)))
	}
	return t.mac.Sum(t.sum[:0])[:t.icv]
}
