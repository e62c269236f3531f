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

// every is how often the work is looked at.
const every = 500 * time.Millisecond

// settled is how many looks after it has become calmer the memory that is not needed
// any more goes back to the system: by itself it does so too, but by and by.
const settled = 4

// Keep keeps the process's memory close to what it needs until ctx ends.
func Keep(ctx context.Context) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		<-ctx.Done()
		return
	}
	before := debug.SetGCPercent(MostPercent)
	defer debug.SetGCPercent(before)
	look := time.NewTicker(every)
	defer look.Stop()
	w := newWork(read())
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
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

// read asks the runtime how many octets were allocated since the start, and how
// many were in use after the last collection.
func read() (allocated, live uint64) {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64(), samples[1].Value.Uint64()
}

// work is what a process does to its heap.
type work struct {
	// allocated is what was, at each of the last looks of a Span, oldest first.
	allocated [Span/every + 1]uint64
	percent   int
	// quiet counts the looks since percent fell; -1 when it has not, or when the
	// memory has been given back since.
	quiet int
}

// newWork starts with what there is.
func newWork(allocated, _ uint64) *work {
	w := &work{percent: MostPercent, quiet: -1}
	for i := range w.allocated {
		w.allocated[i] = allocated
	}
	return w
}

// note takes a look. It tells whether percent changed, by enough to matter, and
// whether it is time to give back memory after it has fallen.
func (w *work) note(allocated, live uint64) (change, give bool) {
	copy(w.allocated[:], w.allocated[1:])
	last := len(w.allocated) - 1
	w.allocated[last] = allocated
	want := percent(allocated-w.allocated[0], live)
	// Each change stops the process for a moment, and work comes in bursts.
	switch {
	case want > w.percent*3/2:
		w.percent, w.quiet = want, -1
		return true, false
	case want < w.percent/2:
		w.percent, w.quiet = want, 0
		return true, false
	case w.quiet >= 0:
		w.quiet++
	}
	if w.quiet == settled {
		w.percent, w.quiet = want, -1
		return true, true
	}
	return false, false
}

// percent is the share of live that has room for so many octets.
func percent(room, live uint64) int {
	if live == 0 {
		return MostPercent
	}
	return int(min(MostPercent, max(LeastPercent, 100*room/live)))
}
