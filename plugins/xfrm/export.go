package xfrm

import (
	"context"
	"fmt"
	"iter"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm/gate"
	"github.com/evergate/evergate/plugins/xfrm/xfrmnl"
)

// Export yields the counters of the SAs that are installed when it starts.
func (e *Engine) Export(ctx context.Context, g offload.Group) iter.Seq2[offload.Counters, error] {
	return func(yield func(offload.Counters, error) bool) {
		all, err := e.inventory(g)
		if err != nil {
			yield(offload.Counters{}, fmt.Errorf("xfrm: export: %w", err))
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

// inventory asks the kernel for everything at once.
func (e *Engine) inventory(g offload.Group) ([]offload.Counters, error) {
	if g != offload.AllGroups {
		if err := offload.CheckGroup(g); err != nil {
			return nil, err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.begin(); err != nil {
		return nil, err
	}
	states := make(map[uint32]xfrmnl.State, len(e.sas))
	held := make(map[ipsec.Direction]map[uint32]gate.Held)
	if err := e.kernel.conn.States(func(s xfrmnl.State) { states[s.ReqID] = s }); err != nil {
		return nil, err
	}
	for _, d := range []ipsec.Direction{ipsec.Inbound, ipsec.Outbound} {
		var err error
		if held[d], err = e.kernel.gate.Holds(d); err != nil {
			return nil, err
		}
	}
	asides, err := e.asides()
	if err != nil {
		return nil, err
	}
	late, stray, err := e.kernel.gate.Strays()
	if err != nil {
		return nil, err
	}
	at := now()
	var out []offload.Counters
	for id, a := range e.byReqID {
		if g != offload.AllGroups && !a.in(g) {
			continue
		}
		st, ok := states[id]
		if !ok {
			// It comes to its end just now; what the kernel says of that is next. Until
			// then no counter goes back.
			st = a.state
			st.Current = a.latest
			st.Replay.Sent = a.beyond(a.shift)
		}
		a.latest = st.Current
		a.aside = asides[id]
		a.count(&st)
		c := a.counters(st, held[a.direction][id].Packets, at)
		c.Drops.Standby += late[id]
		c.Drops.Selector += stray[id]
		out = append(out, c)
	}
	return out, nil
}
