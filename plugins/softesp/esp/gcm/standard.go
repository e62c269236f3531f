package gcm

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"fmt"
)

// minTag is the shortest tag that the standard library makes.
const minTag = 12

// newStandard makes that of the standard library.
func newStandard(key []byte, tagLen int) (cipher.AEAD, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("gcm: %w", err)
	}
	if tagLen >= minTag {
		return cipher.NewGCMWithTagSize(b, tagLen)
	}
	full, err := cipher.NewGCM(b)
	if err != nil {
		return nil, fmt.Errorf("gcm: %w", err)
	}
	return &shortTag{AEAD: full, tag: tagLen}, nil
}

// shortTag is AES-GCM with a tag that the standard library finds too short:
// AES-GCM-8 of RFC 4106. It lets the library make the full tag, and cuts it.
type shortTag struct {
	cipher.AEAD
	tag         int
	plain, made []byte
}

// Overhead is part of cipher.AEAD.
func (s *shortTag) Overhead() int { return s.tag }

// Seal is part of cipher.AEAD.
func (s *shortTag) Seal(dst, nonce, plaintext, additional []byte) []byte {
	s.made = s.AEAD.Seal(s.made[:0], nonce, plaintext, additional)
	return append(dst, s.made[:len(plaintext)+s.tag]...)
}

// Open is part of cipher.AEAD. It encrypts the ciphertext, which yields the
// plaintext in a counter mode, and that again, which yields the tag.
func (s *shortTag) Open(dst, nonce, ciphertext, additional []byte) ([]byte, error) {
	n := len(ciphertext) - s.tag
	if n < 0 {
		return nil, errTag
	}
	s.plain = s.AEAD.Seal(s.plain[:0], nonce, ciphertext[:n], additional)[:n]
	s.made = s.AEAD.Seal(s.made[:0], nonce, s.plain, additional)
	if subtle.ConstantTimeCompare(s.made[n:n+s.tag], ciphertext[n:]) != 1 {
		return nil, errTag
	}
	return append(dst, s.plain...), nil
}
