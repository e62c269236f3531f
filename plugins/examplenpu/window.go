package examplenpu

// window is an anti-replay window (RFC 4303 section 3.4.3).
type window struct {
	top  uint64   // the highest number that was received
	size uint64   // in numbers
	seen []uint64 // number n is bit n modulo size
}

func (w *window) bit(n uint64) (word *uint64, mask uint64) {
	i := n % w.size
	return &w.seen[i/64], 1 << (i % 64)
}

// received tells whether n must not be accepted: it was received before, or is
// left of the window. No sender uses 0.
func (w *window) received(n uint64) bool {
	switch {
	case n == 0:
		return true
	case n > w.top:
		return false
	case w.top-n >= w.size:
		return true
	}
	word, mask := w.bit(n)
	return *word&mask != 0
}

// mark notes that n, which is not left of the window, was received.
func (w *window) mark(n uint64) {
	w.advance(n)
	word, mask := w.bit(n)
	*word |= mask
}

// advance moves the right edge to n, if that is further.
func (w *window) advance(n uint64) {
	if n <= w.top {
		return
	}
	if n-w.top >= w.size {
		clear(w.seen)
	} else {
		for i := w.top + 1; i <= n; i++ {
			word, mask := w.bit(i)
			*word &^= mask
		}
	}
	w.top = n
}

// infer returns the whole number of which a packet has the lower half (RFC 4303
// appendix A2.2): the one that lies in the window or closest to its right.
func (w *window) infer(low uint32) uint64 {
	left := uint64(0)
	if w.top >= w.size {
		left = w.top - w.size + 1
	}
	n := left&^0xffff_ffff | uint64(low)
	if n < left {
		n += 1 << 32
	}
	return n
}

// merge takes over what another window had received: bit i of bitmap stands for
// highest-i, and what lies beyond the bitmap counts as received.
func (w *window) merge(highest uint64, bitmap []byte) {
	w.advance(highest)
	for back := range w.size {
		n := w.top - back
		if back >= w.top {
			return
		}
		i := highest - n
		if n <= highest && (i/8 >= uint64(len(bitmap)) || bitmap[i/8]>>(i%8)&1 != 0) {
			word, mask := w.bit(n)
			*word |= mask
		}
	}
}

// resize makes the window size numbers long. What a longer one would know more
// counts as received.
func (w *window) resize(size uint32) {
	if w.size == uint64(size) {
		return
	}
	resized := window{size: uint64(size), seen: make([]uint64, (size+63)/64)}
	if w.size > 0 {
		resized.merge(w.top, w.bitmap())
	}
	*w = resized
}

// bitmap is the window as in ipsec.Sequence; nil when nothing was received.
func (w *window) bitmap() []byte {
	if w.top == 0 {
		return nil
	}
	b := make([]byte, (w.size+7)/8)
	for i := range 8 * uint64(len(b)) {
		if i >= w.top || w.received(w.top-i) {
			b[i/8] |= 1 << (i % 8)
		}
	}
	return b
}
