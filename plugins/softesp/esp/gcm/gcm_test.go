package gcm

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"math/rand/v2"
	"testing"
)

// implementation is one of those that New chooses from.
type implementation struct {
	name string
	make func(tb testing.TB, key []byte, tagLen int) cipher.AEAD
}

// implementations are those that this processor can run.
func implementations(tb testing.TB) []implementation {
	tb.Helper()
	all := []implementation{{"the standard library's", func(tb testing.TB, key []byte, tagLen int) cipher.AEAD {
		tb.Helper()
		a, err := newStandard(key, tagLen)
		if err != nil {
			tb.Fatalf("The standard library makes no AES-GCM: %v.", err)
		}
		return a
	}}}
	if !hasVector() {
		tb.Log("This processor lacks VAES, VPCLMULQDQ or AVX-512: only the standard library's AES-GCM was tested.")
		return all
	}
	tb.Log("AES-GCM with VAES and AVX-512 was tested, and that of the standard library.")
	return append(all, implementation{"that with VAES", func(_ testing.TB, key []byte, tagLen int) cipher.AEAD {
		return newVector(key, tagLen)
	}})
}

// reference is the standard library's, without a line of this package.
func reference(tb testing.TB, key []byte) cipher.AEAD {
	tb.Helper()
	b, err := aes.NewCipher(key)
	if err != nil {
		tb.Fatalf("No cipher with a key of %d octets: %v.", len(key), err)
	}
	a, err := cipher.NewGCM(b)
	if err != nil {
		tb.Fatalf("No AES-GCM: %v.", err)
	}
	return a
}

// source fills slices with what looks random, the same in each run.
type source struct{ *rand.ChaCha8 }

func newSource() source { return source{rand.NewChaCha8([32]byte{'g', 'c', 'm'})} }

func (s source) octets(n int) []byte {
	b := make([]byte, n)
	_, _ = s.Read(b) // it never fails
	return b
}

// TestNewTakesTheFastest: what New returns is what the processor allows.
func TestNewTakesTheFastest(t *testing.T) {
	all := implementations(t)
	want := fmt.Sprintf("%T", all[len(all)-1].make(t, make([]byte, 16), 16))
	a, err := New(make([]byte, 16), 16)
	if got := fmt.Sprintf("%T", a); err != nil || got != want {
		t.Errorf("New should make a %s, got %s, %v.", want, got, err)
	}
}

func TestNewRefusesWhatIsNotAESGCM(t *testing.T) {
	for _, n := range []int{0, 4, 15, 17, 33} {
		if _, err := New(make([]byte, n), 16); err == nil {
			t.Errorf("A key of %d octets should be refused.", n)
		}
		if _, err := New(make([]byte, 16), n); err == nil {
			t.Errorf("A tag of %d octets should be refused.", n)
		}
	}
}

// TestAllLengthsAreThoseOfTheStandardLibrary seals and opens 0 to 2200 octets, so all
// ends of a step, with additional data as ESP has it and as it has not.
func TestAllLengthsAreThoseOfTheStandardLibrary(t *testing.T) {
	for _, impl := range implementations(t) {
		s := newSource()
		for _, keyLen := range []int{16, 24, 32} {
			key := s.octets(keyLen)
			ref, a := reference(t, key), impl.make(t, key, 16)
			for n := range 2201 {
				m := []int{8, 12, n % 67}[n%3]
				agree(t, impl.name, ref, a, s.octets(nonceLen), s.octets(n), s.octets(m))
			}
			agree(t, impl.name, ref, a, s.octets(nonceLen), s.octets(1<<16+5), s.octets(1000))
		}
	}
}

