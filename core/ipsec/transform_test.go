package ipsec_test

import (
	"math"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
)

// RFC 3602, 3686, 4106, 7634 and 2451 for ciphers; RFC 2404 and 4868 for
// integrity.
func TestLengths(t *testing.T) {
	type want struct{ iv, icv, block int }
	for name, w := range map[string]want{
		"aes128-sha1":      {16, 12, 16},
		"aes192-sha256":    {16, 16, 16},
		"aes256-sha384":    {16, 24, 16},
		"aes256-sha512":    {16, 32, 16},
		"3des-sha1":        {8, 12, 8},
		"aes128ctr-sha256": {8, 16, 1},
		"aes128gcm":        {8, 16, 1},
		"aes128gcm12":      {8, 12, 1},
		"aes128gcm8":       {8, 8, 1},
		"chacha20poly1305": {8, 16, 1},
		"null-sha1":        {0, 12, 1},
	} {
		p, err := ipsec.ParseESPProposal(name)
		if err != nil {
			t.Fatalf("%s is not understood: %v.", name, err)
		}
		a := algorithms(p)
		if got := (want{a.IVLen(), a.ICVLen(), a.BlockLen()}); got != w {
			t.Errorf("%s has IV, ICV and block of %+v octets, want %+v.", name, got, w)
		}
		if a.Encryption.AEAD() && !a.Encryption.CounterMode() {
			t.Errorf("%s is an AEAD, but a repeated nonce would not matter.", name)
		}
	}
	for i, n := range map[ipsec.IntegrityID]int{
		ipsec.AuthNone: 0, ipsec.AuthHMACSHA1_96: 20, ipsec.AuthHMACSHA2_256_128: 32,
		ipsec.AuthHMACSHA2_384_192: 48, ipsec.AuthHMACSHA2_512_256: 64,
	} {
		if got, err := i.KeyLen(); err != nil || got != n {
			t.Errorf("%v takes %d octets of key (%v), want %d.", i, got, err, n)
		}
	}
}

func TestUnknownLengthsAreErrors(t *testing.T) {
	for _, c := range []struct {
		e    ipsec.EncryptionID
		bits uint16
	}{
		{0, 0},
		{9999, 128},
		{ipsec.EncrAESCBC, 0},
		{ipsec.EncrAESCBC, 64},
		{ipsec.EncrAESGCM16, 160},
		{ipsec.EncrAESCTR, 512},
		{ipsec.EncrChaCha20Poly1305, 128},
		{ipsec.Encr3DES, 168},
		{ipsec.EncrNull, 128},
	} {
		if n, err := ipsec.EncryptionKeyLen(c.e, c.bits); err == nil {
			t.Errorf("%v with %d bits takes %d octets of key, but does not exist.", c.e, c.bits, n)
		}
	}
	if n, err := ipsec.IntegrityID(5).KeyLen(); err == nil {
		t.Errorf("Integrity algorithm 5 takes %d octets of key, but is not known.", n)
	}
	if zero := (ipsec.Algorithms{}); zero.ICVLen() != 0 || zero.IVLen() != 0 {
		t.Error("Unknown algorithms have lengths.")
	}
}

func TestOfTypeKeepsTheOrder(t *testing.T) {
	p := ipsec.Proposal{}.WithGroups(ipsec.GroupX25519, ipsec.GroupMODP2048)
	got := p.OfType(ipsec.TypeKE)
	if len(got) != 2 || got[0].ID != 31 || got[1].ID != 14 || p.OfType(ipsec.TypePRF) != nil {
		t.Errorf("The groups of %v are %v.", p, got)
	}
	q := p.WithGroups(ipsec.GroupECP256)
	if _ = p.WithGroups(ipsec.GroupECP384); q.Transforms[2].ID != 19 {
		t.Error("Two proposals made from one share their transforms.")
	}
}

func TestWindowIsNeverOff(t *testing.T) {
	for window, want := range map[uint32]uint32{0: ipsec.DefaultReplayWindow, 1: 1, 64: 64, 4096: 4096, 4097: 4096, math.MaxUint32: 4096} {
		if got := (ipsec.SA{ReplayWindow: window}).Window(); got != want {
			t.Errorf("A replay window of %d packets became %d, want %d.", window, got, want)
		}
	}
}

func TestMaxSequence(t *testing.T) { // RFC 4303 section 2.2
	if (ipsec.Algorithms{}).MaxSequence() != math.MaxUint32 || (ipsec.Algorithms{ESN: true}).MaxSequence() != math.MaxUint64 {
		t.Error("The last sequence number is 2^32-1, and 2^64-1 with ESN.")
	}
	if a := (ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 256, ESN: true}); a.String() != "aes256gcm/esn" {
		t.Errorf("ESN prints as %v.", a)
	}
}

func TestCombinationsMakeSense(t *testing.T) {
	seen := make(map[ipsec.Algorithms]int)
	for _, a := range ipsec.Combinations() {
		seen[a]++
		if _, err := a.EncryptionKeyLen(); err != nil {
			t.Errorf("%v has no length of key: %v.", a, err)
		}
		if a.Encryption.AEAD() != (a.Integrity == ipsec.AuthNone) || a.ICVLen() == 0 {
			t.Errorf("%v has an AEAD with integrity of its own, or no integrity at all.", a)
		}
	}
	for a, n := range seen {
		other := a
		other.ESN = !a.ESN
		if n != 1 || seen[other] != 1 {
			t.Errorf("%v should be there once with ESN and once without, is %d times, and %d the other way.", a, n, seen[other])
		}
	}
	for _, name := range []string{"aes256-sha512", "3des-sha1", "aes192ctr-sha256", "aes128gcm", "aes256gcm8", "chacha20poly1305", "null-sha384"} {
		p, err := ipsec.ParseESPProposal(name)
		if err != nil {
			t.Fatalf("%s is not understood: %v.", name, err)
		}
		if a := algorithms(p); seen[a] != 1 {
			t.Errorf("%s (%+v) is missing.", name, a)
		}
	}
}
