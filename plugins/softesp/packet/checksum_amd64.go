package packet

import "golang.org/x/sys/cpu"

// vectorFrom is the length from which on vectors are worth their start.
const vectorFrom = 2 * blockLen

// sumBlocks is sumWords, with the fastest means of this machine.
func sumBlocks(b []byte, s uint64) ([]byte, uint64) {
	if len(b) < vectorFrom || !cpu.X86.HasAVX2 {
		return sumWords(b, s)
	}
	whole := len(b) &^ (blockLen - 1)
	return b[whole:], addWord(s, sumVectors(b[:whole]))
}

// sumVectors adds the 32-bit words of b, whose length is a multiple of blockLen and
// not zero. It needs AVX2. The sum of up to 2^32 of them cannot overflow.
//
//go:noescape
func sumVectors(b []byte) uint64
