package sealed

import (
	"bytes"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
)

// FuzzEntry: whatever was sealed is an entry or none, and an entry is written as it was
// read.
func FuzzEntry(f *testing.F) { // B6
	s, err := newSeal(ipsec.NewKey([]byte("a key of the operator's own")), header{generation: 1})
	if err != nil {
		f.Fatal(err)
	}
	head := make([]byte, entryHead)
	f.Add(uint64(0), []byte{})
	f.Add(uint64(0), head)
	f.Add(uint64(1), append(head, 0))                                     // a whole set ends
	f.Add(uint64(2), append(head[:entryHead:entryHead], 1, 'x'))          // a value without a name
	f.Add(uint64(3), append(head[:17:17], 3, 'i', 'k', 'e', 1, 'o', 'n')) // with one
	f.Add(uint64(4), append(head[:17:17], 3, 'i', 'k', 'e', 0))           // deleted
	f.Add(uint64(4), append(head[:17:17], 3, 'i', 'k', 'e', 0, 'o', 'n'))
	f.Add(uint64(4), append(head[:17:17], 3, 'i', 'k', 'e', 2, 'o', 'n'))
	f.Add(uint64(5), append(head[:17:17], 3, 'i', 'k', 'e'))             // too short
	f.Add(uint64(6), append(head[:16:16], 0xff, 0xff, 'i', 'k', 'e', 1)) // a name beyond the end
	f.Fuzz(func(t *testing.T, number uint64, plain []byte) {
		sealed := append([]byte{0, 0, 0, 0}, s.aead.Seal(nil, nonceOf(number), plain, s.header)...)
		n := len(sealed) - lengthSize
		sealed[0], sealed[1], sealed[2], sealed[3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
		e, size, err := s.parseEntry(append(sealed, 0xee), number)
		if err != nil {
			return
		}
		again, err := s.appendEntry(nil, number, e)
		if err != nil || size != len(sealed) {
			t.Fatalf("An entry of %d octets of %d is not written: %v.", size, len(sealed), err)
		}
		if !bytes.Equal(again, sealed) {
			t.Fatalf("Entry %+v is written as another one than it was read from.", e)
		}
		if _, _, err := s.parseEntry(again, number+1); err == nil {
			t.Fatal("An entry opens as another one of its file.")
		}
	})
}
