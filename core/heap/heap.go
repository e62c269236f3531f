package heap

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// Span is how much work there is room for: at most once in that time garbage is
// collected because of it.
const Span = 3 * time.Second

// The share of the heap in use by which it may grow, in percent.
const (
	LeastPercent = 15
	MostPercent  = 100 // Go's default
)

// AnyRoom is room that is not worth to collect garbage for, in octets: a small heap may
// grow by as much, whatever share of it that is.
const AnyRoom = 64 << 20

// every is how often the work is looked at.
const every = 100 * time.Millisecond

// sudden is how many looks tell that work has begun: what is allocated at their pace
// in a Span has room at once. A heap at rest has little, and a member that another one
// joins, or that joins itself, would collect garbage again and again before a Span is
// over.
const sudden = 5

// Memory is given back after so many looks without much work, and at least so many
// after the last time: it takes a collection.
const (
	settled  = int(time.Second / every)
	retained = int(4 * time.Second / every)
)

// Keep keeps the process's memory close to what it needs until ctx ends.
func Keep(ctx context.Context) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		<-ctx.Done()
		return
	}
	w := newWork(read())
	before := debug.SetGCPercent(w.percent)
	defer debug.SetGCPercent(before)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		change, give := w.note(read())
		if change {
			debug.SetGCPercent(w.percent)
		}
		if give {
			debug.FreeOSMemory()
		}
	}
}

// Around does so while f runs.
func Around(f func()) {
	ctx, stop := context.WithCancel(context.Background())
	var kept sync.WaitGroup
	kept.Go(func() { Keep(ctx) })
	defer kept.Wait()
	defer stop()
	f()
}

// look is how the heap stands, in octets.
type look struct {
	allocated uint64 // since the start
	live      uint64 // in use after the last collection
	free      uint64 // neither in use nor given back
}

// read asks the runtime.
func read() look {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	metrics.Read(samples)
	return look{samples[0].Value.Uint64(), samples[1].Value.Uint64(), samples[2].Value.Uint64()}
}

// work is what a process does to its heap.
type work struct {
	// allocated is what was, at each of the last looks of a Span, oldest first.
	allocated [Span/every + 1]uint64
	percent   int
	quiet     int // looks since there was much work
	given     int // looks since memory was given back
}

// newWork starts with what there is. A process that has just begun expects work.
func newWork(l look) *work {
	w := &work{percent: percent(AnyRoom, l.live)}
	for i := range w.allocated {
		w.allocated[i] = l.allocated - AnyRoom
	}
	return w
}

// note takes a look. It tells whether percent changed, by enough to matter, and
// whether there is so much free memory, and so little work, that it is to be given
// back: by itself the runtime does so too, but by and by.
func (w *work) note(l look) (change, give bool) {
	copy(w.allocated[:], w.allocated[1:])
	last := len(w.allocated) - 1
	w.allocated[last] = l.allocated
	const paces = uint64(Span / every / sudden)
	want := percent(max(l.allocated-w.allocated[0], paces*(l.allocated-w.allocated[last-sudden])), l.live)
	// Each change stops the process for a moment, and work comes in bursts.
	if change = want > w.percent*3/2 || want < w.percent*2/3; change {
		w.percent = want
	}
	w.given++
	if w.quiet++; want >= MostPercent/2 {
		w.quiet = 0
	}
	if give = l.free > l.live/4 && w.quiet >= settled && w.given >= retained; give {
		w.given = 0
	}
	return change, give
}

// leastHeap is what Go lets a heap become before it collects for the first time, at
// MostPercent.
const leastHeap = 4 << 20

// percent is the share of live that has room for so many octets.
func percent(room, live uint64) int {
	live = max(live, leastHeap)
	most := max(MostPercent, 100*AnyRoom/live)
	return int(min(most, max(LeastPercent, 100*room/live)))
}
