package esp_test

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/plugins/softesp/esp"
	"github.com/evergate/evergate/plugins/softesp/esptest"
)

// allAlgorithms is everything that package esp can do.
func allAlgorithms() []ipsec.Algorithms {
	var out []ipsec.Algorithms
	add := func(e ipsec.EncryptionID, bits uint16, i ipsec.IntegrityID) {
		for _, esn := range []bool{false, true} {
			out = append(out, ipsec.Algorithms{Encryption: e, KeyBits: bits, Integrity: i, ESN: esn})
		}
	}
	for _, bits := range []uint16{128, 192, 256} {
		for _, e := range []ipsec.EncryptionID{ipsec.EncrAESGCM8, ipsec.EncrAESGCM12, ipsec.EncrAESGCM16} {
			add(e, bits, ipsec.AuthNone)
		}
	}
	add(ipsec.EncrChaCha20Poly1305, 256, ipsec.AuthNone)
	for _, i := range []ipsec.IntegrityID{
		ipsec.AuthHMACSHA1_96, ipsec.AuthHMACSHA2_256_128, ipsec.AuthHMACSHA2_384_192, ipsec.AuthHMACSHA2_512_256,
	} {
		for _, bits := range []uint16{128, 192, 256} {
			add(ipsec.EncrAESCBC, bits, i)
			add(ipsec.EncrAESCTR, bits, i)
		}
		add(ipsec.Encr3DES, 0, i)
		add(ipsec.EncrNull, 0, i)
	}
	return out
}

// keysFor makes keys of the right lengths.
func keysFor(tb testing.TB, a ipsec.Algorithms) esptest.Keys {
	tb.Helper()
	e, err := a.EncryptionKeyLen()
	if err != nil {
		tb.Fatalf("%v has no key length: %v.", a, err)
	}
	i, err := a.Integrity.KeyLen()
	if err != nil {
		tb.Fatalf("%v has no key length: %v.", a.Integrity, err)
	}
	fill := func(n int, start byte) []byte {
		b := make([]byte, n)
		for j := range b {
			b[j] = start + byte(j)*11
		}
		return b
	}
	return esptest.Keys{Algorithms: a, Encryption: fill(e, 1), Integrity: fill(i, 2)}
}

func newCipher(tb testing.TB, k esptest.Keys) *esp.Cipher {
	tb.Helper()
	c, err := esp.New(k.Algorithms, ipsec.CopyKey(k.Encryption), ipsec.CopyKey(k.Integrity))
	if err != nil {
		tb.Fatalf("A cipher for %v cannot be made: %v.", k.Algorithms, err)
	}
	return c
}

// seal makes a packet around payload with room behind it, as batches have.
func seal(c *esp.Cipher, payload []byte, seq, iv uint64) []byte {
	b := make([]byte, c.Len(len(payload))+64)
	copy(b[c.HeaderLen():], payload)
	return b[:c.Seal(b, len(payload), 4, 0x1000_0001, seq, iv)]
}

// TestCiphersAgreeWithASecondImplementation lets each implementation open what the
// other one made.
func TestCiphersAgreeWithASecondImplementation(t *testing.T) {
	for _, a := range allAlgorithms() {
		t.Run(a.String(), func(t *testing.T) {
			k := keysFor(t, a)
			c := newCipher(t, k)
			rapid.Check(t, func(t *rapid.T) {
				payload := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload")
				seq := rapid.Uint64Range(1, 1<<40).Draw(t, "seq")
				iv := rapid.Uint64().Draw(t, "iv")
				agree(t, k, c, payload, seq, iv)
			})
		})
	}
}

func agree(t *rapid.T, k esptest.Keys, c *esp.Cipher, payload []byte, seq, iv uint64) {
	ours := seal(c, payload, seq, iv)
	got, err := k.Open(ours, uint32(seq>>32))
	if err != nil || !bytes.Equal(got.Payload, payload) || got.Next != 4 || got.SPI != 0x1000_0001 {
		t.Fatalf("The peer should read %x in our packet, got %+v, %v.", payload, got, err)
	}
	theirs, err := k.Seal(esptest.Packet{SPI: 7, Seq: seq, Payload: payload, Next: 41})
	if err != nil {
		t.Fatalf("The peer cannot seal: %v.", err)
	}
	if want := c.Len(len(payload)); len(theirs) != want || len(ours) != want {
		t.Fatalf("Packets of %d octets should be %d long, got ours %d and theirs %d.", len(payload), want, len(ours), len(theirs))
	}
	opened, next, err := c.Open(bytes.Clone(theirs), seq)
	if err != nil || !bytes.Equal(opened, payload) || next != 41 {
		t.Fatalf("We should read %x in the peer's packet, got %x, %d, %v.", payload, opened, next, err)
	}
}

// TestForgedPacketsAreRefused flips each bit of a packet once.
func TestForgedPacketsAreRefused(t *testing.T) {
	for _, a := range allAlgorithms() {
		t.Run(a.String(), func(t *testing.T) {
			c := newCipher(t, keysFor(t, a))
			good := seal(c, []byte("to whom it may concern"), 1<<32+5, 9)
			for bit := range len(good) * 8 {
				b := bytes.Clone(good)
				b[bit/8] ^= 1 << (bit % 8)
				if _, _, err := c.Open(b, 1<<32+5); !errors.Is(err, esp.ErrAuthentication) {
					t.Fatalf("A packet with bit %d changed should fail its integrity check, got %v.", bit, err)
				}
			}
			for n := range good {
				if _, _, err := c.Open(bytes.Clone(good[:n]), 1<<32+5); err == nil {
					t.Fatalf("The first %d of %d octets should not open.", n, len(good))
				}
			}
			if _, _, err := c.Open(bytes.Clone(good), 2<<32+5); a.ESN == (err == nil) {
				t.Errorf("With another high half of the sequence number: ESN is %v, and the error is %v.", a.ESN, err)
			}
		})
	}
}

// TestOpenRefusesBadPadding seals plaintexts whose trailer makes no sense.
func TestOpenRefusesBadPadding(t *testing.T) {
	a := ipsec.Algorithms{Encryption: ipsec.EncrNull, Integrity: ipsec.AuthHMACSHA1_96}
	k := keysFor(t, a)
	c := newCipher(t, k)
	for name, trailer := range map[string][]byte{
		"longer than the packet": {0, 0, 9, 4},
		"not counting up":        {1, 3, 2, 4},
		"not from one":           {0, 1, 2, 4},
	} {
		// With NULL encryption a payload that ends with a trailer, and no padding
		// of its own, shows what a peer can make. The real trailer goes.
		p := esptest.Packet{SPI: 7, Seq: 1, Payload: trailer[:2], Next: trailer[3]}
		b, err := k.Seal(p)
		if err != nil {
			t.Fatalf("The peer cannot seal: %v.", err)
		}
		copy(b[8:], trailer)
		b = k.Sign(b[:len(b)-a.ICVLen()], 1)
		if _, _, err := c.Open(b, 1); !errors.Is(err, esp.ErrPadding) {
			t.Errorf("Padding %s should be told as such, got %v.", name, err)
		}
	}
}
