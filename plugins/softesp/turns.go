package softesp

import (
	"sync"
	"sync/atomic"

	"github.com/evergate/evergate/plugins/softesp/device"
)

// turns keeps the batches of the two goroutines of a queue and direction in order: one
// takes input, at the same time the other one works on what it has taken, and they give
// away in the order in which they took. The zero value is for a goroutine without a
// second one.
type turns struct {
	// in is held while a batch is taken.
	in    sync.Mutex
	taken uint64 // batches, guarded by in
	// behind is how many batches in a row were full, guarded by in.
	behind int

	// given is how many batches were given away. Who waits for the one before says so
	// in awaited, and is told through more, with out.
	given   atomic.Uint64
	awaited atomic.Int32
	out     sync.Mutex
	more    sync.Cond

	// second wakes the second goroutine, nil where there is none; resting tells that
	// it sleeps.
	second  *device.Wake
	resting atomic.Bool
}

// patience is how many batches in a row must be full before the second goroutine is
// called. It costs something to have one, so it is for lasting load.
const patience = 2

// pair adds a second goroutine, which second wakes.
func (t *turns) pair(second *device.Wake) {
	t.more.L = &t.out
	t.second = second
}

// turn is the place of one goroutine's batch among those of both.
type turn struct {
	*turns
	number uint64
	come   bool
}

// begin gives the batch that comes next its place. The caller holds in.
func (t *turn) begin() { t.number, t.come = t.taken, false }

// took ends the taking of a batch. A full one tells that there may be more; true means
// that it is time to call the second goroutine if there is. The caller holds in.
func (t *turn) took(full bool) (late bool) {
	t.taken++
	t.behind++
	if !full {
		t.behind = 0
	}
	return t.behind >= patience && t.resting.Load()
}

// alone tells the first goroutine that the second one does not work, until it is called.
func (t *turns) alone() bool { return t.second == nil || t.resting.Load() }

// call has the second goroutine look for input, if it sleeps.
func (t *turns) call() {
	if t.resting.CompareAndSwap(true, false) {
		t.second.Signal()
	}
}

// wait returns when all batches that were taken before have been given away. More
// calls for the same batch return at once.
func (t *turn) wait() {
	if t.come {
		return
	}
	t.come = true
	if t.given.Load() == t.number {
		return
	}
	t.out.Lock()
	t.awaited.Add(1)
	for t.given.Load() != t.number {
		t.more.Wait()
	}
	t.awaited.Add(-1)
	t.out.Unlock()
}

// end lets the next batch be given away. The caller has waited.
func (t *turn) end() {
	t.given.Add(1)
	if t.awaited.Load() > 0 {
		t.out.Lock()
		t.out.Unlock()  //nolint:staticcheck // Who has found its turn not come is asleep by now.
		t.more.Signal() // of two goroutines one waits at most
	}
}

// assist has a second goroutine carry batches with once until stop is set. It rests
// when there is none, until it is called.
func (w *worker) assist(order *turns, once func() bool) error {
	poller := device.NewPoller(w.wake)
	for !w.stop.Load() {
		if once() {
			continue
		}
		order.resting.Store(true)
		if err := poller.Wait(); err != nil {
			return err
		}
		order.resting.Store(false)
	}
	return nil
}
