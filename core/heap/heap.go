package heap

import (
	"context"
	"os"
	"runtime"
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
	SmallPercent = 50  // at most, below SmallHeap
	MostPercent  = 100 // at most, from SmallHeap on; Go's default
)

// SmallHeap is, in octets, what is collected in a few milliseconds, and all of whose free
// memory goes back at once. The heap of a process with some thousand tunnels is small.
const SmallHeap = 48 << 20

// A very small heap may grow by more, in octets: it is quickly collected, but not for nothing.
const (
	// AnyRoom is what it has while most of what is allocated is garbage soon, as it is
	// while clients dial in. What stays is strewn among that, and keeps its pages: more
	// room is memory that does not come back.
	AnyRoom = 4 << 20
	// FullRoom is what it has in a process that has begun and fills up with what stays,
	// as a member does that joins: a collection finds little then.
	FullRoom = 16 << 20
)

// stays is the share of what was allocated, 1/stays, that is still in use at a
// collection of a heap that fills up.
const stays = 3

// every is how often the work is looked at.
const every = 100 * time.Millisecond

// sudden is how many looks tell that work has begun: what is allocated at their pace
// in a Span has room at once. A heap at rest has little, and a member that another one
// joins, or that joins itself, would collect garbage again and again before a Span is
// over.
const sudden = 5

// Room shrinks after so many looks with less work, and at least so many after the last
// time: it takes a collection.
const (
	settled = int(time.Second / every)
	apart   = int(4 * time.Second / every)
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
		if !w.note(read()) {
			continue
		}
		if w.rests() {
			collect(w.collected.live)
		}
		debug.SetGCPercent(w.percent)
	}
}

// collect is called before there is less room: a heap that finds itself beyond its
// room has all who allocate collect.
func collect(live uint64) {
	if live < SmallHeap {
		debug.FreeOSMemory()
		return
	}
	runtime.GC()
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
}

// read asks the runtime.
func read() look {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	return look{samples[0].Value.Uint64(), samples[1].Value.Uint64()}
}

// work is what a process does to its heap.
type work struct {
	// allocated is what was, at each of the last looks of a Span, oldest first.
	allocated [Span/every + 1]uint64
	percent   int
	collected look // when the last collection was seen
	fills     bool // what was allocated until then stays
	rested    bool // it is not filling up for the first time
	less      int  // looks in a row with less work than there is room for
	shrunk    int  // looks since there was less room
}

// newWork starts with what there is. A process that has just begun expects work.
func newWork(l look) *work {
	w := &work{percent: percent(AnyRoom, AnyRoom, l.live), collected: l}
	for i := range w.allocated {
		w.allocated[i] = l.allocated - AnyRoom
	}
	return w
}

// note takes a look, and tells whether percent changed: by enough to matter, as each
// change stops the process for a moment, and work comes in bursts.
//
// There is more room at once, and less after a while, or when a collection has found
// the heap grown: room is a share, and what is right for a small heap is much for a large
// one. What work has left behind is collected after a while, and given back by the runtime
// by and by, without a pause.
func (w *work) note(l look) (change bool) {
	grew := l.live > w.collected.live
	if l.live != w.collected.live {
		grown, allocated := int64(l.live-w.collected.live), int64(l.allocated-w.collected.allocated)
		w.collected, w.fills = l, !w.rested && grown*stays > allocated
	}
	anyway := uint64(AnyRoom)
	if w.fills {
		anyway = FullRoom
	}
	copy(w.allocated[:], w.allocated[1:])
	last := len(w.allocated) - 1
	w.allocated[last] = l.allocated
	const paces = uint64(Span / every / sudden)
	want := percent(max(l.allocated-w.allocated[0], paces*(l.allocated-w.allocated[last-sudden])), anyway, l.live)
	w.less, w.shrunk = w.less+1, w.shrunk+1
	if want >= w.percent*2/3 {
		w.less = 0
	}
	switch {
	case want > w.percent*3/2:
	case grew && w.less > 0: // it was just collected: less room takes no collection
	case w.less >= settled && w.shrunk >= apart:
		w.shrunk, w.rested, w.fills = 0, true, false
	default:
		return false
	}
	w.percent = want
	return true
}

// rests tells whether there is less room from this look on because work is over.
func (w *work) rests() bool { return w.shrunk == 0 }

// leastHeap is what Go lets a heap become before it collects for the first time, at
// MostPercent.
const leastHeap = 4 << 20

// percent is the share of live that has room for so many octets. Beyond SmallPercent or
// MostPercent there is room for anyway at most.
func percent(room, anyway, live uint64) int {
	live = max(live, leastHeap)
	most := uint64(MostPercent)
	if live < SmallHeap {
		most = SmallPercent
	}
	return int(min(max(most, 100*anyway/live), max(LeastPercent, 100*room/live)))
}
