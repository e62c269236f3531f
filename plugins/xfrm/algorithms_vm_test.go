package xfrm_test

import (
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// TestEveryAlgorithmCarriesPackets sends and receives by every cipher in every length,
// every hash and with either kind of numbers; those of 64 bits go past 2^32. The far end
// is another implementation.
func TestEveryAlgorithmCarriesPackets(t *testing.T) {
	w := newLab(t, nil)
	info, err := w.Info(t.Context())
	if err != nil {
		t.Fatalf("Info failed: %v.", err)
	}
	n, carried := uint32(0), make(map[ipsec.EncryptionID]bool)
	for _, c := range info.Transforms {
		a := c.Algorithms
		if !worthAPacket(a) {
			continue
		}
		n++
		in, out := pairOf(w, n)
		in.Algorithms, out.Algorithms = a, a
		in.Encryption, in.Integrity = keysFor(t, a)
		out.Encryption, out.Integrity = in.Encryption, in.Integrity
		next := uint64(1)
		if a.ESN {
			next = 1<<32 - 1
			in.Sequence = ipsec.Sequence{Highest: next - 1, Bitmap: []byte{1}}
		}
		out.Sequence = ipsec.Sequence{Next: next, Ceiling: next + 100}
		w.install(t, offload.Active, in, out)
		w.wantSent(t, "With "+a.String(), out, 2, next, next+1)
		if got, err := w.Deliver(t.Context(), in, next, next+1, next); got != 2 || err != nil {
			t.Errorf("With %v, two of three packets should arrive, as one came twice, got %d (%v).", a, got, err)
		}
		carried[a.Encryption] = true
		if _, err := w.Delete(t.Context(), epoch, in.ID, out.ID); err != nil {
			t.Fatalf("Delete failed: %v.", err)
		}
	}
	if len(carried) != 8 || n < 40 {
		t.Errorf("Debian's kernel has all eight ciphers of the project, in 42 sets or so, got %d in %d.", len(carried), n)
	}
}

// worthAPacket leaves out lengths by another name, and sets both of whose parts are in
// others: the kernel has one code for a hash whatever the cipher.
func worthAPacket(a ipsec.Algorithms) bool {
	switch {
	case a.Encryption == ipsec.EncrChaCha20Poly1305 || a.Encryption == ipsec.Encr3DES:
		return a.KeyBits == 0 && (a.Encryption.AEAD() || a.Integrity == ipsec.AuthHMACSHA2_256_128)
	case a.Encryption.AEAD() || a.Integrity == ipsec.AuthHMACSHA2_256_128:
		return true
	default:
		return a.Encryption == ipsec.EncrAESCBC && a.KeyBits == 256
	}
}
