package ipsec_test

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/evergate/evergate/core/ipsec"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// ports builds a selector of 10.1.0.0/16.
func ports(proto uint8, from, to uint16) ipsec.TrafficSelector {
	s := ipsec.SelectorOf(netip.MustParsePrefix("10.1.0.0/16"))
	s.Proto, s.PortMin, s.PortMax = proto, from, to
	return s
}

// address draws from a small world of two families, so that selectors meet, and
// from its edges.
func address(t *rapid.T, ipv6 bool, label string) netip.Addr {
	b := make([]byte, 4)
	if ipv6 {
		b = make([]byte, 16)
	}
	fill := rapid.SampledFrom([]byte{0, 0, 0, 0xff}).Draw(t, label+" edge")
	for i := range b {
		b[i] = fill
	}
	b[len(b)-1] = rapid.Byte().Draw(t, label)
	a, _ := netip.AddrFromSlice(b)
	return a
}

func selector(t *rapid.T, label string) ipsec.TrafficSelector {
	ipv6 := rapid.Bool().Draw(t, label+" ipv6")
	s := ipsec.TrafficSelector{
		Proto: rapid.SampledFrom([]uint8{0, 0, 6, 17}).Draw(t, label+" proto"),
		Min:   address(t, ipv6, label+" from"), Max: address(t, ipv6, label+" to"),
	}
	if s.Max.Less(s.Min) {
		s.Min, s.Max = s.Max, s.Min
	}
	switch rapid.IntRange(0, 3).Draw(t, label+" ports") {
	case 0:
		s.PortMin, s.PortMax = 65535, 0 // OPAQUE
	case 1:
		s.PortMin, s.PortMax = 0, 65535
	default:
		a, b := rapid.Uint16Range(0, 9).Draw(t, label+" port"), rapid.Uint16Range(0, 9).Draw(t, label+" port")
		s.PortMin, s.PortMax = min(a, b), max(a, b)
	}
	return s
}

type packet struct {
	addr    netip.Addr
	proto   uint8
	port    uint16
	hasPort bool
}

func in(s ipsec.TrafficSelector, p packet) bool {
	return s.ContainsPacket(p.addr, p.proto, p.port, p.hasPort)
}

func drawPacket(t *rapid.T) packet {
	return packet{
		address(t, rapid.Bool().Draw(t, "packet ipv6"), "packet"), rapid.SampledFrom([]uint8{1, 6, 17}).Draw(t, "packet proto"),
		rapid.Uint16Range(0, 10).Draw(t, "packet port"), rapid.Bool().Draw(t, "packet has a port"),
	}
}

func TestSelectorAlgebra(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c, p := selector(t, "a"), selector(t, "b"), selector(t, "c"), drawPacket(t)
		for _, s := range []ipsec.TrafficSelector{a, b, c} {
			if err := s.Validate(); err != nil {
				t.Fatalf("The test's own selector is invalid: %v.", err)
			}
		}
		ab, ok := a.Intersect(b)
		ba, again := b.Intersect(a)
		if ok != again || ab != ba {
			t.Fatalf("a and b have %v in common, b and a %v.", ab, ba)
		}
		if both := in(a, p) && in(b, p); both != (ok && in(ab, p)) {
			t.Fatalf("The packet is in a and b: %v; but in what they have in common, %v: %v.", both, ab, !both)
		}
		if self, ok := a.Intersect(a); !ok || self != a || !a.Contains(a) {
			t.Fatalf("a has %v in common with itself.", self)
		}
		if ok && (!a.Contains(ab) || !b.Contains(ab) || ab.Validate() != nil) {
			t.Fatalf("%v is common to a and b, but not contained in both.", ab)
		}
		if a.Contains(b) && in(b, p) && !in(a, p) {
			t.Fatal("a contains b, but not a packet of b.")
		}
		if a.Contains(b) && b.Contains(a) && a != b {
			t.Fatal("a and b contain each other, but differ.")
		}
		if a.Contains(b) && b.Contains(c) && !a.Contains(c) {
			t.Fatal("a contains b contains c, but a does not contain c.")
		}
		left, okLeft := ipsec.TrafficSelector{}, false
		if ok {
			left, okLeft = ab.Intersect(c)
		}
		right, okRight := ipsec.TrafficSelector{}, false
		if bc, ok := b.Intersect(c); ok {
			right, okRight = a.Intersect(bc)
		}
		if okLeft != okRight || left != right {
			t.Fatalf("(a and b) and c is %v, a and (b and c) is %v.", left, right)
		}
	})
}

func TestPrefixesCoverExactlyTheRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := selector(t, "range")
		next := s.Min
		var last netip.Prefix
		for _, p := range s.Prefixes() {
			if p.Addr() != next || p.Masked() != p {
				t.Fatalf("%v: prefix %v should start at %v.", s, p, next)
			}
			if last.IsValid() && last.Bits() == p.Bits() && netip.PrefixFrom(last.Addr(), p.Bits()-1).Contains(p.Addr()) &&
				netip.PrefixFrom(last.Addr(), p.Bits()-1).Masked().Addr() == last.Addr() {
				t.Fatalf("%v: %v and %v could be one prefix.", s, last, p)
			}
			last, next = p, ipsec.SelectorOf(p).Max.Next()
		}
		if got := ipsec.SelectorOf(last).Max; got != s.Max {
			t.Fatalf("%v: the last prefix ends at %v.", s, got)
		}
	})
}

func TestPrefixes(t *testing.T) {
	for want, s := range map[string]ipsec.TrafficSelector{
		"[0.0.0.0/0]": ipsec.AnySelector(false),
		"[::/0]":      ipsec.AnySelector(true),
		"[10.0.0.1/32 10.0.0.2/31 10.0.0.4/30 10.0.0.8/32]": {PortMax: 65535, Min: addr("10.0.0.1"), Max: addr("10.0.0.8")},
		"[255.255.255.255/32]":                              {PortMax: 65535, Min: addr("255.255.255.255"), Max: addr("255.255.255.255")},
		"[]":                                                {},
	} {
		if got := fmt.Sprint(s.Prefixes()); got != want {
			t.Errorf("%v has the prefixes %s, want %s.", s, got, want)
		}
	}
	all := ipsec.TrafficSelector{PortMax: 65535, Min: addr("::1"), Max: addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe")}
	if n := len(all.Prefixes()); n != 2*127 {
		t.Errorf("The worst IPv6 range has %d prefixes, want 254.", n)
	}
}

func TestSelectorOfAPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := address(t, rapid.Bool().Draw(t, "ipv6"), "address")
		p := netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
		if got := ipsec.SelectorOf(p).Prefixes(); len(got) != 1 || got[0] != p.Masked() {
			t.Fatalf("%v came back as %v.", p, got)
		}
	})
	if s := ipsec.SelectorOf(netip.Prefix{}); s != (ipsec.TrafficSelector{}) {
		t.Errorf("No prefix at all became %v.", s)
	}
}

func TestZeroSelectorSelectsNothing(t *testing.T) {
	var zero ipsec.TrafficSelector
	for _, s := range []ipsec.TrafficSelector{zero, ipsec.AnySelector(false), ipsec.AnySelector(true)} {
		if _, ok := zero.Intersect(s); ok {
			t.Errorf("Nothing has something in common with %v.", s)
		}
		if _, ok := s.Intersect(zero); ok {
			t.Errorf("%v has something in common with nothing.", s)
		}
		if zero.Contains(s) || s.Contains(zero) {
			t.Errorf("Nothing and %v contain each other.", s)
		}
	}
	for _, a := range []netip.Addr{{}, addr("0.0.0.0"), addr("::")} {
		if zero.ContainsPacket(a, 6, 80, true) || ipsec.AnySelector(true).ContainsPacket(netip.Addr{}, 6, 80, true) {
			t.Errorf("A packet of %v was selected by nothing, or one of nothing by all.", a)
		}
	}
}

