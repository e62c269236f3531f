package packet_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/evergate/evergate/plugins/softesp/packet"
)

func TestChecksumIsThatOfRFC1071(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 700).Draw(t, "octets")
		if got, want := packet.Checksum(b), onesSum(b); got != want && got^want != 0xffff {
			t.Fatalf("The checksum of %x should be %#x, got %#x.", b, want, got)
		}
	})
}

func TestParse(t *testing.T) {
	extension := func(next byte, message []byte) []byte { return append([]byte{next, 0, 1, 4, 0, 0, 0, 0}, message...) }
	fragment := func(next byte, offset uint16, message []byte) []byte {
		h := []byte{next, 0, 0, 0, 0, 0, 0, 9}
		binary.BigEndian.PutUint16(h[2:], offset<<3|1)
		return append(h, message...)
	}
	ports := []byte{0x10, 0x01, 0, 53, 0, 8, 0, 0}
	for _, c := range []struct {
		name   string
		packet []byte
		want   packet.Header
	}{
		{
			"udp", udp(host4, peer4, nil),
			packet.Header{Src: host4, Dst: peer4, DF: true, Proto: 17, HasPorts: true, SrcPort: 0x1001, DstPort: 53, L4: 20, Len: 28},
		},
		{
			"udp over IPv6", udp(host6, peer6, nil),
			packet.Header{Src: host6, Dst: peer6, V6: true, DF: true, Proto: 17, HasPorts: true, SrcPort: 0x1001, DstPort: 53, L4: 40, Len: 48},
		},
		{
			"icmp: type and code stand for ports", ip(host4, peer4, 1, []byte{8, 3, 0, 0}),
			packet.Header{Src: host4, Dst: peer4, DF: true, Proto: 1, HasPorts: true, SrcPort: 0x803, DstPort: 0x803, L4: 20, Len: 24},
		},
		{
			"a protocol without ports", ip(host4, peer4, 47, []byte{1, 2, 3, 4}),
			packet.Header{Src: host4, Dst: peer4, DF: true, Proto: 47, L4: 20, Len: 24},
		},
		{
			"behind extension headers", ip(host6, peer6, 0, extension(60, extension(17, ports))),
			packet.Header{Src: host6, Dst: peer6, V6: true, DF: true, Proto: 17, HasPorts: true, SrcPort: 0x1001, DstPort: 53, L4: 56, Len: 64},
		},
		{
			"the first IPv6 fragment shows its ports", ip(host6, peer6, 44, fragment(17, 0, ports)),
			packet.Header{Src: host6, Dst: peer6, V6: true, DF: true, Fragmented: true, Proto: 17, HasPorts: true, SrcPort: 0x1001, DstPort: 53, L4: 48, Len: 56},
		},
		{
			"a later one does not", ip(host6, peer6, 44, fragment(17, 9, ports)),
			packet.Header{Src: host6, Dst: peer6, V6: true, DF: true, Fragment: true, Fragmented: true, Proto: 17, L4: 48, Len: 56},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got packet.Header
			if !got.Parse(append(c.packet, 0xee, 0xee)) || got != c.want {
				t.Errorf("The packet should read as %+v, got %+v.", c.want, got)
			}
			for n := range c.packet {
				if got.Parse(c.packet[:n]) {
					t.Errorf("The first %d of %d octets were taken for a packet.", n, len(c.packet))
				}
			}
		})
	}
}

func TestParseIPv4Fragments(t *testing.T) {
	p := udp(host4, peer4, filled(64, 0))
	var h packet.Header
	p[6] = 0x20 // more fragments
	if !h.Parse(p) || !h.Fragmented || h.Fragment || !h.HasPorts || h.DF {
		t.Errorf("A first fragment shows its ports, got %+v.", h)
	}
	p[6], p[7] = 0, 4 // offset 32
	if !h.Parse(p) || !h.Fragment || h.HasPorts {
		t.Errorf("A later fragment has none, got %+v.", h)
	}
}

// TestInnerECN is figure 4 of RFC 6040: rows are inner, columns outer fields.
func TestInnerECN(t *testing.T) {
	const drop = 0xff
	fields := [4]uint8{0b00, 0b10, 0b01, 0b11} // in the order of the figure
	want := [4][4]uint8{
		{0b00, 0b00, 0b00, drop},
		{0b10, 0b10, 0b01, 0b11},
		{0b01, 0b01, 0b01, 0b11},
		{0b11, 0b11, 0b11, 0b11},
	}
	for i, inner := range fields {
		for o, outer := range fields {
			got, ok := packet.InnerECN(0xb8|inner, 0x50|outer)
			if !ok {
				got = drop
			}
			if got != want[i][o] {
				t.Errorf("Inner %02b and outer %02b should leave %02b, got %02b.", inner, outer, want[i][o], got)
			}
		}
	}
}

func TestOuterTrafficClass(t *testing.T) {
	if got := packet.OuterTrafficClass(0xb9, false, 10); got != 0xb9 {
		t.Errorf("DSCP and ECN should be copied, got %#x.", got)
	}
	if got := packet.OuterTrafficClass(0xb9, true, 10); got != 10<<2|1 {
		t.Errorf("DSCP should be the policy's and ECN copied, got %#x.", got)
	}
}

