package engine

import (
	"maps"
	"slices"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// onCarried lets go of tunnels whose orders the dataplane has carried out.
func (r *Replica) onCarried(serial uint64) {
	r.carried = max(r.carried, serial)
	for _, id := range slices.Sorted(maps.Keys(r.restoring)) {
		if w := r.restoring[id]; w.serial <= r.carried {
			delete(r.restoring, id)
			for _, in := range w.inputs {
				r.toShard(id, in)
			}
		}
	}
}

// onRestored gives a tunnel to its shard. Its routes are the shard's now; the
// claims in the kernel are the same, so nothing changes there. What the shard
// wants of the dataplane must not overtake the orders that made the tunnel ours.
func (r *Replica) onRestored(restored ha.Restored) {
	waiting := r.waiting[restored.Tunnel]
	in := Restore{Tunnel: restored, Age: restored.Age}
	if t := r.standby[restored.Tunnel]; t != nil {
		in.Routes = t.routes()
		r.forgetStandby(restored.Tunnel, t)
	}
	r.stats.Takeovers++
	if r.ordered > r.carried {
		r.restoring[restored.Tunnel] = &restoring{serial: r.ordered}
	}
	r.toShard(restored.Tunnel, in)
	if len(waiting) > 0 {
		r.toShard(restored.Tunnel, Packets{Datagrams: waiting})
	}
}

// onLost takes a tunnel from its shard. It stands by from now on, unless its copy
// has gone in the same step.
func (r *Replica) onLost(id ipsec.TunnelID) {
	routes, recalled := r.recall(id)
	if !recalled {
		r.toShard(id, Lose{Tunnel: id})
	}
	r.hush(id)
	if status, ok := r.node.Tunnel(id); ok {
		r.learn(id)
		for _, c := range status.Children {
			r.stand(c.In)
			r.stand(c.Out)
		}
	}
	r.onLeft(id, Left{Routes: routes})
}

// recall keeps a tunnel from coming to life that is lost before it did, and
// returns the routes that it stood by with.
func (r *Replica) recall(id ipsec.TunnelID) ([]Route, bool) {
	w := r.restoring[id]
	if w == nil {
		return nil, false
	}
	delete(r.restoring, id)
	in, _ := w.inputs[0].(Restore)
	return in.Routes, true
}

// onLeft puts away what a shard leaves behind of a tunnel that it has lost, as far
// as it does not stand by: what it published last was not taken any more.
func (r *Replica) onLeft(id ipsec.TunnelID, left Left) {
	var strays []ipsec.SAID
	for _, said := range left.SAs {
		if _, known := r.node.TunnelOf(said); !known {
			strays = append(strays, said)
		}
	}
	if len(strays) > 0 {
		r.rd.Orders = append(r.rd.Orders, ha.Order{Kind: ha.Discard, Epoch: r.node.Epoch(), IDs: strays})
		r.rd.Serial = max(r.rd.Serial, r.ordered)
	}
	if owner, ok := r.node.Owner(id); ok && owner == r.member {
		return // it is ours again, and so are its routes
	}
	t := r.standby[id]
	for _, route := range left.Routes {
		if t == nil || !t.needs(route.Prefix) {
			r.rd.DelRoutes = append(r.rd.DelRoutes, route)
		}
	}
}

// hush drops what we wanted to say to a peer: the new owner speaks to it now.
func (r *Replica) hush(id ipsec.TunnelID) {
	if _, waits := r.last[id]; !waits {
		return
	}
	r.held = slices.DeleteFunc(r.held, func(h heldMessages) bool { return h.tunnel == id })
	delete(r.last, id)
}
