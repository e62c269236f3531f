package packet_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/evergate/evergate/plugins/softesp/packet"
)

// recorder keeps what a Coalescer writes, as frames.
type recorder struct{ frames [][]byte }

func (r *recorder) WritePacket(head []byte, pieces [][]byte) {
	r.frames = append(r.frames, append(bytes.Clone(head), bytes.Join(pieces, nil)...))
}

// join passes packets through a Coalescer.
func join(packets [][]byte) [][]byte {
	var r recorder
	c := packet.NewCoalescer(&r)
	c.UDP = true
	for _, p := range packets {
		var h packet.Header
		if h.Parse(p) {
			c.Add(p, &h)
		}
	}
	c.Flush()
	return r.frames
}

// cut takes frames apart again.
func cut(t interface{ Fatalf(string, ...any) }, frames [][]byte) [][]byte {
	var out [][]byte
	var s packet.Super
	for _, f := range frames {
		f = bytes.Clone(f)
		if !s.Parse(f) {
			t.Fatalf("The frame %x cannot be parsed.", f)
		}
		total := 0
		for i := range s.Count() {
			b := make([]byte, s.Largest())
			b = b[:s.Segment(b, i)]
			total += len(b)
			out = append(out, b)
		}
		if total != s.Bytes(s.Count()) {
			t.Fatalf("The segments are %d octets long, and should be %d.", total, s.Bytes(s.Count()))
		}
	}
	return out
}

// TestTrainsComeApartAsTheyWere joins random packets of a few flows and cuts the
// result: each flow must have its own packets, in their order, bit for bit. The
// identification of IPv4 alone may differ.
func TestTrainsComeApartAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var packets [][]byte
		next := make(map[uint16]uint32)
		for range rapid.IntRange(1, 60).Draw(t, "packets") {
			packets = append(packets, drawPacket(t, next))
		}
		sent, got := byFlow(packets), byFlow(cut(t, join(packets)))
		if len(sent) != len(got) {
			t.Fatalf("%d flows came out of %d.", len(got), len(sent))
		}
		for flow, want := range sent {
			if !bytes.Equal(want, got[flow]) {
				t.Fatalf("The flow %x changed on the way.", flow)
			}
		}
	})
}

// drawPacket makes a packet that mostly continues its flow.
func drawPacket(t *rapid.T, next map[uint16]uint32) []byte {
	src, dst := host4, peer4
	if rapid.Bool().Draw(t, "v6") {
		src, dst = host6, peer6
	}
	size := rapid.SampledFrom([]int{0, 1, 99, 100, 100, 100}).Draw(t, "size")
	payload := filled(size, rapid.Byte().Draw(t, "fill"))
	if rapid.IntRange(0, 4).Draw(t, "protocol") == 0 {
		return udp(src, dst, payload)
	}
	port := rapid.Uint16Range(1, 3).Draw(t, "port")
	s := tcp{
		port: port, payload: payload, seq: next[port],
		flags: rapid.SampledFrom([]byte{0x10, 0x10, 0x10, 0x18, 0x11, 0x50, 0x90}).Draw(t, "flags"),
	}
	if rapid.IntRange(0, 9).Draw(t, "gap") == 0 {
		s.seq += 7
	}
	if rapid.IntRange(0, 9).Draw(t, "options") == 0 {
		s.options = []byte{1, 1, 1, 0}
	}
	next[port] = s.seq + uint32(size)
	p := s.packet(src, dst)
	if rapid.IntRange(0, 9).Draw(t, "damage") == 0 {
		p[len(p)-1] ^= 1 // a checksum that is wrong stays so
	}
	return p
}

// byFlow puts the packets of each flow one behind the other, without what may
// change.
func byFlow(packets [][]byte) map[string][]byte {
	out := make(map[string][]byte)
	for _, p := range packets {
		p = bytes.Clone(p)
		var h packet.Header
		h.Parse(p)
		if !h.V6 {
			clear(p[4:6])
			clear(p[10:12])
		}
		ports := []byte{h.Proto, byte(h.SrcPort >> 8), byte(h.SrcPort), byte(h.DstPort >> 8), byte(h.DstPort)}
		key := string(append(append(h.Src.AsSlice(), h.Dst.AsSlice()...), ports...))
		out[key] = append(out[key], p...)
	}
	return out
}

