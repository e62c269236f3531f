package softesp_test

import (
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
)

// tunnelSpec says what SAs between two gateways are like. The zero value is IPv4
// in IPv4, AES-GCM-16 with 128 bits, protocol 50, tunnel mode.
type tunnelSpec struct {
	algorithms ipsec.Algorithms
	outer6     bool
	udp        bool
	transport  bool
	number     uint32 // tells tunnels apart
	change     func(*ipsec.SA)
}

var gcm128 = ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128}

// pair returns the SAs between a and b, as each has them: inbound and outbound.
func (s tunnelSpec) pair(a, b *gateway) (atA, atB [2]ipsec.SA) {
	if s.algorithms == (ipsec.Algorithms{}) {
		s.algorithms = gcm128
	}
	ab, ba := ipsec.NewSPI(2, 0x1000+s.number), ipsec.NewSPI(1, 0x1000+s.number)
	atA = [2]ipsec.SA{s.sa(a, b, ipsec.Inbound, ba, ab), s.sa(a, b, ipsec.Outbound, ab, ba)}
	atB = [2]ipsec.SA{s.sa(b, a, ipsec.Inbound, ab, ba), s.sa(b, a, ipsec.Outbound, ba, ab)}
	return atA, atB
}

func (s tunnelSpec) sa(here, there *gateway, d ipsec.Direction, spi, pair ipsec.SPI) ipsec.SA {
	family := 0
	if s.outer6 {
		family = 1
	}
	sa := ipsec.SA{
		ID:         ipsec.SAID{SPI: spi, Dst: here.outer[family], Proto: ipsec.ESP},
		Direction:  d,
		Tunnel:     ipsec.TunnelID(here.config.Member)<<60 | ipsec.TunnelID(s.number+1),
		Pair:       pair,
		Group:      ipsec.MemberID(group),
		Sender:     here.config.Member,
		Generation: 1,
		Algorithms: s.algorithms,
		Encryption: testKey(spi, 1, s.algorithms),
		Integrity:  testKey(spi, 2, s.algorithms),
		Local:      here.outer[family],
		Remote:     there.outer[family],
		Selectors:  ipsec.Selectors{Local: hosts(here.inner[:]...), Remote: hosts(there.inner[:]...)},
	}
	if d == ipsec.Outbound {
		sa.ID.Dst = sa.Remote
	}
	if s.udp {
		sa.Encap = &ipsec.Encap{LocalPort: 4500, RemotePort: 4500}
	}
	if s.transport {
		sa.Mode = ipsec.Transport
		sa.Selectors = ipsec.Selectors{Local: hosts(sa.Local), Remote: hosts(sa.Remote)}
	}
	if s.change != nil {
		s.change(&sa)
	}
	return sa
}

// testKey makes the key of an SPI: for encryption (1) or integrity (2).
func testKey(spi ipsec.SPI, use byte, a ipsec.Algorithms) ipsec.Key {
	n, err := a.EncryptionKeyLen()
	if use == 2 {
		n, err = a.Integrity.KeyLen()
	}
	if err != nil {
		return ipsec.Key{}
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)*7 + use*31 + byte(spi) + byte(spi>>28)
	}
	return ipsec.NewKey(b)
}

func hosts(addrs ...netip.Addr) []ipsec.TrafficSelector {
	var out []ipsec.TrafficSelector
	for _, a := range addrs {
		out = append(out, ipsec.SelectorOf(netip.PrefixFrom(a, a.BitLen())))
	}
	return out
}
