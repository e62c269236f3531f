package packet_test

import (
	"bytes"
	"testing"

	"github.com/evergate/evergate/plugins/softesp/packet"
)

// benchSegment is the payload of each segment of bulk traffic, and benchTrain how many
// make a super-packet, in octets and segments.
const (
	benchSegment = 1360
	benchTrain   = 44
)

// bulk is consecutive segments of one connection.
func bulk() (segments [][]byte) {
	for i := range benchTrain {
		segments = append(segments, tcp{seq: uint32(i * benchSegment), flags: 0x10, payload: filled(benchSegment, byte(i))}.packet(host4, peer4))
	}
	return segments
}

// BenchmarkHeader is what each packet costs before anything is known of it.
func BenchmarkHeader(b *testing.B) {
	for name, p := range map[string][]byte{
		"tcp4": tcp{payload: filled(1360, 0)}.packet(host4, peer4),
		"udp6": udp(host6, peer6, filled(16, 0)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var h packet.Header
			for b.Loop() {
				if !h.Parse(p) {
					b.Fatal("The header should be understood.")
				}
			}
		})
	}
}

// BenchmarkCut takes a super-packet of the kernel apart, with all checksums.
func BenchmarkCut(b *testing.B) {
	frame := join(bulk())[0]
	work, out := make([]byte, len(frame)), make([]byte, len(frame))
	b.SetBytes(benchTrain * benchSegment)
	b.ReportAllocs()
	var s packet.Super
	for b.Loop() {
		if copy(work, frame); !s.Parse(work) || s.Count() != benchTrain {
			b.Fatalf("The frame should be %d segments, got %d.", benchTrain, s.Count())
		}
		for i := range s.Count() {
			s.Segment(out, i)
		}
	}
}

// nobody takes what a Coalescer writes.
type nobody struct{}

func (nobody) WritePacket([]byte, [][]byte) {}

// BenchmarkJoin makes super-packets of what was decrypted, with all checksums.
func BenchmarkJoin(b *testing.B) {
	good := bulk()
	work := make([][]byte, len(good))
	for i := range good {
		work[i] = bytes.Clone(good[i])
	}
	b.SetBytes(benchTrain * benchSegment)
	b.ReportAllocs()
	c := packet.NewCoalescer(nobody{})
	var h packet.Header
	for b.Loop() {
		for i := range work {
			copy(work[i], good[i][:40]) // headers change, payloads do not
			h.Parse(work[i])
			c.Add(work[i], &h)
		}
		c.Flush()
	}
}
