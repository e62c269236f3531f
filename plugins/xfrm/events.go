package xfrm

import (
	"context"
	"iter"
	"sync"

	"github.com/evergate/evergate/offload"
)

// maxEvents bounds the events that wait for a reader.
const maxEvents = 8192

// eventQueue keeps events for one reader at a time.
type eventQueue struct {
	mu      sync.Mutex
	waiting []offload.Event
	lost    uint64        // after those that wait
	wake    chan struct{} // has a token when there is something to read
	ended   chan struct{} // closed when a newer stream begins; nil without one
}

func newEventQueue() *eventQueue { return &eventQueue{wake: make(chan struct{}, 1)} }

// push adds an event, or counts it as lost when the queue is full.
func (q *eventQueue) push(e offload.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.lost > 0 || len(q.waiting) >= maxEvents {
		q.lost++
	} else {
		q.waiting = append(q.waiting, e)
	}
	q.signal()
}

// miss notes that the kernel lost n events before we could read them.
func (q *eventQueue) miss(n uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lost += n
	q.signal()
}

func (q *eventQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// begin ends the stream before this one.
func (q *eventQueue) begin() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended != nil {
		close(q.ended)
	}
	q.ended = make(chan struct{})
	q.signal()
	return q.ended
}

// pop removes the oldest event; a gap comes in its place.
func (q *eventQueue) pop() (offload.Event, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case len(q.waiting) > 0:
		e := q.waiting[0]
		q.waiting = q.waiting[1:]
		return e, true
	case q.lost > 0:
		e := offload.Overrun{Lost: q.lost}
		q.lost = 0
		return e, true
	default:
		return nil, false
	}
}

// stream yields events until ctx ends, a newer stream begins, or closed is.
func (q *eventQueue) stream(ctx context.Context, closed <-chan struct{}) iter.Seq2[offload.Event, error] {
	return func(yield func(offload.Event, error) bool) {
		ended := q.begin()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ended:
				return
			case <-closed:
				yield(nil, offload.ErrDown)
				return
			case <-q.wake:
			}
			for {
				if over(ctx, ended) {
					q.mu.Lock()
					q.signal() // for the next reader
					q.mu.Unlock()
					return
				}
				e, ok := q.pop()
				if !ok {
					break
				}
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// over tells whether a stream has ended.
func over(ctx context.Context, ended <-chan struct{}) bool {
	select {
	case <-ctx.Done():
		return true
	case <-ended:
		return true
	default:
		return false
	}
}
