package suite_test

import (
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
)

// unhex reads hexadecimal digits with any white space between them.
func unhex(t testing.TB, digits string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
	if err != nil {
		t.Fatalf("The test's own hexadecimal is spoilt: %v.", err)
	}
	return b
}

func key(t testing.TB, digits string) ipsec.Key { t.Helper(); return ipsec.NewKey(unhex(t, digits)) }

// seeded is a stream that repeats from its seed.
func seeded(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

// random returns n octets of a seeded stream.
func random(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = seeded(seed).Read(b) // never fails
	return b
}

func prf(t testing.TB, id ipsec.PRFID) suite.PRF {
	t.Helper()
	p, err := suite.NewPRF(id)
	if err != nil {
		t.Fatalf("%v is missing: %v.", id, err)
	}
	return p
}

// everySuite returns all combinations of encryption and integrity that can
// protect an IKE SA, with one PRF and group.
func everySuite() []suite.Suite {
	var out []suite.Suite
	for _, e := range suite.Supported(ipsec.TypeEncryption) {
		s := suite.Suite{
			Encryption: ipsec.EncryptionID(e.ID), KeyBits: e.KeyBits,
			PRF: ipsec.PRFHMACSHA2_256, Group: ipsec.GroupX25519,
		}
		switch {
		case s.Encryption == ipsec.EncrNull:
		case s.Encryption.AEAD():
			out = append(out, s)
		default:
			for _, i := range suite.Supported(ipsec.TypeIntegrity) {
				s.Integrity = ipsec.IntegrityID(i.ID)
				out = append(out, s)
			}
		}
	}
	return out
}

// keysOf derives keys for s from a seed.
func keysOf(t testing.TB, s suite.Suite, seed byte) suite.Keys {
	t.Helper()
	k, err := s.Keys(suite.Exchange{
		Shared: ipsec.NewKey(random(seed, 32)), Ni: random(seed+1, 32), Nr: random(seed+2, 32), SPIi: 1, SPIr: 2,
	})
	if err != nil {
		t.Fatalf("The keys of %v cannot be derived: %v.", s, err)
	}
	return k
}
