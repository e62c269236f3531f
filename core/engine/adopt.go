package engine

import (
	"context"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/offload"
)

// Adopt brings the tunnels of an earlier life to life again, with the SAs that the
// dataplane has. It is called before Run, which then deletes from the dataplane
// what no tunnel knows. It is for a gateway that stands alone.
func (e *Engine) Adopt(tunnels ...Restore) {
	e.adopts = true
	for _, r := range tunnels {
		i := ShardOf(uint64(r.Tunnel.Tunnel), len(e.shards))
		e.shards[i].in.push(message{in: r})
	}
}

// Rejoin goes on with a dataplane that has outlived an earlier life of this member,
// and with the tunnels of that which its journal has, or which other members give
// back. Where it did not live on, the journal forgets them. It is called before Run.
func (e *Engine) Rejoin(lives bool, tunnels ...ha.Remembered) {
	e.adopts = lives
	for _, t := range tunnels {
		e.replica.in.push(replicaMessage{in: Node{t}})
	}
}

// Settled waits until what was to be adopted is there, routes included. In a group
// that is when all other members that are there have said what became of it.
func (e *Engine) Settled(ctx context.Context) error {
	for e.replica != nil && e.adopts {
		settled := false
		if err := e.lookReplica(ctx, func(r *Replica) { settled = r.settled() }); err != nil {
			return err
		}
		if settled {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(planePause):
		}
	}
	return e.all(ctx, nil, nil)
}

// Resumed tells what became of an earlier life's tunnels.
func (e *Engine) Resumed(ctx context.Context) (stats ha.Stats, err error) {
	err = e.lookReplica(ctx, func(r *Replica) { stats = r.node.Stats() })
	return stats, err
}

// settled tells whether nothing of an earlier life is left to be settled, and the
// dataplane has carried out what was.
func (r *Replica) settled() bool {
	return r.node.Role() == ha.Standby && r.node.Settled() && r.carried >= r.ordered
}

// left is what the dataplane has of an earlier life, nil where it is of this one.
func (e *Engine) left(ctx context.Context) map[ipsec.SAID]ha.Left {
	if !e.adopts {
		return nil
	}
	left := make(map[ipsec.SAID]ha.Left)
	err := e.export(ctx, offload.AllGroups, true, func(c offload.Counters) { left[c.ID] = ha.Left{Tunnel: c.Tunnel, Sequence: c.Sequence} })
	if err != nil {
		e.o.Log.Error("dataplane of the last life was not asked what it holds", "error", err)
	}
	return left
}

// record notes publications, and sends what waited for that. Where the journal
// fails, it has given up what it had: the next life begins anew.
func (e *Engine) record(list []Publication) {
	for _, p := range list {
		e.jot(p.records())
		if len(p.Send) > 0 {
			e.o.Network.Send(p.Send)
		}
	}
}

// jot writes records into the journal.
func (e *Engine) jot(records []ha.Record) {
	if len(records) == 0 || e.o.Journal == nil {
		return
	}
	if err := e.o.Journal.Note(records...); err != nil && e.journalFailed.CompareAndSwap(false, true) {
		e.o.Log.Error("state was not kept; the next start begins without tunnels", "error", err)
	}
}
