package ipsec_test

import (
	"cmp"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/evergate/evergate/core/ipsec"
)

func TestSPICarriesItsMember(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := ipsec.MemberID(rapid.IntRange(0, ipsec.MaxMembers-1).Draw(t, "member"))
		s := ipsec.NewSPI(m, rapid.Uint32().Draw(t, "random"))
		if s.Member() != m || s < ipsec.MinSPI {
			t.Fatalf("Member %d got SPI %v, which belongs to %d.", m, s, s.Member())
		}
		i := ipsec.NewIKESPI(m, rapid.Uint64().Draw(t, "random"))
		if i.Member() != m || i == 0 {
			t.Fatalf("Member %d got IKE SPI %v, which belongs to %d.", m, i, i.Member())
		}
	})
}

// RFC 4303 section 2.1 reserves 1 to 255 and 0; RFC 7296 section 3.1 zero.
func TestReservedSPIsAreAvoided(t *testing.T) {
	for random := range uint32(600) {
		if s := ipsec.NewSPI(0, random); s < 256 {
			t.Fatalf("Random number %d made the reserved SPI %v.", random, s)
		}
	}
	if s := ipsec.NewSPI(0, 0xf0000000); s != 256 {
		t.Errorf("The member bits of the random number got into SPI %v.", s)
	}
	if s := ipsec.NewIKESPI(0, 0xf000000000000000); s != 1 {
		t.Errorf("The member bits of the random number got into IKE SPI %v.", s)
	}
}

func TestIdentifiersPrint(t *testing.T) {
	id := ipsec.SAID{SPI: 0xc0a80001, Dst: netip.MustParseAddr("192.0.2.1"), Proto: ipsec.ESP}
	for want, got := range map[string]string{
		"c0a80001@192.0.2.1/esp":          id.String(),
		"00000100@2001:db8::1/ah":         ipsec.SAID{SPI: 256, Dst: netip.MustParseAddr("2001:db8::1"), Proto: ipsec.AH}.String(),
		"00000100@[2001:db8::1]:1024/esp": ipsec.SAID{SPI: 256, Dst: netip.MustParseAddr("2001:db8::1"), Proto: ipsec.ESP, Port: 1024}.String(),
		"00000000000000ff":                ipsec.IKESPI(255).String(),
		"f000000000000001":                ipsec.TunnelID(0xf000000000000001).String(),
		"in":                              ipsec.Inbound.String(),
		"out":                             ipsec.Outbound.String(),
		"direction(0)":                    ipsec.Direction(0).String(),
		"tunnel":                          ipsec.Mode(0).String(),
		"transport":                       ipsec.Transport.String(),
	} {
		if got != want {
			t.Errorf("%q should be %q.", got, want)
		}
	}
}

func TestNamesOfSAsAreOrdered(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	ordered := []ipsec.SAID{
		{SPI: 1, Dst: a, Proto: ipsec.ESP},
		{SPI: 1, Dst: a, Proto: ipsec.ESP, Port: 1024},
		{SPI: 1, Dst: a, Proto: ipsec.ESP, Port: 1025},
		{SPI: 1, Dst: a, Proto: ipsec.AH},
		{SPI: 1, Dst: b, Proto: ipsec.ESP},
		{SPI: 2, Dst: a, Proto: ipsec.ESP},
	}
	for i, id := range ordered {
		for j, o := range ordered {
			if got := id.Compare(o); got != cmp.Compare(i, j) {
				t.Errorf("%v against %v is %d, want %d.", id, o, got, cmp.Compare(i, j))
			}
		}
	}
}
