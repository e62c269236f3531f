package mem

import (
	"testing"

	"pgregory.net/rapid"
)

// naive is a replay window that remembers every number.
type naive struct {
	size, top uint64
	seen      map[uint64]bool
}

func (n *naive) accept(seq uint64) bool {
	if seq == 0 || seq+n.size <= n.top || n.seen[seq] {
		return false
	}
	n.seen[seq] = true
	n.top = max(n.top, seq)
	return true
}

func TestWindowAcceptsWhatANaiveOneDoes(t *testing.T) { // RFC 4303 3.4.3
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Uint32Range(1, 200).Draw(t, "size")
		w, n := newWindow(size), &naive{size: uint64(size), seen: make(map[uint64]bool)}
		step := rapid.Uint64Range(0, 3*uint64(size))
		for range rapid.IntRange(1, 300).Draw(t, "packets") {
			seq := step.Draw(t, "number")
			if rapid.Bool().Draw(t, "near the edge") {
				seq += n.top
			}
			got := !w.received(seq)
			if got {
				w.mark(seq)
			}
			if want := n.accept(seq); got != want {
				t.Fatalf("With a window of %d up to %d, accepting %d is %v, got %v.", size, n.top, seq, want, got)
			}
		}
	})
}

// TestNothingIsAcceptedAfterItsImport is invariant I9: what either of two windows
// has received is received in their union, and what both can tell was not is
// not.
func TestNothingIsAcceptedAfterItsImport(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Uint32Range(1, 100).Draw(t, "size")
		other := rapid.Uint32Range(1, 100).Draw(t, "size of the other")
		a, b := newWindow(size), newWindow(other)
		numbers := rapid.SliceOf(rapid.Uint64Range(1, 300))
		for _, n := range numbers.Draw(t, "received by the first") {
			if !a.received(n) {
				a.mark(n)
			}
		}
		for _, n := range numbers.Draw(t, "received by the second") {
			if !b.received(n) {
				b.mark(n)
			}
		}
		union := newWindow(size)
		union.merge(a.top, a.bitmap())
		union.merge(b.top, b.bitmap())
		for n := range uint64(310) {
			switch got := union.received(n); {
			case (a.received(n) || b.received(n)) && !got:
				t.Fatalf("%d was received, but its import accepts it.", n)
			case !a.received(n) && !b.received(n) && got && n+uint64(size) > union.top:
				t.Fatalf("%d was not received, but its import refuses it.", n)
			}
		}
	})
}

func TestAResizedWindowForgetsNothing(t *testing.T) {
	w := newWindow(64)
	for _, n := range []uint64{100, 90, 40} {
		w.mark(n)
	}
	for _, size := range []uint32{16, 128, 64} {
		w.resize(size)
		for _, n := range []uint64{100, 90, 40, 36} {
			if !w.received(n) {
				t.Errorf("With a window of %d that was one of 64, %d should still count as received.", size, n)
			}
		}
		if w.received(95) {
			t.Errorf("With a window of %d that was one of 64, 95 should still be acceptable.", size)
		}
	}
}
