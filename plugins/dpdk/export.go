//go:build dpdk

package dpdk

import (
	"context"
	"fmt"
	"iter"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// Export yields the counters of the SAs that are installed when it starts. It holds
// up control calls for one SA at a time only.
func (e *Engine) Export(ctx context.Context, g offload.Group) iter.Seq2[offload.Counters, error] {
	return func(yield func(offload.Counters, error) bool) {
		ids, err := e.inventory(g)
		if err != nil {
			yield(offload.Counters{}, fmt.Errorf("dpdk: export: %w", err))
			return
		}
		for _, id := range ids {
			if err := ctx.Err(); err != nil {
				yield(offload.Counters{}, err)
				return
			}
			if c, there := e.exported(id); there && !yield(c, nil) {
				return
			}
		}
	}
}

func (e *Engine) inventory(g offload.Group) ([]ipsec.SAID, error) {
	if g != offload.AllGroups {
		if err := offload.CheckGroup(g); err != nil {
			return nil, err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.usable(); err != nil {
		return nil, err
	}
	var ids []ipsec.SAID
	for id, a := range e.sas {
		if in, has := a.group(); g == offload.AllGroups || has && in == g {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// exported reads one SA, which may be gone meanwhile.
func (e *Engine) exported(id ipsec.SAID) (offload.Counters, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := e.sas[id]
	if a == nil || e.network == nil {
		return offload.Counters{}, false
	}
	return a.counters(), true
}
