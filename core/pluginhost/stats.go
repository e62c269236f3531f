package pluginhost

import (
	"context"
	"fmt"

	"github.com/evergate/evergate/offload"
)

// Stats implements offload.Engine. They go on where those of the process before
// were last seen, so that nothing falls when a plugin is replaced.
func (h *Host) Stats(ctx context.Context) ([]offload.Stat, error) {
	p, err := h.plane(ctx, "stats")
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, h.config.CallTimeout)
	defer cancel()
	stats, err := p.engine.Stats(bounded)
	if err != nil {
		return nil, h.explain(ctx, bounded, "stats", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current != p {
		// Another process may have been counted already: this one is history.
		return nil, fmt.Errorf("pluginhost: stats: %w: plugin %s was replaced meanwhile", offload.ErrDown, h.config.Plugin.Name)
	}
	return h.tally.add(p, stats), nil
}

// tally adds up what the processes count one after the other. It keeps no more
// names than the last answer had.
type tally struct {
	of           *process
	before, last map[string]uint64 // of the processes before of, and of it
}

// add returns stats, those of p, with what was counted before. No value falls.
func (t *tally) add(p *process, stats []offload.Stat) []offload.Stat {
	replaced := p != t.of
	before, last := make(map[string]uint64, len(stats)), make(map[string]uint64, len(stats))
	sums := make([]offload.Stat, len(stats))
	for i, s := range stats {
		before[s.Name], last[s.Name] = t.before[s.Name], max(t.last[s.Name], s.Value)
		if replaced {
			before[s.Name], last[s.Name] = t.before[s.Name]+t.last[s.Name], s.Value
		}
		sums[i] = offload.Stat{Name: s.Name, Value: before[s.Name] + last[s.Name]}
	}
	t.of, t.before, t.last = p, before, last
	return sums
}
