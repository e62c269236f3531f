package aeskey

import (
	"crypto/aes"
	"encoding/hex"
	"testing"
)

// TestExpansion takes the keys of FIPS 197 appendix A: the last round key depends on
// all before it. That the schedules encrypt and decrypt is tested where they do.
func TestExpansion(t *testing.T) {
	for _, c := range []struct{ key, last string }{
		{"2b7e151628aed2a6abf7158809cf4f3c", "d014f9a8c9ee2589e13f0cc8b6630ca6"},
		{"8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b", "e98ba06f448c773c8ecc720401002202"},
		{"603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", "fe4890d1e6188d0b046df344706c631e"},
	} {
		key, err := hex.DecodeString(c.key)
		if err != nil {
			t.Fatalf("The key is no hexadecimal number: %v.", err)
		}
		var s Schedule
		s.Expand(key)
		if got := hex.EncodeToString(s.Keys[s.Rounds][:]); got != c.last || s.Rounds != len(key)/4+6 {
			t.Errorf("Round key %d of %s should be the last and %s, got %s.", s.Rounds, c.key, c.last, got)
		}
	}
	if Block != aes.BlockSize {
		t.Errorf("AES has blocks of %d octets, not of %d.", aes.BlockSize, Block)
	}
}
