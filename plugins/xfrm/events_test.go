package xfrm

import (
	"context"
	"testing"

	"github.com/evergate/evergate/offload"
)

func TestEventsBeyondTheLimitAreCountedInTheirPlace(t *testing.T) {
	q := newEventQueue()
	for n := range maxEvents + 10 {
		q.push(offload.MTUChanged{MTU: uint16(n)})
	}
	q.miss(5)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for e, err := range q.stream(ctx, nil) {
		if err != nil {
			t.Fatalf("The stream ended: %v.", err)
		}
		if lost, ok := e.(offload.Overrun); ok {
			if n != maxEvents || lost.Lost != 15 {
				t.Errorf("After %d events an Overrun of 15 should come, got one of %d after %d.", maxEvents, lost.Lost, n)
			}
			return
		}
		n++
	}
}
