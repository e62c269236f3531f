package engine

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/evergate/evergate/offload"
)

// TestPartsOfCheckpointsAreUsedAgain: not before all have read them, and with nothing
// left of what was in them.
func TestPartsOfCheckpointsAreUsedAgain(t *testing.T) {
	parts := newCounterParts(1)
	part := parts.get(t.Context())
	part.list = append(part.list, offload.Counters{Packets: 1})
	part.readers.Store(2)
	parts.put(part)
	if len(part.list) != 1 {
		t.Error("A part was emptied while somebody may still read it.")
	}
	parts.put(part)
	if len(part.list) != 0 || part.list[:1][0].Packets != 0 {
		t.Errorf("A part that was read holds %+v still.", part.list[:1])
	}
	if next := parts.get(t.Context()); len(next.list) != 0 || cap(next.list) != checkpointPart {
		t.Errorf("The next part has %d counters and room for %d, want none and %d.", len(next.list), cap(next.list), checkpointPart)
	}
}

// TestCheckpointWaitsForItsReaders: parts are bounded. Who is late holds up the next one,
// and not for longer than there is anybody to read it.
func TestCheckpointWaitsForItsReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const shards = 2
		parts := newCounterParts(shards)
		var first *counterPart
		for n := range checkpointParts + shards {
			if part := parts.get(t.Context()); n == 0 {
				first = part
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan *counterPart)
		go func() { got <- parts.get(ctx) }()
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("There were more parts than there are.")
		default:
		}
		first.readers.Store(1)
		parts.put(first)
		if next := <-got; next != first {
			t.Error("The next part should be the one that was read.")
		}
		cancel()
		if parts.get(ctx) == nil {
			t.Error("At the end there should be a part nevertheless.")
		}
	})
}
