package engine

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evergate/evergate/offload"
)

const (
	// checkpointEvery is how often the counters are read; when that takes long,
	// it is done less often, so that it costs at most a twentieth of the time.
	checkpointEvery = time.Second
	checkpointShare = 20
	// standbyCheckpoints is how many checkpoints of our own SAs there are for one
	// of all.
	standbyCheckpoints = 10
	// checkpointPart is how many counters a shard is handed at a time, and
	// checkpointParts how many parts are on their way at most, besides one for each
	// shard that is being filled.
	checkpointPart  = 32
	checkpointParts = 8
)

// runCheckpoints reads the counters again and again.
func (e *Engine) runCheckpoints(ctx context.Context) {
	wait := checkpointEvery
	for count := 0; ; count++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		start := time.Now()
		if err := e.checkpoint(ctx, e.counted(count)); err != nil && ctx.Err() == nil {
			e.o.Log.Debug("dataplane counters were not read", "error", err)
		}
		wait = max(checkpointEvery, checkpointShare*time.Since(start))
	}
}

// counted is the group whose counters are read the next time: mostly our own. SAs
// that stand by count little, and nobody waits for it.
func (e *Engine) counted(count int) offload.Group {
	if e.replica == nil || count%standbyCheckpoints == 0 {
		return offload.AllGroups
	}
	return offload.Group(e.o.Member)
}

// checkpoint reads the counters of a group and hands them to those who live on them, part by
// part: of a hundred thousand SAs they are tens of megabytes.
func (e *Engine) checkpoint(ctx context.Context, g offload.Group) error {
	parts := make([]*counterPart, len(e.shards))
	err := e.export(ctx, g, false, func(c offload.Counters) {
		i := ShardOf(uint64(c.Tunnel), len(e.shards))
		if parts[i] == nil {
			parts[i] = e.parts.get(ctx)
		}
		if parts[i].list = append(parts[i].list, c); len(parts[i].list) == checkpointPart {
			e.hand(i, parts[i])
			parts[i] = nil
		}
	})
	for i, part := range parts {
		if part != nil {
			e.hand(i, part)
		}
	}
	return err
}

// hand gives a part to its shard, and to the replication machine.
func (e *Engine) hand(shard int, part *counterPart) {
	part.readers.Store(1)
	if e.replica != nil {
		part.readers.Store(2)
		e.replica.in.push(replicaMessage{in: Counted{part.list}, look: func(*Replica) { e.parts.put(part) }})
	}
	e.shards[shard].in.push(message{in: Checkpoint{Counters: part.list}, look: func(*Shard, Ready) { e.parts.put(part) }})
}

// counterPart is on its way to those who read it; they keep nothing of the list.
type counterPart struct {
	list    []offload.Counters
	readers atomic.Int32
}

// counterParts has those that were read, for the next checkpoint.
type counterParts struct {
	away chan struct{} // a token for each that is on its way
	mu   sync.Mutex
	// free are used from the end: what is not needed at the same time is not made, and
	// few tunnels take the memory of few.
	free []*counterPart
}

func newCounterParts(shards int) *counterParts {
	return &counterParts{away: make(chan struct{}, checkpointParts+shards)}
}

// get waits until there is one, so that a dataplane that is quicker than those who read
// does not fill the memory. Once ctx has ended nobody reads what is on its way.
func (p *counterParts) get(ctx context.Context) *counterPart {
	select {
	case p.away <- struct{}{}:
	case <-ctx.Done():
		return new(counterPart)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.free) - 1
	if last < 0 {
		return new(counterPart)
	}
	part := p.free[last]
	p.free = p.free[:last]
	return part
}

// put is called by each reader.
func (p *counterParts) put(part *counterPart) {
	if part.readers.Add(-1) > 0 {
		return
	}
	clear(part.list)
	part.list = part.list[:0]
	p.mu.Lock()
	p.free = append(p.free, part)
	p.mu.Unlock()
	select {
	case <-p.away:
	default: // made when the context had ended
	}
}
