package wire_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/evergate/evergate/ike/v1/wire"
)

// conversations are the messages that strongSwan and we exchanged.
func conversations(f *testing.F) [][]byte {
	f.Helper()
	files, err := filepath.Glob("../keymat/testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no conversations are there: %v", err)
	}
	var out [][]byte
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`"([0-9a-f]{56,})"`).FindAllSubmatch(text, -1) {
			b := make([]byte, hex.DecodedLen(len(m[1])))
			if _, err := hex.Decode(b, m[1]); err != nil {
				f.Fatal(err)
			}
			out = append(out, b)
		}
	}
	return out
}

// FuzzDecode: what is decoded is encoded to a message that is decoded to the same.
func FuzzDecode(f *testing.F) {
	for _, b := range conversations(f) {
		f.Add(b)
	}
	f.Add(encode(f, everything()))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := wire.Decode(b)
		if err != nil || m.Sealed != nil {
			return
		}
		first, err := m.Append(nil)
		if err != nil {
			t.Fatalf("a message that was decoded is not encoded: %v", err)
		}
		again, err := wire.Decode(first)
		if err != nil {
			t.Fatalf("a message that we encoded is not decoded: %v", err)
		}
		second, err := again.Append(nil)
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("encoded again a message is\n%x, it was\n%x (%v)", second, first, err)
		}
	})
}

// FuzzChain: the contents of encrypted messages, and what quick mode reads in them.
func FuzzChain(f *testing.F) {
	m := everything()
	first, b, err := wire.AppendChain(nil, m.Payloads)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(first), b)
	f.Add(uint8(wire.PayloadID), []byte{0, 0, 0, 16, 4, 0, 0, 0, 10, 0, 0, 0, 255, 0, 0, 0})
	f.Fuzz(func(t *testing.T, first uint8, b []byte) {
		c, err := wire.DecodeChain(wire.PayloadType(first), b)
		if err != nil {
			return
		}
		if len(c.AfterFirst) > len(b) {
			t.Fatal("more is covered than there is")
		}
		for _, id := range wire.All[*wire.ID](c.Payloads) {
			s, err := id.Selector()
			if err != nil {
				continue
			}
			if err := s.Validate(); err != nil {
				t.Fatalf("an identity selects nothing: %v", err)
			}
			again, err := wire.SelectorID(s)
			if err != nil {
				t.Fatalf("the selector %v is not written: %v", s, err)
			}
			if o, err := again.Selector(); err != nil || o != s {
				t.Fatalf("the selector %v came back as %v (%v)", s, o, err)
			}
		}
	})
}
