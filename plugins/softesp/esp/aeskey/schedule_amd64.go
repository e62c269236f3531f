package aeskey

import (
	"encoding/binary"
	"math/bits"
)

// Block is the length of a block and of a round key.
const Block = 16

// Schedule is the round keys of one key in the order of their use. It is secret.
type Schedule struct {
	Keys   [15][Block]byte
	Rounds int // 10, 12 or 14: one less than there are keys
}

// Expand makes the schedule of a key of 16, 24 or 32 octets (FIPS 197 section
// 5.2). The processor must have the AES and AVX instructions.
func (k *Schedule) Expand(key []byte) {
	n := len(key) / 4
	k.Rounds = n + 6
	for i := range n {
		copy(k.word(i), key[4*i:])
	}
	rcon := uint32(1)
	for i := n; i < 4*(k.Rounds+1); i++ {
		last := binary.LittleEndian.Uint32(k.word(i - 1))
		switch {
		case i%n == 0:
			last = bits.RotateLeft32(subWord(last), -8) ^ rcon
			rcon = rcon<<1 ^ rcon>>7*0x11b
		case n > 6 && i%n == 4:
			last = subWord(last)
		}
		binary.LittleEndian.PutUint32(k.word(i), binary.LittleEndian.Uint32(k.word(i-n))^last)
	}
}

// word is word i of the keys. As a number its first octet is the lowest one here.
func (k *Schedule) word(i int) []byte { return k.Keys[i/4][i%4*4:][:4] }

// Invert makes the schedule of the equivalent inverse cipher of e (FIPS 197 section
// 5.3.5).
func (k *Schedule) Invert(e *Schedule) {
	k.Rounds = e.Rounds
	for i := range k.Rounds + 1 {
		k.Keys[i] = e.Keys[k.Rounds-i]
		if i > 0 && i < k.Rounds {
			inverseMix(&k.Keys[i])
		}
	}
}

// subWord applies the S-box to each octet of w.
//
//go:noescape
func subWord(w uint32) uint32

// inverseMix applies InvMixColumns to a round key.
//
//go:noescape
func inverseMix(key *[Block]byte)
