package engine

import (
	"container/heap"
	"time"
)

// timer is one tunnel's place in the heap of deadlines.
type timer struct {
	at    time.Time
	index int // in the heap, -1 when not in it
	of    *tunnel
}

type timers []*timer

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timers) Push(x any) {
	t, _ := x.(*timer) // container/heap hands back what set pushed
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *timers) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.index = -1
	return t
}

// set moves t to its new deadline; a zero one takes it out.
func (h *timers) set(t *timer, at time.Time) {
	switch {
	case at.IsZero() && t.index >= 0:
		heap.Remove(h, t.index)
	case at.IsZero():
	case t.index >= 0:
		t.at = at
		heap.Fix(h, t.index)
	default:
		t.at = at
		heap.Push(h, t)
	}
}

// due takes out the earliest timer that is not after now, nil when there is
// none.
func (h *timers) due(now time.Time) *timer {
	if len(*h) == 0 || (*h)[0].at.After(now) {
		return nil
	}
	t := (*h)[0]
	heap.Remove(h, 0)
	return t
}
