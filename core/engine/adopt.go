package engine

import "context"

// Adopt brings the tunnels of an earlier life to life again, with the SAs that the
// dataplane has. It is called before Run, which then deletes from the dataplane
// what no tunnel knows.
func (e *Engine) Adopt(tunnels ...Restore) {
	e.adopts = true
	for _, r := range tunnels {
		i := ShardOf(uint64(r.Tunnel.Tunnel), len(e.shards))
		e.shards[i].in.push(message{in: r})
	}
}

// Settled waits until what was to be adopted is there, routes included.
func (e *Engine) Settled(ctx context.Context) error { return e.all(ctx, nil, nil) }

// record notes publications, and sends what waited for that. Where the journal
// fails, it has given up what it had: the next life begins anew.
func (e *Engine) record(list []Publication) {
	for _, p := range list {
		if err := e.o.Journal.Note(p.records()...); err != nil && e.journalFailed.CompareAndSwap(false, true) {
			e.o.Log.Error("state was not kept; the next start begins without tunnels", "error", err)
		}
		if len(p.Send) > 0 {
			e.o.Network.Send(p.Send)
		}
	}
}
