package sealed_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/sealed"
)

// FuzzLoad changes a file and its anchor: nothing that was changed is used, but for
// what comes behind the last entry that its anchor speaks of, and behind the anchor.
func FuzzLoad(f *testing.F) { // B6, B1
	c := sealed.Config{
		File: filepath.Join(f.TempDir(), "tunnels"), Anchor: filepath.Join(f.TempDir(), "tunnels.anchor"),
		Key: ipsec.NewKey([]byte("a key of the operator's own")),
	}
	want := []sealed.Value{{Set: 1, Name: "ike", Data: []byte("newer")}, {Set: 2, Name: "child", Data: []byte{}}}
	file, anchor := genuine(f, c)
	last := uint32(len(file))
	for _, at := range []uint32{0, 7, 8, 15, 16, 47, 48, 51, 52, last - 1} { // each field of the header, and of an entry
		f.Add(uint32(0), at, []byte{1}, uint32(0), uint32(0), []byte(nil))
	}
	f.Add(uint32(1), uint32(0), []byte(nil), uint32(0), uint32(0), []byte(nil))
	f.Add(last-48, uint32(0), []byte(nil), uint32(0), uint32(0), []byte(nil)) // no entries
	f.Add(last, uint32(0), []byte(nil), uint32(0), uint32(0), []byte(nil))
	f.Add(uint32(0), last, []byte{0, 0, 1}, uint32(0), uint32(0), []byte(nil))              // a torn entry
	f.Add(uint32(0), last, []byte{0, 0, 0, 35, 1, 2, 3}, uint32(0), uint32(0), []byte(nil)) // a longer one
	f.Add(uint32(0), uint32(48), []byte{0xff}, uint32(0), uint32(0), []byte(nil))           // of 4 GiB
	f.Add(uint32(0), uint32(0), []byte(nil), uint32(0), uint32(7), []byte{1})               // fewer entries
	f.Add(uint32(0), uint32(0), []byte(nil), uint32(0), uint32(8), []byte{1})
	f.Add(uint32(0), uint32(0), []byte(nil), uint32(32), uint32(0), []byte(nil))
	f.Add(uint32(0), uint32(0), []byte(nil), uint32(0), uint32(40), anchor) // two of them

	f.Fuzz(func(t *testing.T, cut, at uint32, change []byte, anchorCut, anchorAt uint32, anchorChange []byte) {
		changed, mark := altered(file, cut, at, change), altered(anchor, anchorCut, anchorAt, anchorChange)
		for path, b := range map[string][]byte{c.File: changed, c.Anchor: mark} {
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := sealed.Load(c)
		vouched := slices.ContainsFunc(slices.Collect(slices.Chunk(mark, len(anchor))), func(b []byte) bool { return bytes.Equal(b, anchor) })
		if !bytes.HasPrefix(changed, file) || !vouched {
			if stale := (*sealed.StaleError)(nil); !errors.As(err, &stale) || len(got) > 0 {
				t.Fatalf("What was changed gives %d values and error %v, want a StaleError.", len(got), err)
			}
			return
		}
		same := func(a, b sealed.Value) bool {
			return a.Set == b.Set && a.Name == b.Name && bytes.Equal(a.Data, b.Data) && a.Data != nil
		}
		if err != nil || !slices.EqualFunc(got, want, same) {
			t.Fatalf("What was not changed gives %v and error %v, want %v.", got, err, want)
		}
	})
}

// genuine is a file, and its anchor, with each kind of entry.
func genuine(f *testing.F, c sealed.Config) (file, anchor []byte) {
	f.Helper()
	s, err := sealed.Create(c, nil)
	if err == nil {
		err = errors.Join(
			s.Write(put(1, "ike", "one"), put(2, "child", ""), put(2, "ike", "two"), put(3, "ike", "three")),
			s.Write(put(1, "ike", "newer"), sealed.Change{Set: 2, Name: "ike"}, sealed.Change{Set: 3}),
			s.Close())
	}
	if err == nil {
		file, err = os.ReadFile(c.File)
	}
	if err == nil {
		anchor, err = os.ReadFile(c.Anchor)
	}
	if err != nil {
		f.Fatal(err)
	}
	return file, anchor
}

// altered is b without its last octets, and with a change from an octet on: that is
// XORed with what is there, and goes on behind the end.
func altered(b []byte, cut, at uint32, change []byte) []byte {
	b = bytes.Clone(b[:len(b)-min(len(b), int(cut))])
	from := min(len(b), int(at))
	for i, x := range change {
		if from+i < len(b) {
			b[from+i] ^= x
		} else {
			b = append(b, x)
		}
	}
	return b
}
