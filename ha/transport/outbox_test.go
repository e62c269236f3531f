package transport

import (
	"bytes"
	"fmt"
	"testing"
)

// drain reads all that an outbox holds, batch by batch.
func drain(t *testing.T, o *outbox) (batches [][]Frame) {
	t.Helper()
	var b batch
	for {
		o.take(&b)
		if len(b.data) == 0 {
			return batches
		}
		var frames []Frame
		for r := bytes.NewReader(b.data); r.Len() > 0; {
			f, err := readFrame(r, 1<<20)
			if err != nil {
				t.Fatalf("A batch is not made of frames: %v.", err)
			}
			frames = append(frames, f)
		}
		batches = append(batches, frames)
	}
}

func TestUrgentFramesLeaveFirst(t *testing.T) {
	o := newOutbox(Limits{Queue: 10, QueueOctets: 1 << 20})
	for _, f := range []Frame{text(Bulk, "b1"), text(Record, "r1"), text(Control, "c1"), text(Record, "r2"), text(Packet, "p1"), text(Control, "c2")} {
		o.put(f)
	}
	var order []string
	for _, b := range drain(t, o) {
		for _, f := range b {
			order = append(order, string(f.Body))
		}
	}
	if got := fmt.Sprint(order); got != "[c1 c2 p1 r1 r2 b1]" {
		t.Errorf("The most urgent should leave first, each class in its order; got %s.", got)
	}
}

func TestNoClassStarves(t *testing.T) {
	o := newOutbox(Limits{Queue: 1000, QueueOctets: 100 << 20})
	for range 100 {
		o.put(Frame{Class: Control, Body: make([]byte, batchOctets/4)})
	}
	for range 3 {
		o.put(text(Bulk, "patient"))
	}
	for i, b := range drain(t, o)[:3] {
		if last := b[len(b)-1]; last.Class != Bulk {
			t.Errorf("Write %d should have taken one frame of the lowest class along.", i)
		}
	}
}

func TestFullQueueRefusesUntilHalfEmpty(t *testing.T) {
	for name, l := range map[string]Limits{
		"by frames": {Queue: 4, QueueOctets: 1 << 20},
		"by octets": {Queue: 100, QueueOctets: 4 * (headerLen + batchOctets)},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOutbox(l)
			f := Frame{Class: Record, Body: make([]byte, batchOctets)}
			for i := range 4 {
				if got := o.put(f); got != Queued {
					t.Fatalf("Frame %d should fit, got %v.", i, got)
				}
			}
			if got := o.put(f); got != Full {
				t.Errorf("The fifth should not fit, got %v.", got)
			}
			if got := o.put(text(Control, "claim")); got != Queued {
				t.Errorf("A full class should not hinder another, got %v.", got)
			}
			var b batch
			var said int
			for o.take(&b); len(b.data) > 0; o.take(&b) {
				if b.room[Record] {
					said++
					if d := o.depth()[Record]; d.Frames > 2 {
						t.Errorf("There is room when half is empty, but %d wait.", d.Frames)
					}
				}
				if b.room[Control] {
					t.Error("Control refused nothing, so nobody waits for its room.")
				}
			}
			if said != 1 {
				t.Errorf("It should be said once that there is room, not %d times.", said)
			}
		})
	}
}

func TestLargeFrameFitsWhereNothingWaits(t *testing.T) {
	o := newOutbox(Limits{Queue: 1, QueueOctets: 10})
	if got := o.put(Frame{Class: Bulk, Body: make([]byte, 100)}); got != Queued {
		t.Errorf("A frame above the limit of octets would never leave; got %v.", got)
	}
	if got := o.put(Frame{Class: Bulk}); got != Full {
		t.Errorf("The next has to wait, got %v.", got)
	}
}

func TestClosedOutboxTakesNothing(t *testing.T) {
	o := newOutbox(Limits{Queue: 10, QueueOctets: 1000})
	o.put(text(Record, "lost"))
	o.close()
	if got := o.put(text(Record, "late")); got != Away {
		t.Errorf("The session is over, got %v.", got)
	}
	if got := drain(t, o); got != nil {
		t.Errorf("Nothing should be left, got %v.", got)
	}
}

// A queue that is never empty must not keep what has left.
func TestQueueForgetsWhatHasLeft(t *testing.T) {
	var l line
	for range 3 {
		l.frames = append(l.frames, text(Record, "x"))
	}
	for range 10_000 {
		l.frames = append(l.frames, text(Record, "x"))
		l.pop()
	}
	if n := cap(l.frames); n > 64 {
		t.Errorf("Three frames wait, and memory for %d is held.", n)
	}
}
