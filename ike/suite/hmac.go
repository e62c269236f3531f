package suite

import (
	"crypto/sha1" //nolint:gosec // in HMAC only, which does not need collision resistance
	"crypto/sha256"
	"crypto/sha512"
)

// digest is a hash function below an HMAC. The zero digest is none.
type digest uint8

const (
	digestSHA1 digest = iota + 1
	digestSHA256
	digestSHA384
	digestSHA512
)

// size is the length of the output in octets.
func (d digest) size() int {
	switch d {
	case digestSHA1:
		return sha1.Size
	case digestSHA256:
		return sha256.Size
	case digestSHA384:
		return sha512.Size384
	case digestSHA512:
		return sha512.Size
	default:
		return 0
	}
}

// block is the length of what the function takes at a time, in octets.
func (d digest) block() int {
	if d == digestSHA384 || d == digestSHA512 {
		return sha512.BlockSize
	}
	return sha256.BlockSize // SHA-1 has the same
}

// appendSum appends the digest of data to dst. Each function is called by its name,
// so that the compiler sees that none of them keeps data.
func (d digest) appendSum(dst, data []byte) []byte {
	switch d {
	case digestSHA1:
		sum := sha1.Sum(data)
		return append(dst, sum[:]...)
	case digestSHA256:
		sum := sha256.Sum256(data)
		return append(dst, sum[:]...)
	case digestSHA384:
		sum := sha512.Sum384(data)
		return append(dst, sum[:]...)
	case digestSHA512:
		sum := sha512.Sum512(data)
		return append(dst, sum[:]...)
	default:
		return dst
	}
}

// hmacRoom is how many octets, a block included, are authenticated on the stack. Nearly
// all messages are shorter, and so is all that keys are derived from but certificates and
// the public values of the largest groups.
const hmacRoom = 1024

// appendHMAC appends an HMAC of data, which are joined, to dst.
//
// "HMAC(K, text) = H(K XOR opad, H(K XOR ipad, text))" RFC 2104 section 2.
//
// It is what crypto/hmac yields. That makes two hash states and two blocks for
// each key in the heap, five kilobytes for a handshake with twelve keys, of which most
// are for one message.
func (d digest) appendHMAC(dst, key []byte, data ...[]byte) []byte {
	const inner, outer = 0x36, 0x5c // ipad and opad
	var k [sha512.BlockSize]byte
	if len(key) > d.block() {
		// "Applications that use keys longer than B bytes will first hash the key
		// using H".
		d.appendSum(k[:0], key)
	} else {
		copy(k[:], key)
	}
	length := d.block()
	for _, part := range data {
		length += len(part)
	}
	var room [hmacRoom]byte
	text := room[:0]
	if length > len(room) {
		text = make([]byte, 0, length)
	}
	for _, b := range k[:d.block()] {
		text = append(text, b^inner)
	}
	for _, part := range data {
		text = append(text, part...)
	}
	var last [sha512.BlockSize + sha512.Size]byte
	for i, b := range k[:d.block()] {
		last[i] = b ^ outer
	}
	sum := d.appendSum(last[:d.block()], text)
	dst = d.appendSum(dst, sum)
	clear(text) // no secrets are left behind
	clear(last[:])
	clear(k[:])
	return dst
}
