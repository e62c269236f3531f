package wire_test

import (
	"testing"

	"github.com/evergate/evergate/ike/wire"
)

// BenchmarkParseHeader is what every datagram costs before anything is known of
// its sender.
func BenchmarkParseHeader(b *testing.B) {
	d := firstDatagram(b)
	b.ReportAllocs()
	b.SetBytes(int64(len(d)))
	for b.Loop() {
		if _, err := wire.ParseHeader(d); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecode reads strongSwan's IKE_SA_INIT request.
func BenchmarkDecode(b *testing.B) {
	d := firstDatagram(b)
	b.ReportAllocs()
	b.SetBytes(int64(len(d)))
	for b.Loop() {
		if _, err := wire.Decode(d); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppend writes the same request.
func BenchmarkAppend(b *testing.B) {
	msg, err := wire.Decode(firstDatagram(b))
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, wire.MaxMessage)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := msg.Append(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSeal writes and encrypts an IKE_AUTH request.
func BenchmarkSeal(b *testing.B) {
	for _, name := range sealed {
		b.Run(name, func(b *testing.B) {
			s, _ := protectors(b, name)
			m := auth()
			buf := make([]byte, 0, wire.MaxMessage)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Seal(buf, s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpen decrypts and reads an IKE_AUTH request.
func BenchmarkOpen(b *testing.B) {
	for _, name := range sealed {
		b.Run(name, func(b *testing.B) {
			s, o := protectors(b, name)
			m := auth()
			d, err := m.Seal(nil, s)
			if err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, len(d))
			b.ReportAllocs()
			for b.Loop() {
				copy(buf, d)
				msg, err := wire.Decode(buf)
				if err != nil {
					b.Fatal(err)
				}
				sk := wire.Find[*wire.SK](msg.Payloads)
				plain, err := sk.Open(o)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := wire.DecodePayloads(sk.First, plain); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
