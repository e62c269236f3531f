package mem

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/evergate/evergate/offload"
)

// queue keeps events for one reader.
type queue struct {
	limit int

	mu     sync.Mutex
	events []offload.Event
	lost   uint64  // since the last event in events
	lose   int     // how many of the next ones get lost
	reader *reader // the newest
	closed bool    // the engine is
}

// reader is one stream of events.
type reader struct {
	wake  chan struct{} // holds one token when there may be something to read
	ended chan struct{} // closed when a newer stream took over
}

// push adds ev, or counts it as lost when there is no room.
func (q *queue) push(ev offload.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.lose > 0:
		q.lose--
		q.lost++
	case len(q.events) >= q.limit:
		q.lost++
	default:
		q.flushLost()
		q.events = append(q.events, ev)
	}
	q.wake()
}

// flushLost puts an Overrun where events are missing.
func (q *queue) flushLost() {
	if q.lost > 0 {
		q.events = append(q.events, offload.Overrun{Lost: q.lost})
		q.lost = 0
	}
}

func (q *queue) wake() {
	if q.reader == nil {
		return
	}
	select {
	case q.reader.wake <- struct{}{}:
	default:
	}
}

// take removes all that is there, for r if it is still the newest reader. With
// ErrDown nothing comes any more.
func (q *queue) take(r *reader) ([]offload.Event, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if r != q.reader {
		return nil, nil
	}
	out := q.all()
	switch {
	case !q.closed:
		return out, nil
	case len(out) == 0:
		return nil, fmt.Errorf("mem: read events: %w", offload.ErrDown)
	default:
		q.wake() // the end is still to be read
		return out, nil
	}
}

// all empties the queue; its lock is held.
func (q *queue) all() []offload.Event {
	q.flushLost()
	out := q.events
	q.events = nil
	return out
}

// giveBack puts events that were taken and not read in front again.
func (q *queue) giveBack(events []offload.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.events = append(events, q.events...)
	q.wake()
}

// open makes a reader and ends the one before.
func (q *queue) open() *reader {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.reader != nil {
		close(q.reader.ended)
	}
	q.reader = &reader{wake: make(chan struct{}, 1), ended: make(chan struct{})}
	q.wake()
	return q.reader
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wake()
}

// Events implements offload.Engine.
func (e *Engine) Events(ctx context.Context) iter.Seq2[offload.Event, error] {
	return func(yield func(offload.Event, error) bool) {
		r := e.events.open()
		for {
			select {
			case <-ctx.Done():
				return
			case <-r.ended:
				return
			case <-r.wake:
			}
			events, err := e.events.take(r)
			if err != nil {
				yield(nil, err)
				return
			}
			for i, ev := range events {
				if !yield(ev, nil) {
					e.events.giveBack(events[i+1:])
					return
				}
			}
		}
	}
}

// Drain returns the events that nobody has read, for callers that do not want a
// stream.
func (e *Engine) Drain() []offload.Event {
	e.events.mu.Lock()
	defer e.events.mu.Unlock()
	return e.events.all()
}

// LoseEvents makes the next n events get lost, which an Overrun reports.
func (e *Engine) LoseEvents(n int) {
	e.events.mu.Lock()
	defer e.events.mu.Unlock()
	e.events.lose += n
}
