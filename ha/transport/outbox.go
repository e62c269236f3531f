package transport

import "sync"

// batchOctets is how much one write takes from the queues: a few TLS records.
const batchOctets = 64 << 10

// outbox holds what waits for one session, by class.
type outbox struct {
	queue, octets int           // limits per class
	wake          chan struct{} // capacity 1: something was put

	mu      sync.Mutex
	waiting [Classes]line
	closed  bool
	pong    []byte // the newest ping's body, to be returned
}

// line is a queue of frames. Its zero value is empty.
type line struct {
	frames  []Frame
	head    int
	octets  int
	refused bool // since it was last half empty
}

func (l *line) len() int { return len(l.frames) - l.head }

func newOutbox(l Limits) *outbox {
	return &outbox{queue: l.Queue, octets: l.QueueOctets, wake: make(chan struct{}, 1)}
}

// put queues a frame. One frame always fits into an empty class.
func (o *outbox) put(f Frame) Outcome {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := &o.waiting[f.Class]
	size := headerLen + len(f.Body)
	switch {
	case o.closed:
		return Away
	case l.len() > 0 && (l.len() >= o.queue || l.octets+size > o.octets):
		l.refused = true
		return Full
	}
	l.frames = append(l.frames, f)
	l.octets += size
	o.signal()
	return Queued
}

// answer queues the return of a ping; a newer one replaces it.
func (o *outbox) answer(ping []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pong = ping
	o.signal()
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// A batch is what one write carries.
type batch struct {
	data   []byte
	frames [Classes]uint64
	octets [Classes]uint64
	room   [Classes]bool // classes that refused frames and have room again
}

// take moves frames into b, whose memory is reused: the most urgent first, and
// at least one of every class that waits.
func (o *outbox) take(b *batch) {
	*b = batch{data: b.data[:0]}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.pong != nil {
		b.data = appendFrame(b.data, Frame{Type: typePong, Body: o.pong})
		o.pong = nil
	}
	for c := range o.waiting {
		l := &o.waiting[c]
		for first := true; l.len() > 0 && (first || len(b.data) < batchOctets); first = false {
			f := l.pop()
			b.data = appendFrame(b.data, f)
			b.frames[c]++
			b.octets[c] += uint64(headerLen + len(f.Body))
		}
		if l.refused && l.len() <= o.queue/2 && l.octets <= o.octets/2 {
			l.refused, b.room[c] = false, true
		}
	}
}

// pop takes the first frame of a line that is not empty.
func (l *line) pop() Frame {
	f := l.frames[l.head]
	l.frames[l.head] = Frame{}
	l.head++
	l.octets -= headerLen + len(f.Body)
	if l.head*2 >= len(l.frames) { // amortized: half of it was taken since the last time
		n := copy(l.frames, l.frames[l.head:])
		clear(l.frames[n:])
		l.frames, l.head = l.frames[:n], 0
	}
	return f
}

// close drops everything and takes no more.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.waiting, o.pong = [Classes]line{}, nil
}

// Depth is how much waits in one class.
type Depth struct{ Frames, Octets int }

func (o *outbox) depth() (d [Classes]Depth) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.waiting {
		d[c] = Depth{o.waiting[c].len(), o.waiting[c].octets}
	}
	return d
}
