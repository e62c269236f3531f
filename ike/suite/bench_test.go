package suite_test

import (
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
)

// BenchmarkKE is one side of a key exchange: draw, and compute the secret.
func BenchmarkKE(b *testing.B) {
	for _, tr := range suite.Supported(ipsec.TypeKE) {
		id := ipsec.GroupID(tr.ID)
		peer := newKE(b, id, seeded(1)).Public()
		b.Run(id.String(), func(b *testing.B) {
			b.ReportAllocs()
			rand := seeded(2)
			for b.Loop() {
				if _, err := newKE(b, id, rand).Shared(peer); err != nil {
					b.Fatalf("The exchange failed: %v.", err)
				}
			}
		})
	}
}

func BenchmarkKeys(b *testing.B) {
	s := everySuite()[0]
	x := suite.Exchange{Shared: ipsec.NewKey(random(1, 32)), Ni: random(2, 32), Nr: random(3, 32), SPIi: 1, SPIr: 2}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Keys(x); err != nil {
			b.Fatalf("No keys: %v.", err)
		}
	}
}

func BenchmarkChildKeys(b *testing.B) {
	p, d := prf(b, ipsec.PRFHMACSHA2_256), ipsec.NewKey(random(1, 32))
	a, ni, nr := ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 256}, random(2, 32), random(3, 32)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.ChildKeys(d, a, ipsec.Key{}, ni, nr); err != nil {
			b.Fatalf("No keys: %v.", err)
		}
	}
}

// BenchmarkMessage seals and opens the length of an IKE_AUTH message.
func BenchmarkMessage(b *testing.B) {
	for _, s := range everySuite() {
		if s.KeyBits != 128 && s.KeyBits != 0 || s.Integrity != ipsec.AuthNone && s.Integrity != ipsec.AuthHMACSHA2_256_128 {
			continue
		}
		seal, open := pair(b, s, keysOf(b, s, 1).From(true), suite.IV{})
		msg := layout(seal, random(1, 32), random(2, 256))
		b.Run(s.String(), func(b *testing.B) {
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			for b.Loop() {
				if err := seal.Seal(msg, 32); err != nil {
					b.Fatalf("Not sealed: %v.", err)
				}
				if _, err := open.Open(msg, 32); err != nil {
					b.Fatalf("Not opened: %v.", err)
				}
			}
		})
	}
}

func BenchmarkSelect(b *testing.B) {
	ours := ike(b, []ipsec.GroupID{14, 31}, "aes256gcm-prfsha384", "aes128-sha256", "aes128-sha1")
	offered := ike(b, []ipsec.GroupID{2, 5, 14}, "3des-sha1", "aes256-sha1", "aes128-sha1")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := suite.Select(ours, offered); err != nil {
			b.Fatalf("Nothing chosen: %v.", err)
		}
	}
}
