package esp

import (
	"encoding/binary"
	"math/bits"

	"golang.org/x/sys/cpu"
)

// The standard library takes AES-CBC block by block through its processor-neutral
// code. Here the processor's AES instructions take the whole packet: to encrypt
// without a detour between two blocks, and to decrypt eight of them at once, as
// no block needs the plaintext of the one before.

// aesBlock is the length of a block and of a round key.
const aesBlock = 16

// roundKeys are those of AES in the order of their use (FIPS 197 section 5.2).
type roundKeys struct {
	keys   [15][aesBlock]byte
	rounds int // 10, 12 or 14: one less than keys
}

// hasFastCBC tells whether this processor has what newFastCBC needs.
func hasFastCBC() bool { return cpu.X86.HasAES && cpu.X86.HasAVX }

// newFastCBC makes both directions for a key of 16, 24 or 32 octets.
func newFastCBC(key []byte) (enc, dec settable) {
	var e, d roundKeys
	e.expand(key)
	d.invert(&e)
	return &cbcEncrypter{fastCBC{roundKeys: e}}, &cbcDecrypter{fastCBC{roundKeys: d}}
}

// expand is the key expansion of FIPS 197 section 5.2, on words whose first octet
// is the lowest one.
func (k *roundKeys) expand(key []byte) {
	n := len(key) / 4
	k.rounds = n + 6
	w := make([]uint32, 4*(k.rounds+1))
	for i := range n {
		w[i] = binary.LittleEndian.Uint32(key[4*i:])
	}
	rcon := uint32(1)
	for i := n; i < len(w); i++ {
		last := w[i-1]
		switch {
		case i%n == 0:
			last = bits.RotateLeft32(subWord(last), -8) ^ rcon
			rcon = rcon<<1 ^ rcon>>7*0x11b
		case n > 6 && i%n == 4:
			last = subWord(last)
		}
		w[i] = w[i-n] ^ last
	}
	for i, word := range w {
		binary.LittleEndian.PutUint32(k.keys[i/4][i%4*4:], word)
	}
	clear(w)
}

// invert makes the keys of the equivalent inverse cipher (FIPS 197 section 5.3.5).
func (k *roundKeys) invert(e *roundKeys) {
	k.rounds = e.rounds
	for i := range k.rounds + 1 {
		k.keys[i] = e.keys[k.rounds-i]
		if i > 0 && i < k.rounds {
			inverseMix(&k.keys[i])
		}
	}
}

// fastCBC is what both directions have.
type fastCBC struct {
	roundKeys
	iv [aesBlock]byte
}

// BlockSize is part of cipher.BlockMode.
func (m *fastCBC) BlockSize() int { return aesBlock }

// SetIV is part of settable.
func (m *fastCBC) SetIV(iv []byte) { m.iv = [aesBlock]byte(iv) }

type cbcEncrypter struct{ fastCBC }

// CryptBlocks is part of cipher.BlockMode.
func (m *cbcEncrypter) CryptBlocks(dst, src []byte) {
	if n := copy(dst, src) / aesBlock; n > 0 {
		encryptCBC(&m.keys, m.rounds, &m.iv, &dst[0], n)
	}
}

type cbcDecrypter struct{ fastCBC }

// CryptBlocks is part of cipher.BlockMode.
func (m *cbcDecrypter) CryptBlocks(dst, src []byte) {
	if n := copy(dst, src) / aesBlock; n > 0 {
		decryptCBC(&m.keys, m.rounds, &m.iv, &dst[0], n)
	}
}

// subWord applies the S-box to each octet of w.
//
//go:noescape
func subWord(w uint32) uint32

// inverseMix applies InvMixColumns to a round key.
//
//go:noescape
func inverseMix(key *[aesBlock]byte)

// encryptCBC encrypts n blocks from p on where they lie, n not zero. Afterwards iv
// is the last of them.
//
//go:noescape
func encryptCBC(keys *[15][aesBlock]byte, rounds int, iv *[aesBlock]byte, p *byte, n int)

// decryptCBC decrypts n blocks from p on where they lie, n not zero. Afterwards iv
// is the last of them as it was.
//
//go:noescape
func decryptCBC(keys *[15][aesBlock]byte, rounds int, iv *[aesBlock]byte, p *byte, n int)
