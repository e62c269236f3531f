package softesp

import (
	"context"
	"iter"
	"sync"

	"github.com/evergate/evergate/offload"
)

// maxEvents bounds the events that wait for a reader.
const maxEvents = 8192

// eventQueue keeps events for one reader at a time. Adding never waits for the
// reader; what does not fit is counted, and the reader is told.
type eventQueue struct {
	mu     sync.Mutex
	events []offload.Event
	lost   uint64
	// ready has a token when there is something to read.
	ready chan struct{}
	// ended is closed when a newer stream takes over, nil without a stream.
	ended chan struct{}
}

func newEventQueue() *eventQueue { return &eventQueue{ready: make(chan struct{}, 1)} }

// add queues an event, unless the queue is full. The packet path calls it for
// events that are rare by construction: once per SA, per lease or per second.
func (q *eventQueue) add(e offload.Event) {
	q.mu.Lock()
	if len(q.events) < maxEvents && q.lost == 0 {
		q.events = append(q.events, e)
	} else {
		q.lost++
	}
	q.mu.Unlock()
	q.signal()
}

func (q *eventQueue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take returns all that waits; the gap, if any, comes last.
func (q *eventQueue) take() []offload.Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	events := q.events
	if q.lost > 0 {
		events = append(events, offload.Overrun{Lost: q.lost})
	}
	q.events, q.lost = nil, 0
	return events
}

// begin ends the stream before this one.
func (q *eventQueue) begin() chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended != nil {
		close(q.ended)
	}
	q.ended = make(chan struct{})
	return q.ended
}

// giveBack puts events that a stream took and did not deliver before the others.
func (q *eventQueue) giveBack(events []offload.Event) {
	if len(events) == 0 {
		return
	}
	q.mu.Lock()
	if gap, ok := events[len(events)-1].(offload.Overrun); ok {
		q.lost += gap.Lost
		events = events[:len(events)-1]
	}
	q.events = append(events, q.events...)
	if over := len(q.events) - maxEvents; over > 0 {
		q.lost += uint64(over)
		q.events = q.events[:maxEvents]
	}
	q.mu.Unlock()
	q.signal()
}

// stream yields events until ctx ends, a newer stream begins, or closed is.
func (q *eventQueue) stream(ctx context.Context, closed <-chan struct{}) iter.Seq2[offload.Event, error] {
	return func(yield func(offload.Event, error) bool) {
		ended := q.begin()
		q.signal() // the stream before may have taken the token
		for {
			select {
			case <-ctx.Done():
				return
			case <-ended:
				return
			case <-closed:
				yield(nil, offload.ErrDown)
				return
			case <-q.ready:
			}
			events := q.take()
			for i, e := range events {
				if ctx.Err() != nil || !yield(e, nil) {
					q.giveBack(events[i:])
					return
				}
			}
		}
	}
}
