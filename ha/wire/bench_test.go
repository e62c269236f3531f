package wire_test

import (
	"testing"

	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ha/wire"
)

// BenchmarkFrame is one of a snapshot, with 32 tunnels, there and back.
func BenchmarkFrame(b *testing.B) {
	f := frame()
	var put []ha.Record
	for _, r := range f.Records {
		switch r.(type) {
		case ha.PutIKE, ha.PutChild:
			put = append(put, r)
		}
	}
	f.Records = nil
	for len(f.Records) < 64 {
		f.Records = append(f.Records, put...)
	}
	octets, err := wire.Marshal(f)
	if err != nil {
		b.Fatalf("The frame cannot be encoded: %v.", err)
	}
	b.Run("Marshal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := wire.Marshal(f); err != nil {
				b.Fatalf("The frame cannot be encoded: %v.", err)
			}
		}
	})
	b.Run("Unmarshal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := wire.Unmarshal(octets); err != nil {
				b.Fatalf("The frame cannot be decoded: %v.", err)
			}
		}
	})
}
