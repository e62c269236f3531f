package esp_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/plugins/softesp/esp"
	"github.com/evergate/evergate/plugins/softesp/esp/gcm"
)

const benchPayload = 1420

func benchedAlgorithms() []ipsec.Algorithms {
	return []ipsec.Algorithms{
		{Encryption: ipsec.EncrAESGCM16, KeyBits: 128},
		{Encryption: ipsec.EncrAESGCM8, KeyBits: 128},
		{Encryption: ipsec.EncrChaCha20Poly1305, KeyBits: 256},
		{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA1_96},
		{Encryption: ipsec.EncrAESCTR, KeyBits: 128, Integrity: ipsec.AuthHMACSHA2_256_128},
	}
}

func BenchmarkSeal(b *testing.B) {
	for _, a := range benchedAlgorithms() {
		b.Run(a.String(), func(b *testing.B) {
			c := newCipher(b, keysFor(b, a))
			p := make([]byte, c.Len(benchPayload))
			b.SetBytes(benchPayload)
			b.ReportAllocs()
			var n uint64
			for b.Loop() {
				n++
				c.Seal(p, benchPayload, 4, 1, n, n)
			}
		})
	}
}

// BenchmarkBareGCM is what BenchmarkSeal/aes128gcm would cost without ESP around
// it: the same cipher.
func BenchmarkBareGCM(b *testing.B) {
	aead, err := gcm.New(make([]byte, 16), 16)
	if err != nil {
		b.Fatalf("The mode cannot be made: %v.", err)
	}
	nonce, p := make([]byte, aead.NonceSize()), make([]byte, benchPayload, benchPayload+aead.Overhead())
	b.SetBytes(benchPayload)
	b.ReportAllocs()
	for b.Loop() {
		aead.Seal(p[:0], nonce, p, nonce[:8])
	}
}

// BenchmarkSealNextToGCM seals by turns as the two benchmarks above do, because on a
// machine with other work each run is another. It tells the median of how many times as
// long ESP takes as its cipher does alone.
func BenchmarkSealNextToGCM(b *testing.B) {
	const turn = 200 // packets
	a := benchedAlgorithms()[0]
	c := newCipher(b, keysFor(b, a))
	aead, err := gcm.New(make([]byte, 16), 16)
	if err != nil {
		b.Fatalf("The mode cannot be made: %v.", err)
	}
	p := make([]byte, c.Len(benchPayload))
	nonce, bare := make([]byte, aead.NonceSize()), make([]byte, benchPayload, benchPayload+aead.Overhead())
	var ratios []float64
	for n := uint64(0); b.Loop(); {
		began := time.Now()
		for range turn {
			aead.Seal(bare[:0], nonce, bare, nonce[:8])
		}
		between := time.Now()
		for range turn {
			n++
			c.Seal(p, benchPayload, 4, 1, n, n)
		}
		ratios = append(ratios, float64(time.Since(between))/float64(between.Sub(began)))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "x-gcm")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkOpen(b *testing.B) {
	for _, a := range benchedAlgorithms() {
		b.Run(a.String(), func(b *testing.B) {
			c := newCipher(b, keysFor(b, a))
			good := seal(c, make([]byte, benchPayload), 1, 1)
			p := bytes.Clone(good)
			b.SetBytes(benchPayload)
			b.ReportAllocs()
			for b.Loop() {
				copy(p, good)
				if _, _, err := c.Open(p, 1); err != nil {
					b.Fatalf("The packet should open: %v.", err)
				}
			}
		})
	}
}

func BenchmarkWindow(b *testing.B) {
	w := esp.NewWindow(0)
	var n uint64
	for b.Loop() {
		n++
		if seq, ok := w.Infer(uint32(n), true); !ok || !w.Fresh(seq) || !w.Accept(seq) {
			b.Fatalf("Number %d should be accepted.", n)
		}
	}
}

func BenchmarkExport(b *testing.B) {
	w := esp.NewWindow(0)
	for n := range uint64(5000) {
		w.Accept(n + 1)
	}
	for b.Loop() {
		w.Export()
	}
}

func BenchmarkImport(b *testing.B) {
	from, to := esp.NewWindow(0), esp.NewWindow(0)
	for n := range uint64(5000) {
		from.Accept(n + 1)
	}
	s := from.Export()
	for b.Loop() {
		to.Import(s)
	}
}

// TestPacketsCostNoAllocation is the rule of the packet path, for every cipher.
func TestPacketsCostNoAllocation(t *testing.T) {
	for _, a := range allAlgorithms() {
		c := newCipher(t, keysFor(t, a))
		good := seal(c, make([]byte, benchPayload), 1, 1)
		p := make([]byte, len(good)+64)
		n := testing.AllocsPerRun(100, func() {
			c.Seal(p, benchPayload, 4, 1, 7, 7)
			copy(p, good)
			if _, _, err := c.Open(p[:len(good)], 1); err != nil {
				t.Fatalf("The packet should open: %v.", err)
			}
		})
		if n != 0 {
			t.Errorf("Sealing and opening a packet with %v allocates %v times.", a, n)
		}
	}
	w := esp.NewWindow(0)
	var seq uint64
	if n := testing.AllocsPerRun(1000, func() { seq++; w.Accept(seq) }); n != 0 {
		t.Errorf("Accepting a number allocates %v times.", n)
	}
}