// TestBulkTrafficMakesOneTrain: what a peer cuts from one super-packet is joined
// to one again.
func TestBulkTrafficMakesOneTrain(t *testing.T) {
	for _, ends := range [][2]netip.Addr{{host4, peer4}, {host6, peer6}} {
		var segments, datagrams [][]byte
		for i := range 40 {
			segments = append(segments, tcp{seq: uint32(i * 1300), flags: 0x10, payload: filled(1300, byte(i))}.packet(ends[0], ends[1]))
			datagrams = append(datagrams, udp(ends[0], ends[1], filled(1300, byte(i))))
		}
		if n := len(join(segments)); n != 1 {
			t.Errorf("40 consecutive segments of %v should make one train, got %d.", ends[0], n)
		}
		if n := len(join(datagrams)); n != 1 {
			t.Errorf("40 equal datagrams of %v should make one train, got %d.", ends[0], n)
		}
	}
}

// TestWhatMayNotBeJoined holds one reason each.
func TestWhatMayNotBeJoined(t *testing.T) {
	first := tcp{seq: 100, flags: 0x10, payload: filled(100, 0)}.packet(host4, peer4)
	with := func(change func([]byte)) []byte {
		p := tcp{seq: 200, flags: 0x10, payload: filled(100, 1)}.packet(host4, peer4)
		change(p)
		return fixSums(p)
	}
	for name, second := range map[string][]byte{
		"a gap in the sequence":  tcp{seq: 201, flags: 0x10, payload: filled(100, 1)}.packet(host4, peer4),
		"a longer segment":       tcp{seq: 200, flags: 0x10, payload: filled(101, 1)}.packet(host4, peer4),
		"no payload":             tcp{seq: 200, flags: 0x10}.packet(host4, peer4),
		"FIN":                    tcp{seq: 200, flags: 0x11, payload: filled(100, 1)}.packet(host4, peer4),
		"another port":           tcp{seq: 200, flags: 0x10, payload: filled(100, 1), port: 5}.packet(host4, peer4),
		"options":                tcp{seq: 200, flags: 0x10, payload: filled(100, 1), options: []byte{1, 1, 1, 0}}.packet(host4, peer4),
		"another TOS":            with(func(p []byte) { p[1] = 1 }),
		"another TTL":            with(func(p []byte) { p[8] = 63 }),
		"another window":         with(func(p []byte) { p[35]++ }),
		"another acknowledgment": with(func(p []byte) { p[31]++ }),
		"no DF":                  with(func(p []byte) { p[6] = 0 }),
		"a wrong checksum": func() []byte {
			p := with(func([]byte) {})
			p[40] ^= 1
			return p
		}(),
		"a wrong header checksum": func() []byte {
			p := with(func([]byte) {})
			p[11] ^= 1
			return p
		}(),
	} {
		if n := len(join([][]byte{first, second})); n != 2 {
			t.Errorf("%s should keep two packets apart, got %d frames.", name, n)
		}
	}
	if n := len(join([][]byte{first, with(func([]byte) {})})); n != 1 {
		t.Errorf("Without a reason they should be joined, got %d frames.", n)
	}
}

// fixSums makes the checksums of an IPv4 TCP packet right.
func fixSums(p []byte) []byte {
	clear(p[10:12])
	binary.BigEndian.PutUint16(p[10:], onesSum(p[:20]))
	clear(p[36:38])
	binary.BigEndian.PutUint16(p[36:], messageSum(host4, peer4, 6, p[20:]))
	return p
}

// TestFragmentsKeepTheirPlace: a fragment may belong to any flow, so what came
// before it goes first.
func TestFragmentsKeepTheirPlace(t *testing.T) {
	a := tcp{seq: 0, flags: 0x10, payload: filled(100, 0)}.packet(host4, peer4)
	fragment := udp(host4, peer4, filled(40, 0))
	fragment[6] = 0x20
	frames := join([][]byte{a, fragment, tcp{seq: 100, flags: 0x10, payload: filled(100, 0)}.packet(host4, peer4)})
	if len(frames) != 3 || !bytes.Equal(frames[1][packet.VnetLen:], fragment) {
		t.Errorf("The fragment should be second of three frames, got %d frames.", len(frames))
	}
}

