package esp

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"math/rand/v2"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
)

// TestCBCIsThatOfTheStandardLibrary, for keys of all lengths and packets of up to
// 40 blocks, one after the other.
func TestCBCIsThatOfTheStandardLibrary(t *testing.T) {
	rnd := rand.NewChaCha8([32]byte{3, 6, 0, 2})
	fill := func(b []byte) []byte { _, _ = rnd.Read(b); return b }
	for _, keyLen := range []int{16, 24, 32} {
		key := fill(make([]byte, keyLen))
		enc, dec, err := newBlockModes(ipsec.EncrAESCBC, key)
		if err != nil {
			t.Fatalf("The modes cannot be made: %v.", err)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			t.Fatalf("The block cipher cannot be made: %v.", err)
		}
		if enc.BlockSize() != aes.BlockSize || dec.BlockSize() != aes.BlockSize {
			t.Errorf("Blocks should have %d octets.", aes.BlockSize)
		}
		for blocks := range 41 {
			plain, iv := fill(make([]byte, blocks*aes.BlockSize)), fill(make([]byte, aes.BlockSize))
			want := bytes.Clone(plain)
			cipher.NewCBCEncrypter(block, iv).CryptBlocks(want, want)
			got := append(bytes.Clone(plain), "behind"...)
			enc.SetIV(iv)
			enc.CryptBlocks(got[:len(plain)], got[:len(plain)])
			if !bytes.Equal(got[:len(plain)], want) {
				t.Fatalf("%d blocks with a key of %d octets encrypt to %x, want %x.", blocks, keyLen, got, want)
			}
			dec.SetIV(iv)
			dec.CryptBlocks(got[:len(plain)], got[:len(plain)])
			if string(got) != string(plain)+"behind" {
				t.Fatalf("%d blocks with a key of %d octets decrypt to %x, want %x.", blocks, keyLen, got, plain)
			}
		}
	}
}

// TestCBCGoesOn: a call without a new IV continues the chain.
func TestCBCGoesOn(t *testing.T) {
	enc, dec, err := newBlockModes(ipsec.EncrAESCBC, make([]byte, 16))
	if err != nil {
		t.Fatalf("The modes cannot be made: %v.", err)
	}
	whole, parts := make([]byte, 30*aes.BlockSize), make([]byte, 30*aes.BlockSize)
	enc.SetIV(make([]byte, aes.BlockSize))
	enc.CryptBlocks(whole, whole)
	crypt := func(m settable) {
		m.SetIV(make([]byte, aes.BlockSize))
		for _, cut := range [][2]int{{0, 1}, {1, 10}, {10, 30}} {
			part := parts[cut[0]*aes.BlockSize : cut[1]*aes.BlockSize]
			m.CryptBlocks(part, part)
		}
	}
	if crypt(enc); !bytes.Equal(whole, parts) {
		t.Error("Three parts encrypt to something else than the whole.")
	}
	if crypt(dec); !bytes.Equal(parts, make([]byte, len(parts))) {
		t.Error("Three parts decrypt to something else than zeros.")
	}
}