func agree(t *testing.T, name string, ref, a cipher.AEAD, nonce, plain, additional []byte) {
	t.Helper()
	want := ref.Seal(nil, nonce, plain, additional)
	apart := a.Seal([]byte("before"), nonce, plain, additional)
	if !bytes.Equal(apart, append([]byte("before"), want...)) {
		t.Fatalf("Sealing %d octets and %d additional ones by %s makes\n%x, want\n%x.",
			len(plain), len(additional), name, apart[len("before"):], want)
	}
	// In place, with other data behind.
	p := append(bytes.Clone(plain), "sixteen octets..behind"...)
	a.Seal(p[:0], nonce, p[:len(plain)], additional)
	if !bytes.Equal(p, append(bytes.Clone(want), "behind"...)) {
		t.Fatalf("Sealing %d octets in place by %s makes\n%x, want\n%x.", len(plain), name, p, want)
	}
	got, err := a.Open([]byte("before"), nonce, want, additional)
	if err != nil || !bytes.Equal(got, append([]byte("before"), plain...)) {
		t.Fatalf("Opening %d octets by %s yields %v and\n%x, want\n%x.", len(plain), name, err, got, plain)
	}
	got, err = a.Open(p[:0], nonce, p[:len(want)], additional)
	if err != nil || !bytes.Equal(got, plain) || string(p[len(want):]) != "behind" {
		t.Fatalf("Opening %d octets in place by %s yields %v and\n%x, want\n%x.", len(plain), name, err, p, plain)
	}
}

// TestPacketsLieInOneBuffer as those of ESP: additional data and IV before what is
// sealed, and room for the tag behind it.
func TestPacketsLieInOneBuffer(t *testing.T) {
	for _, impl := range implementations(t) {
		s := newSource()
		key := s.octets(16)
		ref, a := reference(t, key), impl.make(t, key, 16)
		for at := range 70 { // of all alignments to a cache line
			whole := s.octets(at + 16 + 1424 + 16)
			p := whole[at:]
			nonce := append([]byte("salt"), p[8:16]...)
			plain := bytes.Clone(p[16 : 16+1424])
			want := append(bytes.Clone(whole[:at+16]), ref.Seal(nil, nonce, plain, p[:8])...)
			a.Seal(p[16:16], nonce, p[16:16+1424], p[:8])
			if !bytes.Equal(whole, want) {
				t.Fatalf("A packet at octet %d is sealed wrongly by %s.", at, impl.name)
			}
			if _, err := a.Open(p[16:16], nonce, p[16:], p[:8]); err != nil || !bytes.Equal(p[16:16+1424], plain) {
				t.Fatalf("A packet at octet %d is opened wrongly by %s: %v.", at, impl.name, err)
			}
		}
	}
}

// TestShortTagsAreTheBeginningOfLongOnes: "MSB_t" in SP 800-38D section 7.1.
func TestShortTagsAreTheBeginningOfLongOnes(t *testing.T) {
	for _, impl := range implementations(t) {
		s := newSource()
		key, nonce, plain := s.octets(32), s.octets(nonceLen), s.octets(100)
		want := reference(t, key).Seal(nil, nonce, plain, nil)
		for _, tagLen := range []int{8, 12, 16} {
			a := impl.make(t, key, tagLen)
			if a.Overhead() != tagLen || a.NonceSize() != nonceLen {
				t.Errorf("%s should say %d and %d, says %d and %d.", impl.name, tagLen, nonceLen, a.Overhead(), a.NonceSize())
			}
			sealed := a.Seal(nil, nonce, plain, nil)
			if !bytes.Equal(sealed, want[:100+tagLen]) {
				t.Errorf("A tag of %d octets of %s should be the beginning of %x, got %x.", tagLen, impl.name, want[100:], sealed[100:])
			}
			if got, err := a.Open(nil, nonce, sealed, nil); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("A packet with a tag of %d octets should open by %s, got %v.", tagLen, impl.name, err)
			}
		}
	}
}

// TestForgedPacketsAreRefused changes each bit of a tag, and a bit of each octet of
// all that it protects. Nothing that was decrypted may be read then.
func TestForgedPacketsAreRefused(t *testing.T) {
	for _, impl := range implementations(t) {
		for _, tagLen := range []int{8, 12, 16} {
			s := newSource()
			a := impl.make(t, s.octets(16), tagLen)
			plain := bytes.Repeat([]byte("secret"), 50)
			nonce, additional := s.octets(nonceLen), s.octets(12)
			sealed := a.Seal(nil, nonce, plain, additional)
			for n := range sealed {
				refuse(t, impl.name, a, nonce, sealed[:n], additional)
			}
			for bit := len(plain) * 8; bit < len(sealed)*8; bit++ {
				refuse(t, impl.name, a, nonce, flipped(sealed, bit), additional)
			}
			for i := range plain {
				refuse(t, impl.name, a, nonce, flipped(sealed, i*8+i%8), additional)
			}
			for i := range nonce {
				refuse(t, impl.name, a, flipped(nonce, i*8), sealed, additional)
				refuse(t, impl.name, a, nonce, sealed, flipped(additional, i*8))
				refuse(t, impl.name, a, nonce, sealed, additional[:i])
			}
		}
	}
}

