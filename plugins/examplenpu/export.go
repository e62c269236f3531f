package examplenpu

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"github.com/evergate/evergate/offload"
)

// Export implements offload.Engine. What it yields was true when it began: no
// lock is held while the caller thinks.
func (e *Engine) Export(ctx context.Context, g offload.Group) iter.Seq2[offload.Counters, error] {
	return func(yield func(offload.Counters, error) bool) {
		all, err := e.snapshot(g)
		if err != nil {
			yield(offload.Counters{}, fmt.Errorf("examplenpu: export: %w", err))
			return
		}
		for _, c := range all {
			if err := ctx.Err(); err != nil {
				yield(offload.Counters{}, err)
				return
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

func (e *Engine) snapshot(g offload.Group) ([]offload.Counters, error) {
	err := e.begin()
	defer e.mu.Unlock()
	if err == nil && g != offload.AllGroups {
		err = offload.CheckGroup(g)
	}
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var all []offload.Counters
	for _, s := range e.table.inOrder() {
		if g == offload.AllGroups || s.in(g) {
			all = append(all, s.counters(now))
		}
	}
	return all, nil
}

// stats count what belongs to no SA: packets that went no further, and IKE.
type stats struct {
	acquired   atomic.Uint64 // no SA selects the packet
	unknownSPI atomic.Uint64
	malformed  atomic.Uint64 // neither IP from the host nor ESP from the network
	keepalives atomic.Uint64 // NAT keepalives, which end here (RFC 3948 section 2.3)
	ikeIn      atomic.Uint64 // IKE messages to the daemon
	ikeOut     atomic.Uint64 // and from it
	ikeLost    atomic.Uint64 // IKE messages that the daemon or the network did not take
	unsent     atomic.Uint64 // ESP that the network did not take
	unwanted   atomic.Uint64 // inner packets that the host did not take
}

// Stats implements offload.Engine.
func (e *Engine) Stats(context.Context) ([]offload.Stat, error) {
	err := e.begin()
	defer e.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("examplenpu: stats: %w", err)
	}
	c := &e.stats
	return []offload.Stat{
		{Name: "no-sa", Value: c.acquired.Load()},
		{Name: "unknown-spi", Value: c.unknownSPI.Load()},
		{Name: "malformed", Value: c.malformed.Load()},
		{Name: "keepalive", Value: c.keepalives.Load()},
		{Name: "ike-in", Value: c.ikeIn.Load()},
		{Name: "ike-out", Value: c.ikeOut.Load()},
		{Name: "ike-lost", Value: c.ikeLost.Load()},
		{Name: "not-sent", Value: c.unsent.Load()},
		{Name: "not-delivered", Value: c.unwanted.Load()},
	}, nil
}
