package gcm

import (
	"crypto/cipher"
	"crypto/subtle"
	"slices"
	"unsafe"

	"golang.org/x/sys/cpu"

	"github.com/evergate/evergate/plugins/softesp/esp/aeskey"
)

// keys is what stays of a key; the assembly knows where things lie. Round keys
// follow the powers on purpose: steps of less than 16 blocks read past H^1.
type keys struct {
	powers [17][block]byte //nolint:unused // H^17 to H^1: only the assembly uses them
	aes    aeskey.Schedule
}

// vector is AES-GCM with four blocks per instruction.
type vector struct {
	keys
	tag int
}

// hasVector tells whether processor and operating system have what newVector needs.
func hasVector() bool {
	x := &cpu.X86
	return x.HasAVX512F && x.HasAVX512BW && x.HasAVX512VL && x.HasAVX512VAES && x.HasAVX512VPCLMULQDQ &&
		x.HasAES && x.HasBMI2
}

// newVector takes a key of 16, 24 or 32 octets.
func newVector(key []byte, tagLen int) cipher.AEAD {
	v := &vector{tag: tagLen}
	v.aes.Expand(key)
	derive(&v.keys)
	return v
}

// NonceSize is part of cipher.AEAD.
func (v *vector) NonceSize() int { return nonceLen }

// Overhead is part of cipher.AEAD.
func (v *vector) Overhead() int { return v.tag }

// Seal is part of cipher.AEAD.
func (v *vector) Seal(dst, nonce, plaintext, additional []byte) []byte {
	if uint64(len(plaintext)) > maxText {
		panic("gcm: the plaintext is too long")
	}
	n := len(plaintext)
	all := slices.Grow(dst, n+v.tag)[:len(dst)+n+v.tag]
	out := all[len(dst):]
	v.mustFit(out, plaintext, nonce, additional)
	if v.tag == block { // as it is nearly always
		seal(&v.keys, (*[nonceLen]byte)(nonce), first(out), first(plaintext), n,
			first(additional), len(additional), (*[block]byte)(out[n:]))
		return all
	}
	var tag [block]byte
	seal(&v.keys, (*[nonceLen]byte)(nonce), first(out), first(plaintext), n,
		first(additional), len(additional), &tag)
	copy(out[n:], tag[:])
	return all
}

// Open is part of cipher.AEAD. What it has decrypted of a forged packet is zero
// when it returns.
func (v *vector) Open(dst, nonce, ciphertext, additional []byte) ([]byte, error) {
	n := len(ciphertext) - v.tag
	if n < 0 || uint64(n) > maxText {
		return nil, errTag
	}
	all := slices.Grow(dst, n)[:len(dst)+n]
	out := all[len(dst):]
	v.mustFit(out, ciphertext, nonce, additional)
	var tag [block]byte
	open(&v.keys, (*[nonceLen]byte)(nonce), first(out), first(ciphertext), n,
		first(additional), len(additional), &tag)
	if subtle.ConstantTimeCompare(tag[:v.tag], ciphertext[n:]) != 1 {
		clear(out)
		return nil, errTag
	}
	return all, nil
}

// mustFit holds the caller to the contract of cipher.AEAD.
func (v *vector) mustFit(out, in, nonce, additional []byte) {
	if len(nonce) != nonceLen {
		panic("gcm: the nonce has another length")
	}
	if overlap(out, additional) || overlap(out, in) && &out[0] != &in[0] {
		panic("gcm: the output overlaps with what is read")
	}
}

// first is where b begins, also where it is empty.
func first(b []byte) *byte { return unsafe.SliceData(b) } //nolint:gosec // for assembly, which is told the length

// overlap tells whether a and b share octets.
func overlap(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	p, q := uintptr(unsafe.Pointer(&a[0])), uintptr(unsafe.Pointer(&b[0])) //nolint:gosec // compared, not followed
	return p < q+uintptr(len(b)) && q < p+uintptr(len(a))
}

// derive makes the powers of H, once the round keys are there.
//
//go:noescape
func derive(k *keys)

// seal encrypts n octets from src to dst, which are the same or do not overlap, and
// makes the tag of them and of m octets of additional data.
//
//go:noescape
func seal(k *keys, nonce *[nonceLen]byte, dst, src *byte, n int, additional *byte, m int, tag *[block]byte)

// open decrypts likewise, and makes the tag that the packet should have.
//
//go:noescape
func open(k *keys, nonce *[nonceLen]byte, dst, src *byte, n int, additional *byte, m int, tag *[block]byte)
