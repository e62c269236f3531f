package xfrmnl

import (
	"fmt"
	"math/bits"
)

// MaxReplayWindow is the largest window that the kernel keeps, in packets.
const MaxReplayWindow = 4096

// Replay is the sequence number state of an SA, struct xfrm_replay_state_esn.
type Replay struct {
	// Sent is the last number that was sent, Received the highest one that came.
	// Without ESN they have 32 bits.
	Sent, Received uint64
	// Window in packets.
	Window uint32
	// Bitmap of what was received, a ring: number n is bit (n-1)%Window.
	Bitmap []uint32
}

// NewReplay makes the state of an SA that has seen nothing. The window becomes a
// power of two, as others lose their place in the ring when the lower half of an
// ESN wraps. The kernel has no ESN without a window, so 0 becomes the smallest.
func NewReplay(window uint32) Replay {
	window = min(max(window, 32), MaxReplayWindow)
	window = 1 << bits.Len32(window-1)
	return Replay{Window: window, Bitmap: make([]uint32, window/32)}
}

// Seen tells whether n counts as received: it did, or is left of the window.
func (r Replay) Seen(n uint64) bool {
	switch {
	case n > r.Received:
		return false
	case n == 0 || r.Received-n >= uint64(r.Window):
		return true
	default:
		word, bit := r.slot(n)
		return r.Bitmap[word]&bit != 0
	}
}

// Mark notes that n was received. It must not be left of the window.
func (r *Replay) Mark(n uint64) {
	if n > r.Received {
		r.advance(n)
	}
	word, bit := r.slot(n)
	r.Bitmap[word] |= bit
}

// advance moves the right edge to n, of which nothing is known yet.
func (r *Replay) advance(n uint64) {
	if n-r.Received >= uint64(r.Window) {
		clear(r.Bitmap)
	} else {
		for m := r.Received + 1; m <= n; m++ {
			word, bit := r.slot(m)
			r.Bitmap[word] &^= bit
		}
	}
	r.Received = n
}

// slot is where number n is kept; n is not 0.
func (r Replay) slot(n uint64) (word int, bit uint32) {
	at := (n - 1) % uint64(r.Window)
	return int(at / 32), 1 << (at % 32)
}

// Merge adds what another window has received: bit i of bitmap stands for
// highest-i, and what lies beyond it counts as received. Nothing is taken back.
func (r *Replay) Merge(highest uint64, bitmap []byte) {
	if highest == 0 {
		return
	}
	if highest > r.Received {
		r.advance(highest)
	}
	for i := uint64(0); i < uint64(r.Window) && i < r.Received; i++ {
		n := r.Received - i
		if n > highest {
			continue
		}
		at := highest - n
		if at/8 >= uint64(len(bitmap)) || bitmap[at/8]>>(at%8)&1 != 0 {
			r.Mark(n)
		}
	}
}

// Shut marks the whole window as received.
func (r *Replay) Shut() {
	for i := range r.Bitmap {
		r.Bitmap[i] = 1<<32 - 1
	}
}

// Below is the window as ipsec.Sequence.Bitmap: bit i%8 of octet i/8 stands for
// Received-i. It is nil where nothing was received.
func (r Replay) Below() []byte {
	if r.Received == 0 {
		return nil
	}
	b := make([]byte, (r.Window+7)/8)
	for i := range uint64(8 * len(b)) {
		if i >= r.Received || r.Seen(r.Received-i) {
			b[i/8] |= 1 << (i % 8)
		}
	}
	return b
}

func (r Replay) marshal() []byte {
	b := make([]byte, sizeReplay+4*len(r.Bitmap))
	native.PutUint32(b, uint32(len(r.Bitmap)))
	native.PutUint32(b[4:], uint32(r.Sent))
	native.PutUint32(b[8:], uint32(r.Received))
	native.PutUint32(b[12:], uint32(r.Sent>>32))
	native.PutUint32(b[16:], uint32(r.Received>>32))
	native.PutUint32(b[20:], r.Window)
	for i, w := range r.Bitmap {
		native.PutUint32(b[sizeReplay+4*i:], w)
	}
	return b
}

func replayOf(b []byte) (Replay, error) {
	if len(b) < sizeReplay {
		return Replay{}, fmt.Errorf("replay state: %w", errShort)
	}
	words := native.Uint32(b)
	if words > MaxReplayWindow/32 || len(b) < sizeReplay+4*int(words) {
		return Replay{}, fmt.Errorf("replay state of %d words: %w", words, errShort)
	}
	r := Replay{
		Sent:     uint64(native.Uint32(b[12:]))<<32 | uint64(native.Uint32(b[4:])),
		Received: uint64(native.Uint32(b[16:]))<<32 | uint64(native.Uint32(b[8:])),
		Window:   min(native.Uint32(b[20:]), 32*words),
		Bitmap:   make([]uint32, words),
	}
	for i := range r.Bitmap {
		r.Bitmap[i] = native.Uint32(b[sizeReplay+4*i:])
	}
	return r, nil
}
