package engine

import (
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/offload"
)

// onInventory compares what the dataplane holds with what stands by. The shards
// hear of the rest only: to them an SA of another member, or one of our last life that
// is not settled yet, would be a stray one.
func (r *Replica) onInventory(now time.Time, counters []offload.Counters) {
	r.onCounters(now, counters)
	for _, c := range counters {
		r.missed(now, c)
	}
	in := ha.Inventory{SAs: make(map[ipsec.SAID]bool, len(counters))}
	for _, c := range counters {
		in.SAs[c.ID] = true
	}
	r.step(now, in)
	r.recount(counters)
	for _, c := range counters {
		if !r.standsBy(c.ID) && !r.restores(c.ID) && !r.node.Inherits(c.ID) {
			r.rd.Inventory = append(r.rd.Inventory, c)
		}
	}
	r.rd.Inventoried = true
	r.keepRoutes()
}

// recount tells tunnels that wait for their orders what the dataplane has of them: it
// may be another one than the orders before these were for.
func (r *Replica) recount(counters []offload.Counters) {
	if len(r.restoring) == 0 {
		return
	}
	have := make(map[ipsec.SAID]uint64, len(counters))
	for _, c := range counters {
		have[c.ID] = c.Generation
	}
	for _, w := range r.restoring {
		if in, ok := w.inputs[0].(Restore); ok {
			in.Have = have
			w.inputs[0] = in
		}
	}
}

// restores tells whether an SA is of a tunnel that is ours, but waits for its orders.
// Its shard does not know it yet.
func (r *Replica) restores(id ipsec.SAID) bool {
	tunnel, ok := r.node.TunnelOf(id)
	return ok && r.restoring[tunnel] != nil
}

// keepRoutes takes back the removal of routes that are needed: a pair that is put
// back goes and comes within the step, and routes are removed last.
func (r *Replica) keepRoutes() {
	r.rd.DelRoutes = slices.DeleteFunc(r.rd.DelRoutes, func(gone Route) bool {
		t := r.standby[gone.Tunnel]
		return t != nil && t.needs(gone.Prefix)
	})
}

// missed makes up for events that were lost: what they said shows in the
// counters.
func (r *Replica) missed(now time.Time, c offload.Counters) {
	if c.Role != offload.Active {
		return
	}
	if r.standsBy(c.ID) {
		r.step(now, ha.Activated{Tunnel: c.Tunnel, Group: ipsec.MemberID(c.Group)})
	}
	if c.Direction == ipsec.Outbound && c.Sequence.Next > c.Sequence.Ceiling {
		r.step(now, ha.LeaseLow{SA: c.ID})
	}
}

// standsBy tells whether an SA is of a tunnel that another member owns.
func (r *Replica) standsBy(id ipsec.SAID) bool {
	tunnel, ok := r.node.TunnelOf(id)
	if !ok {
		return false
	}
	status, ok := r.node.Tunnel(tunnel)
	return ok && !status.Owned
}
