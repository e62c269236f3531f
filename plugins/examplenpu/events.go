package examplenpu

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/evergate/evergate/offload"
)

// maxEvents is how many events wait for a reader; later ones are lost, and
// counted.
const maxEvents = 4096

// queue keeps events. The zero value is empty.
type queue struct {
	mu      sync.Mutex
	waiting []offload.Event
	lost    uint64  // since the last one of waiting
	reader  *stream // the newest
	closed  bool
}

// stream is one that reads.
type stream struct {
	wake     chan struct{} // has a token when there may be something to read
	replaced chan struct{} // closed by a newer stream
}

// push never waits: it is called in the middle of packets.
func (q *queue) push(ev offload.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= maxEvents {
		q.lost++
		return
	}
	if q.lost > 0 { // in the place of those that are missing
		q.waiting = append(q.waiting, offload.Overrun{Lost: q.lost})
		q.lost = 0
	}
	q.waiting = append(q.waiting, ev)
	q.signal()
}

func (q *queue) signal() {
	if q.reader == nil {
		return
	}
	select {
	case q.reader.wake <- struct{}{}:
	default:
	}
}

// open makes s the reader. It has a token at once, for what waits already.
func (q *queue) open() *stream {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.reader != nil {
		close(q.reader.replaced)
	}
	q.reader = &stream{wake: make(chan struct{}, 1), replaced: make(chan struct{})}
	q.signal()
	return q.reader
}

// next takes the oldest event for s; nil when there is none for it. The error is
// ErrDown when there will be none any more.
func (q *queue) next(s *stream) (offload.Event, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case s != q.reader:
		return nil, nil
	case len(q.waiting) > 0:
		ev := q.waiting[0]
		q.waiting = q.waiting[1:]
		return ev, nil
	case q.lost > 0:
		ev := offload.Overrun{Lost: q.lost}
		q.lost = 0
		return ev, nil
	case q.closed:
		return nil, fmt.Errorf("examplenpu: read events: %w", offload.ErrDown)
	default:
		return nil, nil
	}
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

// Events implements offload.Engine.
func (e *Engine) Events(ctx context.Context) iter.Seq2[offload.Event, error] {
	return func(yield func(offload.Event, error) bool) {
		s := e.events.open()
		for {
			select {
			case <-ctx.Done():
				return
			case <-s.replaced:
				return
			case <-s.wake:
			}
			for ctx.Err() == nil {
				ev, err := e.events.next(s)
				if err != nil {
					yield(nil, err)
					return
				}
				if ev == nil {
					break
				}
				if !yield(ev, nil) {
					return
				}
			}
		}
	}
}
