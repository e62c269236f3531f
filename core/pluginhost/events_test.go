package pluginhost

import (
	"context"
	"testing"

	"github.com/evergate/evergate/offload"
)

func TestUnreadEventsShowAsOverrun(t *testing.T) {
	var q queue
	for i := range eventLimit + 5 {
		q.push(offload.LeaseLow{Next: uint64(i)})
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	q.read(ctx, func(ev offload.Event, _ error) bool {
		n++
		if lost, ok := ev.(offload.Overrun); ok {
			if lost.Lost != 5 || n != eventLimit+1 {
				t.Errorf("Event %d is %+v, want Overrun of 5 behind %d events.", n, lost, eventLimit)
			}
			cancel()
		}
		return true
	})
}

func TestReaderThatStopsLosesNothing(t *testing.T) {
	var q queue
	for i := range 3 {
		q.push(offload.LeaseLow{Next: uint64(i)})
	}
	next := uint64(0)
	for next < 3 {
		q.read(t.Context(), func(ev offload.Event, _ error) bool {
			if low, ok := ev.(offload.LeaseLow); !ok || low.Next != next {
				t.Errorf("Got %+v, want LeaseLow of %d.", ev, next)
			}
			next++
			return false
		})
	}
}

func TestNewReaderEndsTheOlder(t *testing.T) {
	var q queue
	started, ended := make(chan struct{}), make(chan struct{})
	q.push(offload.Reset{})
	go func() {
		defer close(ended)
		q.read(t.Context(), func(offload.Event, error) bool { close(started); return true })
	}()
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-ended; cancel() }()
	q.read(ctx, func(ev offload.Event, _ error) bool {
		t.Errorf("An event came twice: %+v.", ev)
		return true
	})
}
