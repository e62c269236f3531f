package engine

import (
	"testing"

	"github.com/evergate/evergate/offload"
)

// TestPartsOfCheckpointsAreUsedAgain: not before all have read them, and with nothing
// left of what was in them.
func TestPartsOfCheckpointsAreUsedAgain(t *testing.T) {
	var parts counterParts
	part := parts.get()
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
	if next := parts.get(); len(next.list) != 0 || cap(next.list) != checkpointPart {
		t.Errorf("The next part has %d counters and room for %d, want none and %d.", len(next.list), cap(next.list), checkpointPart)
	}
}
