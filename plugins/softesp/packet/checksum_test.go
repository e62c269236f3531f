package packet

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// slowSum adds 16-bit words one by one, as RFC 1071 section 4.1 has it.
func slowSum(b []byte) uint16 {
	var s uint32
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
		s = s>>16 + s&0xffff
	}
	if len(b) > 0 {
		s += uint32(b[0]) << 8
	}
	return uint16(s>>16 + s&0xffff)
}

// TestSumsOfAllLengths: however many octets there are, wherever they begin, in
// words and in vectors, the sum is that of RFC 1071.
func TestSumsOfAllLengths(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1071, 768))
	b := make([]byte, 3*blockLen+16)
	for n := range len(b) - 8 {
		for i := range b {
			b[i] = byte(rnd.UintN(256))
		}
		b := b[n%8:][:n]
		rest, words := sumWords(b, 0)
		if n >= 4 && n%5 == 0 {
			for i := range b {
				b[i] = 0xff // all carries
			}
			rest, words = sumWords(b, 0)
		}
		want := slowSum(b)
		if got := fold(sum(b, 0)); got != want {
			t.Fatalf("The sum of %d octets is %#x, want %#x.", n, got, want)
		}
		if got := fold(sum(rest, words)); got != want {
			t.Fatalf("The sum of %d octets in words is %#x, want %#x.", n, got, want)
		}
	}
	if got := fold(sum(make([]byte, 1<<16), 0)); got != 0 {
		t.Errorf("The sum of zeros is %#x.", got)
	}
}

// TestSumsGoOn: a running sum that is about to overflow carries.
func TestSumsGoOn(t *testing.T) {
	b := make([]byte, 5*blockLen+3)
	for i := range b {
		b[i] = byte(i * 7)
	}
	const before = ^uint64(0) // all ones stand for zero
	if got, want := fold(sum(b, before)), slowSum(b); got != want {
		t.Errorf("Upon all ones the sum is %#x, want %#x.", got, want)
	}
}

// FuzzSum compares with adding words one by one.
func FuzzSum(f *testing.F) {
	f.Add([]byte("evergate"))
	f.Add(make([]byte, 2*blockLen))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := fold(sum(b, 0)), slowSum(b); got != want {
			t.Errorf("The sum is %#x, want %#x.", got, want)
		}
	})
}

func BenchmarkSum(b *testing.B) {
	for name, add := range map[string]func([]byte, uint64) uint64{
		"words":   func(p []byte, s uint64) uint64 { _, s = sumWords(p, s); return s },
		"vectors": sum,
	} {
		b.Run(name, func(b *testing.B) {
			p := make([]byte, 1386)
			b.SetBytes(int64(len(p)))
			var s uint64
			for b.Loop() {
				s = add(p, s)
			}
		})
	}
}
