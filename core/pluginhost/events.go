package pluginhost

import (
	"context"
	"sync"

	"github.com/evergate/evergate/offload"
)

// eventLimit is how many events are kept for a reader.
const eventLimit = 8192

// queue keeps events for one reader, over the lives of many processes.
type queue struct {
	mu     sync.Mutex
	events []offload.Event
	lost   uint64        // since the last event that was kept
	total  uint64        // lost ever
	wake   chan struct{} // of the reader; closed when there is something
	reader uint64        // the newest
}

// push adds an event, or counts it as lost when nobody reads.
func (q *queue) push(ev offload.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.events) >= eventLimit {
		q.lost++
		q.total++
		return
	}
	q.events = append(q.events, ev)
	q.signal()
}

func (q *queue) signal() {
	if q.wake != nil {
		close(q.wake)
		q.wake = nil
	}
}

// open starts a reader and ends the one before.
func (q *queue) open() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reader++
	q.signal()
	return q.reader
}

// take returns what there is, or a channel to wait on; ok is false for a reader
// that is no longer the newest.
func (q *queue) take(reader uint64) (events []offload.Event, wait <-chan struct{}, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if reader != q.reader {
		return nil, nil, false
	}
	events, q.events = q.events, nil
	if q.lost > 0 {
		events = append(events, offload.Overrun{Lost: q.lost})
		q.lost = 0
	}
	if len(events) > 0 {
		return events, nil, true
	}
	if q.wake == nil {
		q.wake = make(chan struct{})
	}
	return nil, q.wake, true
}

// giveBack returns events that a reader took and did not use.
func (q *queue) giveBack(events []offload.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.events = append(events, q.events...)
	if len(q.events) > 0 {
		q.signal()
	}
}

// read yields events until ctx ends, yield wants no more, or a newer reader
// opens.
func (q *queue) read(ctx context.Context, yield func(offload.Event, error) bool) {
	reader := q.open()
	for ctx.Err() == nil {
		events, wait, ok := q.take(reader)
		if !ok {
			return
		}
		if wait != nil {
			select {
			case <-wait:
			case <-ctx.Done():
			}
			continue
		}
		for i, ev := range events {
			if !yield(ev, nil) {
				q.giveBack(events[i+1:])
				return
			}
		}
	}
}