// TestSegmentsOfATrain holds what the kernel's own segmentation does with flags,
// numbers and checksums.
func TestSegmentsOfATrain(t *testing.T) {
	whole := tcp{seq: 0xfffffff0, flags: 0x10 | 0x08 | 0x80 | 0x01, payload: filled(250, 3)}.packet(host4, peer4)
	frame := make([]byte, packet.VnetLen, packet.VnetLen+len(whole))
	frame[0], frame[1] = 1, 1|0x80 // needs a checksum; TCPv4 with ECN
	binary.LittleEndian.PutUint16(frame[4:], 100)
	binary.LittleEndian.PutUint16(frame[6:], 20)
	binary.LittleEndian.PutUint16(frame[8:], 16)
	segments := cut(t, [][]byte{append(frame, whole...)})
	if len(segments) != 3 {
		t.Fatalf("250 octets in steps of 100 should make 3 segments, got %d.", len(segments))
	}
	wantFlags := []byte{0x10 | 0x80, 0x10, 0x10 | 0x08 | 0x01}
	var payload []byte
	for i, s := range segments {
		if s[33] != wantFlags[i] {
			t.Errorf("Segment %d should have the flags %#x, got %#x.", i, wantFlags[i], s[33])
		}
		if seq := binary.BigEndian.Uint32(s[24:]); seq != 0xfffffff0+uint32(i*100) {
			t.Errorf("Segment %d has the sequence number %#x.", i, seq)
		}
		if id := binary.BigEndian.Uint16(s[4:]); id != uint16(1000+i) {
			t.Errorf("Segment %d has the identification %d.", i, id)
		}
		if onesSum(s[:20]) != 0 || messageSum(host4, peer4, 6, s[20:]) != 0 {
			t.Errorf("Segment %d has a wrong checksum.", i)
		}
		payload = append(payload, s[40:]...)
	}
	if !bytes.Equal(payload, filled(250, 3)) {
		t.Error("The payload changed on the way.")
	}
}

// TestMissingChecksumsAreCompleted: the kernel leaves the sum of the pseudo-header
// in the field.
func TestMissingChecksumsAreCompleted(t *testing.T) {
	p := udp(host4, peer4, filled(33, 1))
	want := bytes.Clone(p)
	clear(p[26:28])
	pseudo := append(host4.AsSlice(), peer4.AsSlice()...)
	pseudo = append(pseudo, 0, 17, p[24], p[25])
	binary.BigEndian.PutUint16(p[26:], ^onesSum(pseudo))
	frame := make([]byte, packet.VnetLen)
	frame[0] = 1
	binary.LittleEndian.PutUint16(frame[6:], 20)
	binary.LittleEndian.PutUint16(frame[8:], 6)
	got := cut(t, [][]byte{append(frame, p...)})
	if len(got) != 1 || !bytes.Equal(got[0], want) {
		t.Errorf("The packet should be %x, got %x.", want, got)
	}
}

func FuzzSuper(f *testing.F) {
	for _, frame := range join([][]byte{
		tcp{seq: 1, flags: 0x10, payload: filled(50, 0)}.packet(host4, peer4),
		tcp{seq: 51, flags: 0x18, payload: filled(20, 0)}.packet(host4, peer4),
		udp(host6, peer6, filled(20, 0)),
	}) {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var s packet.Super
		if len(frame) > 1<<16 || !s.Parse(frame) {
			return
		}
		b := make([]byte, s.Largest())
		for i := range min(s.Count(), 100) {
			n := s.Segment(b, i)
			if n > len(b) {
				t.Fatalf("Segment %d has %d octets, and the largest should have %d.", i, n, len(b))
			}
			if s.Count() > 1 {
				wantSummed(t, &s, b[:n])
			}
		}
	})
}

// wantSummed checks the checksums of a segment.
func wantSummed(t *testing.T, s *packet.Super, b []byte) {
	t.Helper()
	from, addrLen := 12, 4
	if s.V6 {
		from, addrLen = 8, 16
	} else if onesSum(b[:s.L4]) != 0 {
		t.Fatalf("The checksum of the IP header is wrong: %x.", b)
	}
	src, _ := netip.AddrFromSlice(b[from : from+addrLen])
	dst, _ := netip.AddrFromSlice(b[from+addrLen : from+2*addrLen])
	if messageSum(src, dst, s.Proto, b[s.L4:]) != 0 {
		t.Fatalf("The checksum of the message is wrong: %x.", b)
	}
}

func FuzzCoalescer(f *testing.F) {
	f.Add(tcp{seq: 1, flags: 0x10, payload: filled(50, 0)}.packet(host4, peer4), tcp{seq: 51, flags: 0x10, payload: filled(50, 0)}.packet(host4, peer4))
	f.Add(udp(host6, peer6, filled(20, 0)), udp(host6, peer6, filled(20, 0)))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var h packet.Header
		var packets [][]byte
		for _, p := range [][]byte{a, b} {
			if h.Parse(p) {
				packets = append(packets, p[:h.Len])
			}
		}
		want, got := byFlow(packets), byFlow(cut(t, join(packets)))
		for flow := range want {
			if !bytes.Equal(want[flow], got[flow]) {
				t.Fatalf("The flow %x changed on the way.", flow)
			}
		}
	})
}
