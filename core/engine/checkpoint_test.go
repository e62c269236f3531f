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
	if next := parts.get(t.Context()); next != part {
		t.Error("Another part was made, though nobody had the first one any more.")
	}
}

// TestFewTunnelsTakeFewParts: what is read before the next part is needed is the next
// part, so that a gateway with few tunnels keeps the memory of few.
func TestFewTunnelsTakeFewParts(t *testing.T) {
	parts := newCounterParts(4)
	for range 100 {
		part := parts.get(t.Context())
		part.readers.Store(1)
		parts.put(part)
	}
	if len(parts.free) != 1 {
		t.Errorf("A hundred checkpoints of one part each keep %d parts, want the same one.", len(parts.free))
	}
}

// TestTheWordOnAnSALeavesNoGarbage: it comes every second, for all SAs, and few have
// packets that were not carried at once.
func TestTheWordOnAnSALeavesNoGarbage(t *testing.T) {
	var n count
	word := offload.Counters{Packets: 1, Idle: -1}
	if got := testing.AllocsPerRun(100, func() { n.note(word) }); got != 0 {
		t.Errorf("The word on an SA takes %v allocations, want none.", got)
	}
	word.Held = 3
	if n.note(word); n.hindrance().held != 3 {
		t.Errorf("An SA held %d packets, want 3.", n.hindrance().held)
	}
	word.Held = 0
	if n.note(word); n.hindered != nil {
		t.Errorf("An SA that holds nothing any more has %+v still.", *n.hindered)
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
