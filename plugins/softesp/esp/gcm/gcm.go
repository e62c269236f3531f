package gcm

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
)

const (
	nonceLen = 12
	block    = aes.BlockSize

	// maxText is the longest plaintext.
	//
	// "len(P) <= 2^39-256" (bits). SP 800-38D section 5.2.1.1.
	maxText = 1<<36 - 32
)

// errTag says that a packet is not what was sealed. Callers know which it was.
var errTag = errors.New("gcm: wrong tag")

// New makes AES-GCM with a key of 16, 24 or 32 octets, nonces of 12 and tags of 8,
// 12 or 16 (RFC 4106 section 6). The key is copied. It is for one goroutine, and
// allocates nothing for a packet in place.
func New(key []byte, tagLen int) (cipher.AEAD, error) {
	switch tagLen {
	case 8, 12, 16:
	default:
		return nil, fmt.Errorf("gcm: no tags of %d octets, only of 8, 12 and 16", tagLen)
	}
	switch len(key) {
	case 16, 24, 32:
	default:
		return nil, fmt.Errorf("gcm: no keys of %d octets, only of 16, 24 and 32", len(key))
	}
	if hasVector() {
		return newVector(key, tagLen), nil
	}
	return newStandard(key, tagLen)
}
