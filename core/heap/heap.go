package heap

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// Span is how much work there is room for: at most once in that time garbage is
// collected because of it.
const Span = 4 * time.Second

// The share of the heap in use by which it may grow, in percent.
const (
	LeastPercent = 10
	MostPercent  = 100 // Go's default
)

// every is how often the work is looked at.
const every = time.Second

// calm is by how much the estimate of the work falls in each look: a pause between
// two bursts is none.
const calm = 0.8

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
	w := work{percent: MostPercent}
	w.note(read())
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		if w.note(read()) {
			debug.SetGCPercent(w.percent)
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
	allocated uint64
	rate      float64 // octets per look
	percent   int
}

// note takes a look, and tells whether percent changed by enough to matter.
func (w *work) note(allocated, live uint64) bool {
	w.rate = max(float64(allocated-min(allocated, w.allocated)), calm*w.rate)
	w.allocated = allocated
	want := percent(w.rate*float64(Span)/float64(every), live)
	// Each change stops the process for a moment.
	if want < w.percent+w.percent/4 && want > w.percent-w.percent/4 {
		return false
	}
	w.percent = want
	return true
}

// percent is the share of live that has room for so many octets.
func percent(room float64, live uint64) int {
	if live == 0 {
		return MostPercent
	}
	return int(math.Min(MostPercent, math.Max(LeastPercent, 100*room/float64(live))))
}
