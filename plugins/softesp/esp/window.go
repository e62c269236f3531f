package esp

import (
	"math/bits"
	"sync/atomic"

	"github.com/evergate/evergate/core/ipsec"
)

// wordBits is how many sequence numbers share a word of the window.
const wordBits = 32

// Window is the anti-replay window of an inbound SA (RFC 4303 section 3.4.3). It
// has no lock: several receivers and the control calls may use it at once, and
// still no number is accepted twice.
//
// The window is a ring of words. A word holds 32 numbers, a block, as bits in
// its lower half, and which block that is in its upper half, so that a word of
// an older block is replaced whole, with one compare-and-swap, by whoever comes
// first. Nothing has to be cleared when the window moves.
type Window struct {
	size    uint64 // numbers, a multiple of wordBits
	highest atomic.Uint64
	// ring is nil before the first number: most SAs of many rest.
	ring atomic.Pointer[[]atomic.Uint64]
}

// NewWindow makes a window of at least size packets; 0 stands for
// ipsec.DefaultReplayWindow.
func NewWindow(size uint32) *Window {
	if size == 0 {
		size = ipsec.DefaultReplayWindow
	}
	size = min(size, ipsec.MaxReplayWindow)
	return &Window{size: uint64((size+wordBits-1)/wordBits) * wordBits}
}

// Highest is the right edge, the highest number accepted; 0 for none.
func (w *Window) Highest() uint64 { return w.highest.Load() }

// Infer returns the full sequence number of a packet from the 32 bits in its
// header: the one closest to the window, as RFC 4303 appendix A2.2 has it.
// Without ESN it is those bits. False means that no valid number has them.
func (w *Window) Infer(low uint32, esn bool) (uint64, bool) {
	return w.InferFrom(w.Highest(), low, esn)
}

// InferFrom is Infer with the right edge that the window had a while ago.
func (w *Window) InferFrom(top uint64, low uint32, esn bool) (uint64, bool) {
	if !esn {
		return uint64(low), low != 0
	}
	high, topLow := top>>32, uint32(top)
	left := topLow - uint32(w.size) + 1 // bl of the RFC, modulo 2^32
	switch {
	case uint64(topLow) >= w.size-1 && low < left: // case A: the window lies within one subspace
		high++
	case uint64(topLow) < w.size-1 && low >= left: // case B: it reaches into the subspace before
		if high == 0 {
			return 0, false
		}
		high--
	}
	if high > 1<<32-1 {
		return 0, false
	}
	seq := high<<32 | uint64(low)
	return seq, seq != 0
}

// Fresh tells whether seq could be accepted: neither left of the window nor seen
// in it. It is the cheap check before the integrity check.
func (w *Window) Fresh(seq uint64) bool {
	block, bit := locate(seq)
	word := w.word(block).Load() // before the edge, which moves before a word does
	return !w.passed(seq) && (!holds(word, block) || word&bit == 0)
}

// Accept marks seq as received, after its packet was found authentic. False
// means that it was received before, or has left the window meanwhile.
func (w *Window) Accept(seq uint64) bool {
	w.advance(seq)
	block, bit := locate(seq)
	word := w.word(block)
	for {
		old := word.Load()
		// A newer block is written only after the right edge has moved, so a
		// word that is neither ours nor older shows in this check.
		if w.passed(seq) || holds(old, block) && old&bit != 0 {
			return false
		}
		if word.CompareAndSwap(old, merge(old, block, bit)) {
			return true
		}
	}
}

// advance moves the right edge to seq, never back.
func (w *Window) advance(seq uint64) {
	for {
		top := w.highest.Load()
		if seq <= top || w.highest.CompareAndSwap(top, seq) {
			return
		}
	}
}

// passed tells whether seq lies left of the window.
func (w *Window) passed(seq uint64) bool {
	top := w.highest.Load()
	return seq <= top && top-seq >= w.size
}