func TestSetECN(t *testing.T) {
	for _, src := range []netip.Addr{host4, host6} {
		p := udp(src, map[bool]netip.Addr{true: peer4, false: peer6}[src.Is4()], nil)
		packet.SetECN(p, 3)
		var h packet.Header
		if !h.Parse(p) || h.TrafficClass != 3 {
			t.Errorf("The ECN field should be 3, got %#x.", h.TrafficClass)
		}
		if src.Is4() && onesSum(p[:20]) != 0 {
			t.Error("The header checksum should follow the ECN field.")
		}
	}
}

func TestTooBig(t *testing.T) {
	for _, c := range []struct {
		name     string
		packet   []byte
		src, dst netip.Addr
		typ      byte
		mtuAt    int
	}{
		{"IPv4", udp(host4, peer4, filled(1400, 0)), host4, peer4, 3, 20 + 6},
		{"IPv6", udp(host6, peer6, filled(1400, 0)), host6, peer6, 2, 40 + 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h, got packet.Header
			h.Parse(c.packet)
			b := make([]byte, packet.MaxTooBig)
			n := packet.TooBig(b, c.packet, &h, 1300)
			b = b[:n]
			if !got.Parse(b) || got.Len != n || got.Dst != c.src || got.Src != c.dst {
				t.Fatalf("The message should go back to %v from %v, got %+v.", c.src, c.dst, got)
			}
			message := b[got.L4:]
			if message[0] != c.typ || binary.BigEndian.Uint16(b[c.mtuAt:]) != 1300 {
				t.Errorf("The message should name 1300 octets, got %x.", message[:8])
			}
			if quoted := message[8:]; string(quoted) != string(c.packet[:len(quoted)]) || len(quoted) < 500 {
				t.Errorf("The message should quote the packet, got %d octets.", len(quoted))
			}
			if c.src.Is4() && (onesSum(b[:20]) != 0 || onesSum(message) != 0) {
				t.Error("The checksums should be right.")
			}
			if c.src.Is6() && messageSum(got.Src, got.Dst, 58, message) != 0 {
				t.Error("The checksum should be right.")
			}
		})
	}
}

// TestNoErrorAboutAnError holds RFC 1122 section 3.2.2 and RFC 4443 section 2.4.
func TestNoErrorAboutAnError(t *testing.T) {
	fragment := udp(host4, peer4, filled(600, 0))
	fragment[7] = 3
	for name, p := range map[string][]byte{
		"an ICMP error":         ip(host4, peer4, 1, append([]byte{3, 1, 0, 0}, filled(600, 0)...)),
		"an ICMPv6 error":       ip(host6, peer6, 58, append([]byte{1, 0, 0, 0}, filled(600, 0)...)),
		"a later fragment":      fragment,
		"a multicast packet":    udp(host4, netip.MustParseAddr("224.0.0.5"), nil),
		"a packet from nowhere": udp(netip.IPv4Unspecified(), peer4, nil),
	} {
		var h packet.Header
		h.Parse(p)
		if n := packet.TooBig(make([]byte, packet.MaxTooBig), p, &h, 1300); n != 0 {
			t.Errorf("There should be no answer to %s.", name)
		}
	}
	echo := ip(host4, peer4, 1, append([]byte{8, 0, 0, 0}, filled(600, 0)...))
	var h packet.Header
	h.Parse(echo)
	if packet.TooBig(make([]byte, packet.MaxTooBig), echo, &h, 1300) == 0 {
		t.Error("A ping should be answered.")
	}
}

func TestWriteTransport(t *testing.T) {
	for _, ends := range [][2]netip.Addr{{host4, peer4}, {host6, peer6}} {
		n := packet.TransportHeaderLen(ends[1])
		b := make([]byte, n+8)
		packet.WriteTransport(b, ends[0], ends[1], 17, 0xb9, 8)
		var h packet.Header
		if !h.Parse(b) || h.Src != ends[0] || h.Dst != ends[1] || h.Proto != 17 || h.TrafficClass != 0xb9 || h.Len != len(b) {
			t.Errorf("The header should say what it was made of, got %+v.", h)
		}
		if ends[0].Is4() && onesSum(b[:20]) != 0 {
			t.Error("The header checksum should be right.")
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(udp(host4, peer4, filled(30, 0)))
	f.Add(udp(host6, peer6, filled(30, 0)))
	f.Add(ip(host6, peer6, 44, []byte{17, 0, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h packet.Header
		if !h.Parse(b) {
			return
		}
		if h.L4 > h.Len || h.Len > len(b) {
			t.Fatalf("Of %d octets, the headers end at %d and the packet at %d.", len(b), h.L4, h.Len)
		}
		packet.TooBig(make([]byte, packet.MaxTooBig), b[:h.Len], &h, 1300)
		packet.FixTransportChecksum(b[:h.Len], &h)
	})
}
