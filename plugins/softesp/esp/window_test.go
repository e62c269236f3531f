package esp_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/plugins/softesp/esp"
)

// naive is the window as one would explain it: every number received, and what
// was imported as received, in a set.
type naive struct {
	size    uint64
	highest uint64
	seen    map[uint64]bool
}

func (n *naive) accept(seq uint64) bool {
	if seq+n.size <= n.highest || n.seen[seq] {
		return false
	}
	n.seen[seq] = true
	n.highest = max(n.highest, seq)
	return true
}

// TestWindowIsThatOfASet plays packets at and around the edges against the naive
// window.
func TestWindowIsThatOfASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]uint32{32, 64, 96, 128, 2048, 4096}).Draw(t, "size")
		w := esp.NewWindow(size)
		n := &naive{size: uint64(size), seen: make(map[uint64]bool)}
		at := rapid.SampledFrom([]uint64{1, 30, 1<<32 - 40, 1 << 40, 1<<37 + 5}).Draw(t, "start")
		for _, step := range rapid.SliceOfN(rapid.Int64Range(-5000, 5000), 1, 200).Draw(t, "steps") {
			if step%3 != 0 {
				step /= 40 // mostly near
			}
			if seq := int64(at) + step; seq > 0 {
				at = uint64(seq)
			}
			fresh := w.Fresh(at)
			got, want := w.Accept(at), n.accept(at)
			if got != want || fresh != want {
				t.Fatalf("With %d as the highest, %d should be accepted: %v, got %v and %v.", n.highest, at, want, fresh, got)
			}
			if w.Highest() != n.highest {
				t.Fatalf("The highest number should be %d, got %d.", n.highest, w.Highest())
			}
		}
	})
}

// TestImportForgetsNothing moves the state of a window into another one, which
// has a history of its own: what either has received is accepted no more.
func TestImportForgetsNothing(t *testing.T) { // B3
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SampledFrom([]uint32{32, 64, 128, 2048})
		from, to := esp.NewWindow(sizes.Draw(t, "size here")), esp.NewWindow(sizes.Draw(t, "size there"))
		numbers := rapid.SliceOfN(rapid.Uint64Range(1, 300), 0, 80)
		var all []uint64
		for _, w := range []*esp.Window{from, to} {
			for _, seq := range numbers.Draw(t, "received") {
				w.Accept(seq)
				all = append(all, seq)
			}
		}
		to.Import(from.Export())
		top := max(from.Highest(), to.Highest())
		if to.Highest() != top {
			t.Fatalf("The highest number should be %d, got %d.", top, to.Highest())
		}
		for _, seq := range all {
			if to.Fresh(seq) {
				t.Fatalf("%d was received before the import and would be accepted again.", seq)
			}
		}
	})
}

// TestExportIsWhatFreshSays of every number of the window, after random packets.
func TestExportIsWhatFreshSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]uint32{32, 64, 128, 2048}).Draw(t, "size")
		w := esp.NewWindow(size)
		start := rapid.SampledFrom([]uint64{1, 31, 1000, 1 << 40}).Draw(t, "start")
		for _, step := range rapid.SliceOfN(rapid.Uint64Range(0, 3000), 1, 60).Draw(t, "steps") {
			w.Accept(start + step)
		}
		s := w.Export()
		if s.Highest != w.Highest() || len(s.Bitmap)*8 != int(size) {
			t.Fatalf("A window of %d at %d should be exported, got %d bits at %d.", size, w.Highest(), len(s.Bitmap)*8, s.Highest)
		}
		for back := range uint64(size) {
			got := s.Bitmap[back/8]&(1<<(back%8)) != 0
			if want := back >= s.Highest || !w.Fresh(s.Highest-back); got != want {
				t.Fatalf("With %d as the highest, %d back should be exported as received: %v, got %v.", s.Highest, back, want, got)
			}
		}
	})
}

// TestExportTellsTheWindow compares each bit with what the window would accept.
func TestExportTellsTheWindow(t *testing.T) {
	w := esp.NewWindow(64)
	for _, seq := range []uint64{100, 99, 60, 37, 36} {
		w.Accept(seq) // 36 is left of the window
	}
	s := w.Export()
	if s.Highest != 100 || len(s.Bitmap) != 8 {
		t.Fatalf("The window of 64 at 100 should be exported, got %+v.", s)
	}
	for back := range uint64(64) {
		got := s.Bitmap[back/8]&(1<<(back%8)) != 0
		want := back == 0 || back == 1 || back == 40 || back == 63
		if got != want {
			t.Errorf("Number %d should be exported as received: %v, got %v.", 100-back, want, got)
		}
	}
	early := esp.NewWindow(64)
	early.Accept(3)
	if b := early.Export().Bitmap; b[0]&0b110 != 0 || b[0]&0b1000 == 0 || b[7] != 0xff {
		t.Errorf("After 3 only, 2 and 1 are open and what is before 1 is not, got %08b.", b)
	}
}

