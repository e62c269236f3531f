package sim

import (
	"context"
	"errors"
	"time"

	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1"
	"github.com/evergate/evergate/offload"
)

// gateway is a daemon with its dataplane, of a member or a client: shards, and as
// much of core/engine/run.go as it takes to run them.
type gateway struct {
	c      *Cluster
	name   string
	daemon *process
	plane  *plane
	// skew is how far the machine's clock is ahead of the virtual one.
	skew   time.Duration
	shards []*shard
	events *actor
	host   host
}

// host is what members and clients do each in their own way.
type host interface {
	// carryOut does what a shard asks for, but for the dataplane's part.
	carryOut(s *shard, rd engine.Ready)
	// noticed takes an event of the dataplane that is not for shards only.
	noticed(offload.Event)
	// takeStock compares the dataplane with what should be in it.
	takeStock([]offload.Counters)
	// counted takes the counters of a checkpoint.
	counted([]offload.Counters)
	epoch() offload.Epoch
}

// shard is one machine with its goroutines.
type shard struct {
	machine *engine.Shard
	in, ops *actor
	timer   alarm
}

func (g *gateway) now() time.Time { return g.c.clock.Now().Add(g.skew) }

// virtual is a time of this machine's clock on the virtual one.
func (g *gateway) virtual(local time.Time) time.Time {
	if local.IsZero() {
		return local
	}
	return local.Add(-g.skew)
}

// begin starts the daemon's goroutines over machines that were just made.
func (g *gateway) begin(machines ...*engine.Shard) {
	g.daemon.start()
	g.events = g.daemon.actor()
	g.shards = nil
	for _, m := range machines {
		s := &shard{machine: m, in: g.daemon.actor(), ops: g.daemon.actor()}
		s.timer.do = func() { g.give(s, engine.Timeout{}) }
		g.shards = append(g.shards, s)
	}
	life := g.daemon.life
	g.c.clock.After(g.c.upTo(checkpointEvery), func() { g.checkpoint(life) })
}

// give hands an input to a shard.
func (g *gateway) give(s *shard, in engine.Input) { s.in.push(func() { g.step(s, in) }) }

// all hands an input to all shards.
func (g *gateway) all(in engine.Input) {
	for _, s := range g.shards {
		g.give(s, in)
	}
}

// step steps a shard and carries out what it asks for, in order.
func (g *gateway) step(s *shard, in engine.Input) {
	rd := s.machine.Step(g.now(), in)
	if g.c.traces() {
		g.traceShard(in, rd)
	}
	g.host.carryOut(s, rd)
	for _, p := range rd.Misplaced {
		to := g.shards[p.Shard]
		to.in.offer(func() { g.step(to, p.Packets) })
	}
	for _, op := range rd.Plane {
		s.ops.push(func() { g.operate(s, op) })
	}
	for _, in := range rd.Supersede {
		g.all(in)
	}
	g.daemon.set(&s.timer, g.virtual(s.machine.NextTimeout()))
}

// patience is between two tries of a call to a dataplane that does not answer.
const patience = 20 * time.Millisecond

// operate makes one call for a shard, and brings it the answer.
func (g *gateway) operate(s *shard, op engine.Op) {
	if g.plane.frozen {
		s.ops.again(patience, func() { g.operate(s, op) })
		return
	}
	ctx, r := context.Background(), engine.Result{ID: op.ID}
	switch {
	case op.Install != nil:
		r.Placements, r.Err = g.plane.bound.Install(ctx, g.host.epoch(), offload.Active, op.Install...)
	case op.Update != nil:
		r.Placements, r.Err = g.plane.bound.Update(ctx, g.host.epoch(), op.Update...)
	default:
		r.Counters, r.Err = g.plane.bound.Delete(ctx, g.host.epoch(), op.Delete...)
	}
	if r.Err != nil && !errors.Is(r.Err, offload.ErrDown) {
		g.c.breach("%s: the dataplane refuses a call of a shard: %v", g.name, r.Err)
	}
	g.pump()
	g.give(s, engine.PlaneDone{Results: []engine.Result{r}})
}

// pump brings what the dataplane has noticed to the daemon.
func (g *gateway) pump() {
	if !g.daemon.up {
		return // it waits for the next one
	}
	for _, ev := range g.plane.Drain() {
		g.events.push(func() { g.onEvent(ev) })
	}
}

func (g *gateway) onEvent(ev offload.Event) {
	switch ev.(type) {
	case offload.Reset, offload.Overrun:
		if g.plane.frozen {
			g.events.again(patience, func() { g.onEvent(ev) })
			return
		}
		if all, ok := g.plane.inventory(); ok {
			g.host.takeStock(all)
		}
	default:
		g.all(engine.PlaneEvent{Event: ev})
		g.host.noticed(ev)
	}
}

// checkpointEvery is how often the counters are read.
const checkpointEvery = 500 * time.Millisecond

// checkpoint reads the counters, and again and again.
func (g *gateway) checkpoint(life int) {
	if g.daemon.life != life || !g.daemon.up {
		return
	}
	g.c.clock.After(checkpointEvery, func() { g.checkpoint(life) })
	if g.daemon.frozen {
		return
	}
	if all, ok := g.plane.inventory(); ok {
		g.deal(all, func(c []offload.Counters) engine.Input { return engine.Checkpoint{Counters: c} })
		g.host.counted(all)
	}
}

// deal hands counters to the shards that own them.
func (g *gateway) deal(all []offload.Counters, in func([]offload.Counters) engine.Input) {
	parts := make([][]offload.Counters, len(g.shards))
	for _, c := range all {
		i := engine.ShardOf(uint64(c.Tunnel), len(g.shards))
		parts[i] = append(parts[i], c)
	}
	for i, s := range g.shards {
		g.give(s, in(parts[i]))
	}
}

// shardOf is the one that owns a tunnel.
func (g *gateway) shardOf(id ipsec.TunnelID) *shard {
	return g.shards[engine.ShardOf(uint64(id), len(g.shards))]
}

// receive takes an IKE message from the network.
func (g *gateway) receive(dg ike.Datagram, relayed bool) {
	if !g.daemon.up {
		return
	}
	own, first := engine.OwnSPI(dg.Payload)
	if own == 0 {
		if relayed && !v1.IsV1(dg.Payload) {
			return // only IKEv1 rekeys with what looks like the first message of a peer
		}
		own = first
	}
	s := g.shards[engine.ShardOf(uint64(own), len(g.shards))]
	s.in.offer(func() { g.step(s, engine.Packets{Datagrams: []ike.Datagram{dg}, Relayed: relayed}) })
}

// tunnels are those that the shards own.
func (g *gateway) tunnels() []engine.TunnelStatus {
	var out []engine.TunnelStatus
	for _, s := range g.shards {
		out = append(out, s.machine.Tunnels(g.now())...)
	}
	return out
}