// Import merges what is known elsewhere: the edge never moves back, and what was
// received on either side counts as received. Numbers left of s.Bitmap count as
// received too.
func (w *Window) Import(s ipsec.Sequence) {
	if s.Highest == 0 {
		return
	}
	w.advance(s.Highest)
	first := uint64(0)
	if s.Highest >= w.size {
		first = s.Highest - w.size + 1
	}
	for block := first / wordBits; block <= s.Highest/wordBits; block++ {
		if marks := received(s, block); marks != 0 {
			w.add(block, marks)
		}
	}
}

// received returns the bits of a block that s has as received.
func received(s ipsec.Sequence, block uint64) uint64 {
	var marks uint64
	for i := range uint64(wordBits) {
		seq := block*wordBits + i
		if seq > s.Highest {
			break
		}
		back := s.Highest - seq
		if back/8 >= uint64(len(s.Bitmap)) || s.Bitmap[back/8]&(1<<(back%8)) != 0 {
			marks |= 1 << i
		}
	}
	return marks
}

// add marks several numbers of a block, unless it lies left of the window.
func (w *Window) add(block, marks uint64) {
	word := w.word(block)
	for {
		old := word.Load()
		if w.passed(block*wordBits + wordBits - 1) {
			return
		}
		if word.CompareAndSwap(old, merge(old, block, marks)) {
			return
		}
	}
}

// Export returns the window as ipsec.Sequence has it. Numbers that packets mark
// at the same time may be missing, as those that come a moment later are.
//
// Bit 0 of the bitmap is the highest number, so words are taken from there
// downwards, each reversed, as one stream of bits.
func (w *Window) Export() ipsec.Sequence {
	top := w.highest.Load()
	if top == 0 {
		return ipsec.Sequence{}
	}
	bitmap := make([]byte, 0, w.size/8)
	above := wordBits - 1 - int(top%wordBits) // bits of the top block that are right of top
	stream := uint64(bits.Reverse32(w.marks(top/wordBits))) >> above
	held := wordBits - above
	for block := top / wordBits; ; {
		for ; held >= 8; held -= 8 {
			bitmap = append(bitmap, byte(stream))
			stream >>= 8
			if len(bitmap) == cap(bitmap) {
				return ipsec.Sequence{Highest: top, Bitmap: bitmap}
			}
		}
		older := ^uint32(0) // before the first number
		if block > 0 {
			block--
			older = bits.Reverse32(w.marks(block))
		}
		stream |= uint64(older) << held
		held += wordBits
	}
}

// marks returns which numbers of a block were received.
func (w *Window) marks(block uint64) uint32 {
	word := w.word(block).Load() // before the edge, as in Fresh
	switch {
	case holds(word, block):
	case w.passed(block*wordBits + wordBits - 1):
		word = 1<<wordBits - 1
	default:
		word = 0
	}
	if block == 0 {
		word |= 1 // there is no number 0
	}
	return uint32(word)
}

func (w *Window) word(block uint64) *atomic.Uint64 {
	ring := w.ring.Load()
	if ring == nil {
		ring = w.begin()
	}
	return &(*ring)[block%uint64(len(*ring))]
}

// begin makes the ring, of one word more than the window has blocks: its edges lie
// within blocks.
func (w *Window) begin() *[]atomic.Uint64 {
	words := make([]atomic.Uint64, w.size/wordBits+1)
	w.ring.CompareAndSwap(nil, &words)
	return w.ring.Load()
}

// locate returns the block of seq and its bit in there.
func locate(seq uint64) (block, bit uint64) { return seq / wordBits, 1 << (seq % wordBits) }

// holds tells whether word is that of block. Blocks that share a word and their
// lower 32 bits are 2^37 numbers apart; a stale word that is taken for a newer
// one then refuses packets at worst.
func holds(word, block uint64) bool { return uint32(word>>wordBits) == uint32(block) }

// merge returns word with marks of block set, without what it held of another.
func merge(word, block, marks uint64) uint64 {
	if !holds(word, block) {
		word = block << wordBits
	}
	return word | marks
}
