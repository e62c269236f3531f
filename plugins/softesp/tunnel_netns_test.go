package softesp_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
)

// TestTunnelsCarryBothFamilies sends pings through every way of the outer packets,
// and looks at the SAs' counters: a ping alone would also succeed in plaintext.
func TestTunnelsCarryBothFamilies(t *testing.T) {
	for _, outer6 := range []bool{false, true} {
		for _, udp := range []bool{false, true} {
			t.Run(fmt.Sprintf("outer6=%v,udp=%v", outer6, udp), func(t *testing.T) {
				t.Parallel()
				a, b := newGateways(t, nil)
				atA, atB := a.connect(b, tunnelSpec{outer6: outer6, udp: udp})
				for _, to := range b.inner {
					a.ping(to.String(), 3)
				}
				// Counters follow the packets: an answer may be there before them.
				netlab.Eventually(t, patience, "six pings left through the SA and arrived through it", func() error {
					if out, in := a.counters(atA[1].ID).Packets, b.counters(atB[0].ID).Packets; out != 6 || in != 6 {
						return fmt.Errorf("%d left and %d arrived", out, in)
					}
					return nil
				})
			})
		}
	}
}

// TestCiphersCarryTraffic moves a file and large pings through every cipher.
func TestCiphersCarryTraffic(t *testing.T) {
	for _, a := range testedAlgorithms() {
		t.Run(a.String(), func(t *testing.T) {
			t.Parallel()
			here, there := newGateways(t, nil)
			here.connect(there, tunnelSpec{algorithms: a, udp: true})
			transfer(t, here, there, 0, 512<<10)
			transfer(t, there, here, 1, 512<<10)
		})
	}
}

func testedAlgorithms() []ipsec.Algorithms {
	return []ipsec.Algorithms{
		gcm128,
		{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA1_96},
		{Encryption: ipsec.EncrAESCBC, KeyBits: 256, Integrity: ipsec.AuthHMACSHA2_512_256, ESN: true},
		{Encryption: ipsec.EncrAESCTR, KeyBits: 192, Integrity: ipsec.AuthHMACSHA2_256_128},
		{Encryption: ipsec.EncrChaCha20Poly1305, ESN: true},
		{Encryption: ipsec.Encr3DES, Integrity: ipsec.AuthHMACSHA2_384_192},
		{Encryption: ipsec.EncrNull, Integrity: ipsec.AuthHMACSHA1_96},
		{Encryption: ipsec.EncrAESGCM8, KeyBits: 256, ESN: true},
		{Encryption: ipsec.EncrAESGCM12, KeyBits: 192},
	}
}

// transfer moves octets from a to b over TCP and compares digests.
func transfer(t *testing.T, a, b *gateway, family int, octets int64) {
	t.Helper()
	transferBetween(t, a, b, a.inner[family], b.inner[family], octets)
}

func transferBetween(t *testing.T, a, b *gateway, from, to netip.Addr, octets int64) {
	t.Helper()
	_, err := netlab.Transfer{From: a.ns, Source: from.String(), To: b.ns, Dest: to.String(), Bytes: octets}.Run(t.Context())
	if err != nil {
		t.Fatalf("The transfer from %v to %v should arrive whole: %v.", from, to, err)
	}
}
