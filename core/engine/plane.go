package engine

import (
	"context"
	"iter"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// maxTurn is how many operations are looked at together for those that may share a
// call.
const maxTurn = 4096

// planeOp is an operation, and the shard that waits for it.
type planeOp struct {
	Op
	r *runner
}

// runPlane carries out the operations of all shards, those of each in their order.
// While one call is under way others gather, from whatever shard, and share the next:
// a round trip costs more than what it carries for a tunnel, on both sides of it, and
// the dataplane does one thing after the other anyway.
func (e *Engine) runPlane(ctx context.Context) {
	defer e.ops.close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.ops.ready:
		}
		for batch := range batches(e.ops.take()) {
			for r, results := range e.call(ctx, batch) {
				r.in.push(message{in: PlaneDone{Results: results}})
			}
		}
	}
}

// kind orders operations that may share a call.
func (op Op) kind() int {
	switch {
	case op.Install != nil:
		return 0
	case op.Update != nil:
		return 1
	default:
		return 2
	}
}

// batches splits ops into those of one kind. Each shard's stay in their order; those
// of different shards have nothing to do with each other.
func batches(ops []planeOp) iter.Seq[[]planeOp] {
	return func(yield func([]planeOp) bool) {
		for len(ops) > 0 {
			n := min(len(ops), maxTurn)
			turn := ops[:n]
			ops = ops[n:]
			for len(turn) > 0 {
				var batch []planeOp
				if batch, turn = ofOneKind(turn); !yield(batch) {
					return
				}
			}
		}
	}
}

// ofOneKind takes what can go first together with the first of ops, and returns what
// is left.
func ofOneKind(ops []planeOp) (batch, left []planeOp) {
	stopped := make(map[*runner]bool)
	for _, op := range ops {
		if stopped[op.r] || op.kind() != ops[0].kind() {
			stopped[op.r] = true
			left = append(left, op)
			continue
		}
		batch = append(batch, op)
	}
	return batch, left
}

// call makes one call for operations of one kind and deals out the answers.
func (e *Engine) call(ctx context.Context, ops []planeOp) map[*runner][]Result {
	calling, cancel := context.WithTimeout(ctx, planeDeadline)
	defer cancel()
	var placements []offload.Placement
	var counters []offload.Counters
	err := e.claiming(func(at offload.Epoch) (err error) {
		switch ops[0].kind() {
		case 0:
			placements, err = e.o.Plane.Install(calling, at, offload.Active, flatten(ops, func(op planeOp) []ipsec.SA { return op.Install })...)
		case 1:
			placements, err = e.o.Plane.Update(calling, at, flatten(ops, func(op planeOp) []offload.Change { return op.Update })...)
		default:
			counters, err = e.o.Plane.Delete(calling, at, flatten(ops, func(op planeOp) []ipsec.SAID { return op.Delete })...)
		}
		return err
	})
	if err != nil && ctx.Err() == nil {
		e.o.Log.Error("dataplane call failed", "error", err)
	}
	return dealOut(ops, placements, counters, err)
}

// flatten is what all operations have of one kind, in order. It may be the first one's
// own: nobody changes it any more.
func flatten[T any](ops []planeOp, of func(planeOp) []T) []T {
	if len(ops) == 1 {
		return of(ops[0])
	}
	n := 0
	for _, op := range ops {
		n += len(of(op))
	}
	all := make([]T, 0, n)
	for _, op := range ops {
		all = append(all, of(op)...)
	}
	return all
}

// dealOut gives each operation its part of the answer: placements are one for each
// item, counters those of the SAs that were there.
func dealOut(ops []planeOp, placements []offload.Placement, counters []offload.Counters, err error) map[*runner][]Result {
	last := make(map[ipsec.SAID]offload.Counters, len(counters))
	for _, c := range counters {
		last[c.ID] = c
	}
	results := make(map[*runner][]Result)
	for _, op := range ops {
		r := Result{ID: op.ID, Err: err}
		n := min(len(op.Install)+len(op.Update), len(placements))
		r.Placements, placements = placements[:n], placements[n:]
		for _, id := range op.Delete {
			if c, ok := last[id]; ok {
				r.Counters = append(r.Counters, c)
				delete(last, id) // a name that comes twice counts once
			}
		}
		results[op.r] = append(results[op.r], r)
	}
	return results
}
