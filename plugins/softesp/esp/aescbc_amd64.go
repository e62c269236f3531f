package esp

import (
	"golang.org/x/sys/cpu"

	"github.com/evergate/evergate/plugins/softesp/esp/aeskey"
)

// The standard library takes AES-CBC block by block through its processor-neutral
// code. Here the processor's AES instructions take the whole packet: to encrypt
// without a detour between two blocks, and to decrypt eight of them at once, as
// no block needs the plaintext of the one before.

// aesBlock is the length of a block.
const aesBlock = aeskey.Block

// hasFastCBC tells whether this processor has what newFastCBC needs.
func hasFastCBC() bool { return cpu.X86.HasAES && cpu.X86.HasAVX }

// newFastCBC makes both directions for a key of 16, 24 or 32 octets.
func newFastCBC(key []byte) (enc, dec settable) {
	var e, d aeskey.Schedule
	e.Expand(key)
	d.Invert(&e)
	return &cbcEncrypter{fastCBC{Schedule: e}}, &cbcDecrypter{fastCBC{Schedule: d}}
}

// fastCBC is what both directions have.
type fastCBC struct {
	aeskey.Schedule
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
		encryptCBC(&m.Keys, m.Rounds, &m.iv, &dst[0], n)
	}
}

type cbcDecrypter struct{ fastCBC }

// CryptBlocks is part of cipher.BlockMode.
func (m *cbcDecrypter) CryptBlocks(dst, src []byte) {
	if n := copy(dst, src) / aesBlock; n > 0 {
		decryptCBC(&m.Keys, m.Rounds, &m.iv, &dst[0], n)
	}
}

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
