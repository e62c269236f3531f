package gcm

import (
	"fmt"
	"testing"
)

// BenchmarkSeal compares both implementations with header and tag as ESP has them.
func BenchmarkSeal(b *testing.B) {
	for _, impl := range implementations(b) {
		for _, n := range []int{64, 512, 1420, 8192} {
			b.Run(fmt.Sprintf("%s/%d", impl.name, n), func(b *testing.B) {
				a := impl.make(b, make([]byte, 16), 16)
				nonce, p := make([]byte, nonceLen), make([]byte, n+a.Overhead())
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					a.Seal(p[:0], nonce, p[:n], nonce[:8])
				}
			})
		}
	}
}

// BenchmarkOpen opens one packet again and again, into another buffer.
func BenchmarkOpen(b *testing.B) {
	for _, impl := range implementations(b) {
		for _, n := range []int{64, 512, 1420, 8192} {
			b.Run(fmt.Sprintf("%s/%d", impl.name, n), func(b *testing.B) {
				a := impl.make(b, make([]byte, 16), 16)
				nonce, p := make([]byte, nonceLen), make([]byte, n)
				sealed := a.Seal(nil, nonce, p, nonce[:8])
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := a.Open(p[:0], nonce, sealed, nonce[:8]); err != nil {
						b.Fatalf("The packet should open: %v.", err)
					}
				}
			})
		}
	}
}

// BenchmarkNew is what the first packet of an SA pays for.
func BenchmarkNew(b *testing.B) {
	for _, impl := range implementations(b) {
		b.Run(impl.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				impl.make(b, make([]byte, 16), 16)
			}
		})
	}
}
