package engine

import "sync"

// queue hands values from many goroutines to one. It does not bound itself:
// push for what is bounded by something else, offer for what a network can
// send.
type queue[T any] struct {
	mu     sync.Mutex
	items  []T
	closed bool
	ready  chan struct{} // one token while there may be items
}

func newQueue[T any]() *queue[T] { return &queue[T]{ready: make(chan struct{}, 1)} }

// push adds v, whatever the length. It is false once the queue is closed.
func (q *queue[T]) push(v T) bool { return q.offer(v, 0) }

// offer adds v unless the queue holds limit items already; 0 is no limit.
func (q *queue[T]) offer(v T, limit int) bool {
	q.mu.Lock()
	ok := !q.closed && (limit == 0 || len(q.items) < limit)
	if ok {
		q.items = append(q.items, v)
	}
	q.mu.Unlock()
	if ok {
		select {
		case q.ready <- struct{}{}:
		default:
		}
	}
	return ok
}

// take returns all items; nil when there are none. The reader waits on ready
// before it.
func (q *queue[T]) take() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	q.items = nil
	return items
}

// close refuses what comes from now on.
func (q *queue[T]) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}
