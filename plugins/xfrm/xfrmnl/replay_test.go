package xfrmnl

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// TestReplayIsAWindow compares the kernel's ring with a set of numbers.
func TestReplayIsAWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := NewReplay(rapid.SampledFrom([]uint32{0, 32, 64, 100, 4096}).Draw(t, "window"))
		base := rapid.SampledFrom([]uint64{0, 1 << 20, 1<<32 - 300, 1<<33 - 40}).Draw(t, "base")
		seen, top := map[uint64]bool{}, uint64(0)
		for range rapid.IntRange(1, 60).Draw(t, "packets") {
			n := base + rapid.Uint64Range(1, 600).Draw(t, "n")
			want := n <= top && (top-n >= uint64(r.Window) || seen[n])
			if got := r.Seen(n); got != want {
				t.Fatalf("With a window of %d up to %d, having seen %d should be %v, got %v.", r.Window, top, n, want, got)
			}
			if !want {
				r.Mark(n)
				seen[n], top = true, max(top, n)
			}
		}
		other := NewReplay(r.Window)
		other.Merge(r.Received, r.Below())
		if !reflect.DeepEqual(other.Below(), r.Below()) || other.Received != r.Received {
			t.Fatalf("Merged into a fresh one, the window should be the same, got %x up to %d instead of %x up to %d.", other.Below(), other.Received, r.Below(), r.Received)
		}
	})
}

func TestReplayComesBackFromTheKernelsForm(t *testing.T) {
	r := NewReplay(96)
	r.Sent = 1<<40 + 9
	r.Mark(1<<35 + 1)
	got, err := replayOf(r.marshal())
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("The state should come back as %+v, got %+v (%v).", r, got, err)
	}
	if r.Window != 128 {
		t.Errorf("A window of 96 should become the power of two above it, got %d.", r.Window)
	}
}

func TestMergeTakesNothingBack(t *testing.T) {
	r := NewReplay(64)
	r.Merge(300, []byte{0b101})
	r.Merge(299, []byte{1})
	if r.Received != 300 || r.Below()[0] != 0b111 {
		t.Errorf("300 and 298, and then 299, should have been received, got up to %d %08b.", r.Received, r.Below()[0])
	}
	r.Shut()
	for n := uint64(1); n <= 300; n++ {
		if !r.Seen(n) {
			t.Fatalf("Of a window that was shut, %d should count as received.", n)
		}
	}
}
