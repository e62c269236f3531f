package mem

// window is an anti-replay window (RFC 4303 section 3.4.3): which of the last
// len(seen) numbers up to top were received.
type window struct {
	top  uint64
	seen []bool // number n is at n modulo the length
}

func newWindow(size uint32) window { return window{seen: make([]bool, size)} }

func (w *window) slot(n uint64) *bool { return &w.seen[n%uint64(len(w.seen))] }

// received tells whether n must not be accepted (again): it was received, or is
// left of the window. 0 is never sent.
func (w *window) received(n uint64) bool {
	switch {
	case n > w.top:
		return false
	case n == 0 || w.top-n >= uint64(len(w.seen)):
		return true
	default:
		return *w.slot(n)
	}
}

// mark notes that n was received, moving the window when n is right of it.
func (w *window) mark(n uint64) {
	if n > w.top {
		w.advance(n)
	}
	*w.slot(n) = true
}

func (w *window) advance(top uint64) {
	if top-w.top >= uint64(len(w.seen)) {
		clear(w.seen)
	} else {
		for n := w.top + 1; n <= top; n++ {
			*w.slot(n) = false
		}
	}
	w.top = top
}

// merge adds what another window has received: bit i of bitmap stands for
// highest-i, and what lies beyond it counts as received.
func (w *window) merge(highest uint64, bitmap []byte) {
	if highest == 0 {
		return
	}
	there := func(n uint64) bool {
		i := highest - n
		return i/8 >= uint64(len(bitmap)) || bitmap[i/8]>>(i%8)&1 != 0
	}
	if highest > w.top {
		w.advance(highest)
	}
	for i := range uint64(len(w.seen)) {
		if n := w.top - i; i < w.top && n <= highest && there(n) {
			*w.slot(n) = true
		}
	}
}

// resize keeps what is known; what a wider window would know more counts as
// received.
func (w *window) resize(size uint32) {
	if int(size) == len(w.seen) {
		return
	}
	n := newWindow(size)
	n.merge(w.top, w.bitmap())
	*w = n
}

// bitmap is the window as ipsec.Sequence.Bitmap.
func (w *window) bitmap() []byte {
	if w.top == 0 {
		return nil
	}
	b := make([]byte, (len(w.seen)+7)/8)
	for i := range uint64(8 * len(b)) {
		// What is left of the window, or of 1, counts as received.
		if i >= w.top || w.received(w.top-i) {
			b[i/8] |= 1 << (i % 8)
		}
	}
	return b
}
