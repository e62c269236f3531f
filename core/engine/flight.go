package engine

import (
	"context"
	"slices"
	"sync"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// maxFlight is how many portions of orders are under way at a time: while the
// dataplane installs one, the next is read there, and another one is written here.
const maxFlight = 3

// flight carries out portions of orders. Those that only install are under way
// together, and the dataplane may take them in any order; all others wait until
// nothing is, and let nothing go beside them. Their routes are made, and what was
// carried out is told, in the order of the portions. One goroutine launches them, and
// lands when it ends.
type flight struct {
	e     *Engine
	work  sync.WaitGroup
	slots chan struct{} // capacity maxFlight, a token for each portion under way
	last  *stage        // of the portion that was launched last
}

// stage is how far a portion is. Both are closed by who carries it out.
type stage struct{ routed, told chan struct{} }

func newStage() *stage { return &stage{make(chan struct{}), make(chan struct{})} }

func newFlight(e *Engine) *flight {
	f := &flight{e: e, slots: make(chan struct{}, maxFlight), last: newStage()}
	close(f.last.routed)
	close(f.last.told)
	return f
}

// launch carries out a portion, or begins to. It waits while too many are under way.
func (f *flight) launch(ctx context.Context, portion []orders) {
	beside := installsOnly(portion)
	if !beside {
		f.land()
	}
	before, now := f.last, newStage()
	f.last = now
	f.slots <- struct{}{}
	f.work.Go(func() {
		f.e.carry(ctx, portion, before, now)
		<-f.slots
	})
	if !beside {
		f.land()
	}
}

// land waits until nothing is under way.
func (f *flight) land() { f.work.Wait() }

// carry carries out a portion after another one, and tells the replication machine. A
// standby is there when the dataplane has its SAs and its routes lead to them: neither
// waits for the other.
func (e *Engine) carry(ctx context.Context, portion []orders, before, now *stage) {
	var routes sync.WaitGroup
	routes.Go(func() {
		defer close(now.routed)
		<-before.routed
		e.carryRoutes(portion)
	})
	refused := e.carryOrders(ctx, portion)
	routes.Wait()
	<-before.told
	defer close(now.told)
	if ctx.Err() == nil { // or nobody knows what was done
		serial := portion[len(portion)-1].serial
		e.replica.in.push(replicaMessage{in: Node{ha.Carried{Serial: serial, Refused: refused}}})
	}
}

// carryRoutes makes the routes of several Readys at once.
func (e *Engine) carryRoutes(portion []orders) {
	var add []Route // in a row: they are made together
	for _, o := range portion {
		if add = append(add, o.add...); len(o.del) > 0 {
			e.changeRoutes(add, o.del)
			add = nil
		}
	}
	e.changeRoutes(add, nil)
}

// carryOrders gives the dataplane the orders of several Readys at once.
func (e *Engine) carryOrders(ctx context.Context, portion []orders) (refused []ipsec.SAID) {
	count := 0
	for _, o := range portion {
		count += len(o.list)
	}
	list := make([]ha.Order, 0, count)
	for _, o := range portion {
		list = append(list, o.list...)
	}
	return e.order(ctx, list)
}

// installsOnly tells whether a portion may be under way beside others like it: it
// removes nothing, and no SA is in two of them. The machine installs an SA that may be
// there already together with an Update, in one step; and one that it has discarded is
// not under way any more.
func installsOnly(portion []orders) bool {
	for _, o := range portion {
		if len(o.del) > 0 || slices.ContainsFunc(o.list, func(o ha.Order) bool { return o.Kind != ha.Install }) {
			return false
		}
	}
	return true
}
