package play

import (
	"cmp"
	"container/heap"
	"time"
)

// Clock is the time of a run. It runs events in order of their time; those of one time
// in the order in which they were made. Zero is ready, at the zero time.
type Clock struct {
	now   time.Time
	queue events
	made  uint64
}

// NewClock stands at the time begin.
func NewClock(begin time.Time) Clock { return Clock{now: begin} }

// Now is the time of the event that runs, or at which Run has stopped.
func (c *Clock) Now() time.Time { return c.now }

// Made counts the events that were made.
func (c *Clock) Made() uint64 { return c.made }

// After has do called in d, by Run. A time that is gone means now.
func (c *Clock) After(d time.Duration, do func()) {
	c.made++
	heap.Push(&c.queue, event{c.now.Add(max(0, d)), c.made, do})
}

// Run plays events up to and including the time until, or until stop says so, which is
// asked before each.
func (c *Clock) Run(until time.Time, stop func() bool) {
	for len(c.queue) > 0 && !c.queue[0].at.After(until) && !stop() {
		e, _ := heap.Pop(&c.queue).(event)
		c.now = e.at
		e.do()
	}
	if c.now.Before(until) && !stop() {
		c.now = until
	}
}

type event struct {
	at   time.Time
	made uint64
	do   func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return cmp.Or(q[i].at.Compare(q[j].at), cmp.Compare(q[i].made, q[j].made)) < 0
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *events) Push(x any) {
	if e, ok := x.(event); ok {
		*q = append(*q, e)
	}
}

// Pop implements heap.Interface.
func (q *events) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = event{}
	*q = (*q)[:last]
	return e
}
