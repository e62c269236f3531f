package gcm

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
)

// guarded is memory between two pages that nobody may touch.
type guarded []byte

// newGuarded makes room for size octets. The test ends with a fault where one before
// or behind them is read or written.
func newGuarded(t *testing.T, size int) guarded {
	t.Helper()
	page := unix.Getpagesize()
	size = (size + page - 1) / page * page
	all, err := unix.Mmap(-1, 0, size+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatalf("There is no memory between guards: %v.", err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(all); err != nil {
			t.Errorf("The memory between guards does not go: %v.", err)
		}
	})
	for _, guard := range [][]byte{all[:page], all[page+size:]} {
		if err := unix.Mprotect(guard, unix.PROT_NONE); err != nil {
			t.Fatalf("A page cannot be guarded: %v.", err)
		}
	}
	return guarded(all[page : page+size])
}

// first and last hold a copy of b that begins, or ends, at a guard.
func (g guarded) first(b []byte) []byte { return g[:copy(g, b):len(b)] }

func (g guarded) last(b []byte) []byte {
	at := len(g) - len(b)
	copy(g[at:], b)
	return g[at:]
}

// TestNothingElseIsTouched seals and opens packets of all lengths that end a step
// differently, with everything that is read or written next to guards.
func TestNothingElseIsTouched(t *testing.T) {
	for _, impl := range implementations(t) {
		s := newSource()
		key := s.octets(16)
		ref, a := reference(t, key), impl.make(t, key, 16)
		in, out, nonces, more := newGuarded(t, 4096), newGuarded(t, 4096), newGuarded(t, 1), newGuarded(t, 1)
		for n := range 800 {
			plain, nonce, additional := s.octets(n), s.octets(nonceLen), s.octets(n%21)
			want := ref.Seal(nil, nonce, plain, additional)
			for name, place := range map[string]func(guarded, []byte) []byte{
				"in front": guarded.first, "at the end": guarded.last,
			} {
				src, dst := place(in, plain), place(out, want)
				nonce, additional := place(nonces, nonce), place(more, additional)
				clear(dst)
				if got := a.Seal(dst[:0], nonce, src, additional); !bytes.Equal(got, want) {
					t.Fatalf("%d octets %s are sealed wrongly by %s.", n, name, impl.name)
				}
				src, dst = place(in, want), place(out, plain)
				clear(dst)
				if got, err := a.Open(dst[:0], nonce, src, additional); err != nil || !bytes.Equal(got, plain) {
					t.Fatalf("%d octets %s are opened wrongly by %s: %v.", n, name, impl.name, err)
				}
			}
		}
	}
}