// RFC 4301 section 4.4.1.1: OPAQUE is for what has no visible ports, ANY covers
// it.
func TestPortsOfPackets(t *testing.T) {
	const tcp = 6
	for _, c := range []struct {
		what string
		s    ipsec.TrafficSelector
		p    packet
		want bool
	}{
		{"any port takes a port", ports(tcp, 0, 65535), packet{addr("10.1.2.3"), tcp, 80, true}, true},
		{"any port takes a fragment", ports(tcp, 0, 65535), packet{addr("10.1.2.3"), tcp, 0, false}, true},
		{"a port refuses a fragment", ports(tcp, 80, 80), packet{addr("10.1.2.3"), tcp, 0, false}, false},
		{"a range that is not all refuses a fragment", ports(tcp, 0, 65534), packet{addr("10.1.2.3"), tcp, 0, false}, false},
		{"opaque takes a fragment", ports(tcp, 65535, 0), packet{addr("10.1.2.3"), tcp, 0, false}, true},
		{"opaque refuses a port", ports(tcp, 65535, 0), packet{addr("10.1.2.3"), tcp, 65535, true}, false},
		{"another protocol", ports(17, 0, 65535), packet{addr("10.1.2.3"), tcp, 80, true}, false},
		{"ICMP type 8 code 0", ports(1, 0x0800, 0x08ff), packet{addr("10.1.2.3"), 1, 0x0800, true}, true},
		{"another ICMP type", ports(1, 0x0800, 0x08ff), packet{addr("10.1.2.3"), 1, 0x0000, true}, false},
		{"beside the addresses", ports(tcp, 0, 65535), packet{addr("10.2.0.0"), tcp, 80, true}, false},
		{"another family", ports(tcp, 0, 65535), packet{addr("::ffff:10.1.2.3"), tcp, 80, true}, false},
	} {
		if got := in(c.s, c.p); got != c.want {
			t.Errorf("%s: %v selects %+v: %v.", c.what, c.s, c.p, got)
		}
	}
}

func TestValidate(t *testing.T) {
	any4 := ipsec.AnySelector(false)
	with := func(change func(*ipsec.TrafficSelector)) ipsec.TrafficSelector { s := any4; change(&s); return s }
	for what, s := range map[string]ipsec.TrafficSelector{
		"nothing":          {},
		"no end":           with(func(s *ipsec.TrafficSelector) { s.Max = netip.Addr{} }),
		"two families":     with(func(s *ipsec.TrafficSelector) { s.Max = addr("::1") }),
		"a range reversed": with(func(s *ipsec.TrafficSelector) { s.Min, s.Max = s.Max, s.Min }),
		"ports reversed":   with(func(s *ipsec.TrafficSelector) { s.PortMin, s.PortMax = 2, 1 }),
		"a zone":           {PortMax: 65535, Min: addr("fe80::1%eth0"), Max: addr("fe80::2%eth0")},
	} {
		if s.Validate() == nil {
			t.Errorf("A selector with %s is valid.", what)
		}
	}
}

func TestSelectorPrintsAsFortiOSDoes(t *testing.T) { // F19
	for want, s := range map[string]ipsec.TrafficSelector{
		"0:0.0.0.0-255.255.255.255:0":    ipsec.AnySelector(false),
		"0:10.10.1.0-10.10.1.255:0":      ipsec.SelectorOf(netip.MustParsePrefix("10.10.1.0/24")),
		"6:10.1.0.0-10.1.255.255:443":    ports(6, 443, 443),
		"17:10.1.0.0-10.1.255.255:1-9":   ports(17, 1, 9),
		"6:10.1.0.0-10.1.255.255:opaque": ports(6, 65535, 0),
	} {
		if s.String() != want {
			t.Errorf("The selector prints as %q, want %q.", s, want)
		}
	}
}

func TestSelectorsContain(t *testing.T) {
	wide := ipsec.Selectors{Local: []ipsec.TrafficSelector{ports(0, 0, 65535)}, Remote: []ipsec.TrafficSelector{ipsec.AnySelector(false), ipsec.AnySelector(true)}}
	narrow := ipsec.Selectors{Local: []ipsec.TrafficSelector{ports(6, 80, 80)}, Remote: []ipsec.TrafficSelector{ports(6, 0, 65535)}}
	if !wide.Contains(narrow) || !wide.Contains(wide) {
		t.Error("Wide selectors do not contain narrow ones.")
	}
	if narrow.Contains(wide) {
		t.Error("Narrow selectors contain wide ones.")
	}
}