// TestImportWithoutBitmapClosesThePast is a checkpoint that knows only the edge:
// "What lies beyond it counts as received".
func TestImportWithoutBitmapClosesThePast(t *testing.T) {
	w := esp.NewWindow(128)
	w.Import(ipsec.Sequence{Highest: 1000})
	for _, seq := range []uint64{1, 872, 873, 999, 1000} {
		if w.Accept(seq) {
			t.Errorf("After an import of 1000 without a bitmap, %d should be refused.", seq)
		}
	}
	if !w.Accept(1001) {
		t.Error("After an import of 1000, 1001 should be accepted.")
	}
}

// TestInferESN holds the cases of RFC 4303 appendix A2.2: the window within one
// subspace of 2^32 (A) and across two (B).
func TestInferESN(t *testing.T) {
	const k = 1 << 32
	for _, c := range []struct {
		name    string
		highest uint64
		low     uint32
		want    uint64 // 0 for none
	}{
		{"a fresh SA", 0, 1, 1},
		{"A: right of the window", 5*k + 1000, 1001, 5*k + 1001},
		{"A: within the window", 5*k + 1000, 950, 5*k + 950},
		{"A: left edge", 5*k + 1000, 1000 - 127, 5*k + 1000 - 127},
		{"A: left of it, so in the next subspace", 5*k + 1000, 1000 - 128, 6*k + 1000 - 128},
		{"A: the next subspace begins", 6*k - 1, 0, 6 * k},
		{"B: within the window, before the border", 5*k + 10, 1<<32 - 5, 5*k - 5},
		{"B: left edge", 5*k + 10, 1<<32 - 117, 5*k - 117},
		{"B: left of it, so ahead", 5*k + 10, 1<<32 - 118, 6*k - 118},
		{"B: right of the window", 5*k + 10, 50, 5*k + 50},
		{"before the first number", 10, 1<<32 - 5, 0},
		{"number zero", 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := esp.NewWindow(128)
			if c.highest > 0 {
				w.Accept(c.highest)
			}
			got, ok := w.Infer(c.low, true)
			if ok != (c.want != 0) || got != c.want {
				t.Errorf("With %#x as the highest, %#x should mean %#x, got %#x, %v.", c.highest, c.low, c.want, got, ok)
			}
		})
	}
	w := esp.NewWindow(128)
	w.Accept(1<<64 - 1)
	if seq, ok := w.Infer(5, true); ok {
		t.Errorf("After the last number of 64 bits none should follow, got %#x.", seq)
	}
}

func TestInferWithoutESN(t *testing.T) {
	w := esp.NewWindow(128)
	w.Accept(1<<32 - 1)
	if seq, ok := w.Infer(5, false); !ok || seq != 5 || w.Fresh(seq) {
		t.Errorf("Without ESN 5 is 5, and old after 2^32-1, got %d, %v.", seq, ok)
	}
	if _, ok := w.Infer(0, false); ok {
		t.Error("Number 0 is never sent (RFC 4303 section 3.3.3), but was taken.")
	}
}

// TestWindowHasADefault: a window of zero is the default, never off.
func TestWindowHasADefault(t *testing.T) {
	w := esp.NewWindow(0)
	w.Accept(10000)
	if w.Accept(10000-ipsec.DefaultReplayWindow) || !w.Accept(10000-ipsec.DefaultReplayWindow+1) {
		t.Errorf("Window 0 should be one of %d.", ipsec.DefaultReplayWindow)
	}
}

// TestNothingIsAcceptedTwiceAtOnce lets several receivers meet the same packets.
func TestNothingIsAcceptedTwiceAtOnce(t *testing.T) {
	const numbers = 20000
	w := esp.NewWindow(64)
	var accepted [numbers + 1]atomic.Int32
	var tasks sync.WaitGroup
	for worker := range 4 {
		tasks.Go(func() {
			for i := range uint64(numbers) {
				seq := i + 1
				if worker%2 == 1 && seq > 40 { // some lag behind, at the edge
					seq -= 40
				}
				if w.Accept(seq) {
					accepted[seq].Add(1)
				}
				if i%512 == 0 {
					w.Import(w.Export())
				}
			}
		})
	}
	tasks.Wait()
	for seq := range accepted {
		if n := accepted[seq].Load(); n > 1 {
			t.Fatalf("Number %d was accepted %d times.", seq, n)
		}
	}
	if w.Highest() != numbers {
		t.Errorf("The highest number should be %d, got %d.", numbers, w.Highest())
	}
}