func flipped(b []byte, bit int) []byte {
	b = bytes.Clone(b)
	b[bit/8] ^= 1 << (bit % 8)
	return b
}

func refuse(t *testing.T, name string, a cipher.AEAD, nonce, sealed, additional []byte) {
	t.Helper()
	in := bytes.Clone(sealed)
	if got, err := a.Open(in[:0], nonce, in, additional); err == nil || got != nil {
		t.Fatalf("%s opens a packet of %d octets that was not sealed: %x, %v.", name, len(sealed), got, err)
	}
	if bytes.Contains(in, []byte("secret")) {
		t.Fatalf("%s leaves plaintext of a forged packet behind: %q.", name, in)
	}
}

// TestMisuseIsNoticed: what would give keys away, or garbage, does not happen
// quietly.
func TestMisuseIsNoticed(t *testing.T) {
	for _, impl := range implementations(t) {
		a := impl.make(t, make([]byte, 16), 16)
		b := make([]byte, 400)
		for name, misuse := range map[string]func(){
			"sealing with a nonce of 11 octets": func() { a.Seal(nil, b[:11], b, nil) },
			"sealing with a nonce of 13 octets": func() { a.Seal(nil, b[:13], b, nil) },
			"opening with a nonce of 13 octets": func() { _, _ = a.Open(nil, b[:13], b, nil) },
			"sealing one octet further":         func() { a.Seal(b[1:1], make([]byte, 12), b[:300], nil) },
			"opening one octet further":         func() { _, _ = a.Open(b[1:1], make([]byte, 12), b[:300], nil) },
			"sealing over the additional data":  func() { a.Seal(b[:0], make([]byte, 12), b[:300], b[310:320]) },
		} {
			t.Run(impl.name+", "+name, func(t *testing.T) {
				defer func() {
					if recover() == nil {
						t.Error("That should end in a panic.")
					}
				}()
				misuse()
			})
		}
	}
}

// TestPacketsCostNoAllocation is the rule of the packet path.
func TestPacketsCostNoAllocation(t *testing.T) {
	for _, impl := range implementations(t) {
		for _, tagLen := range []int{8, 16} {
			a := impl.make(t, make([]byte, 16), tagLen)
			nonce, p := make([]byte, nonceLen), make([]byte, 1420+tagLen)
			if n := testing.AllocsPerRun(100, func() {
				a.Seal(p[:0], nonce, p[:1420], nonce[:8])
				if _, err := a.Open(p[:0], nonce, p, nonce[:8]); err != nil {
					t.Fatalf("The packet should open: %v.", err)
				}
			}); n != 0 {
				t.Errorf("A packet with a tag of %d octets costs %s %v allocations.", tagLen, impl.name, n)
			}
		}
	}
}

// FuzzIsTheStandardLibrary: whatever the contents and lengths, both make the same of
// it, and open the same.
func FuzzIsTheStandardLibrary(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), []byte("nonce of 12."), []byte("to whom it may concern"), []byte("header.."))
	f.Add(make([]byte, 24), make([]byte, nonceLen), []byte{}, []byte{})
	f.Add(make([]byte, 32), bytes.Repeat([]byte{0xff}, nonceLen), make([]byte, 256), make([]byte, 12))
	f.Add(make([]byte, 16), make([]byte, nonceLen), make([]byte, 1424), make([]byte, 17))
	f.Fuzz(func(t *testing.T, key, nonce, text, additional []byte) {
		if len(nonce) != nonceLen {
			return
		}
		a, err := New(key, 16)
		if err != nil {
			return
		}
		ref := reference(t, key)
		agree(t, "New's", ref, a, nonce, text, additional)
		want, wantErr := ref.Open(nil, nonce, text, additional)
		got, err := a.Open(nil, nonce, text, additional)
		if (err == nil) != (wantErr == nil) || !bytes.Equal(got, want) {
			t.Fatalf("Opening %x yields %x, %v, want %x, %v.", text, got, err, want, wantErr)
		}
	})
}
