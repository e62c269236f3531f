package softesp

import (
	"context"
	"fmt"
	"iter"

	"github.com/evergate/evergate/offload"
)

// Export yields the counters of the SAs that are installed when it starts.
func (e *Engine) Export(ctx context.Context, id offload.Group) iter.Seq2[offload.Counters, error] {
	return func(yield func(offload.Counters, error) bool) {
		sas, err := e.inventory(id)
		if err != nil {
			yield(offload.Counters{}, fmt.Errorf("softesp: export: %w", err))
			return
		}
		for _, a := range sas {
			if err := ctx.Err(); err != nil {
				yield(offload.Counters{}, err)
				return
			}
			if !yield(e.countersOf(a), nil) {
				return
			}
		}
	}
}

func (e *Engine) inventory(id offload.Group) ([]*association, error) {
	if id != offload.AllGroups {
		if err := offload.CheckGroup(id); err != nil {
			return nil, err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.usable(); err != nil {
		return nil, err
	}
	var sas []*association
	for _, a := range e.sas {
		if id == offload.AllGroups || a.group.Load() == e.groups[id] {
			sas = append(sas, a)
		}
	}
	return sas, nil
}

// countersOf reads what an SA did. It takes no lock.
func (e *Engine) countersOf(a *association) offload.Counters {
	c := offload.Counters{
		Placement: a.placement(),
		Direction: a.Direction, Tunnel: a.tunnel.id, Group: a.group.Load().id,
		Link: a.Link, Generation: a.Generation,
		Packets: a.packets.Load(), Bytes: a.bytes.Load(),
		Idle: a.idle(e.now()), Relayed: a.relayed.Load(), Held: a.held.Load(), Drops: a.dropped(),
	}
	c.PathMTU = pathMTUOf(a)
	if a.window != nil {
		c.Sequence = a.window.Export()
		return c
	}
	c.Sequence.Next = a.out.next.Load()
	c.Sequence.Ceiling = a.out.ceiling.Load()
	return c
}
