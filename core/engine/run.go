package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1"
	"github.com/evergate/evergate/offload"
)

const (
	// maxInbox bounds the batches of datagrams that wait for one shard.
	maxInbox = 1024
	// planeDeadline bounds one call into the dataplane.
	planeDeadline = 10 * time.Second
)

// Network sends IKE messages. Send does not wait, keeps nothing of its argument,
// and returns how many went; the others are dropped and counted there.
type Network interface{ Send([]ike.Datagram) int }

// Routes changes the kernel's routes, and knows whose tunnels they lead to. All
// calls are idempotent.
type Routes interface {
	// Add makes routes, in their order. One that is there as that of a standby
	// becomes ours; the other way it takes a Yield. The errors are by index, nil
	// when there are none.
	Add(...Route) []error
	Del(Route) error
	// Yield notes that a route leads to another member's tunnel from now on, if it
	// is still there.
	Yield(Route) error
	// Refresh puts back what is missing, after the dataplane's interface went
	// and came again.
	Refresh() error
}

// Options are what an Engine is made of.
type Options struct {
	Shards  int
	Member  ipsec.MemberID
	Epoch   offload.Epoch
	Policy  *Policy
	Limits  ike.Limits
	Env     ike.Env
	Plane   offload.Engine
	Network Network
	Routes  Routes
	Log     *slog.Logger
	// Replication joins a group of members; nil for a gateway that stands alone.
	Replication *Replication
	// Journal remembers our tunnels for the next life; nil for none. In a group Node
	// must be configured for it.
	Journal Journal
}

// Engine runs shards: the goroutines, timers and calls around the machines.
type Engine struct {
	o      Options
	shards []*runner
	ops    *queue[planeOp]
	parts  *counterParts
	seed   maphash.Seed
	// replica is nil without a group. epoch goes with every call into the
	// dataplane; it only rises.
	replica *replicaRunner
	// links is nil where members have none.
	links *linkRunner
	epoch atomic.Uint64
	// limits are those of the dataplane.
	limits atomic.Pointer[planeLimits]
	// adopts: the dataplane has lived before us. Set before Run.
	adopts        bool
	journalFailed atomic.Bool

	mu     sync.Mutex
	policy *Policy
}

// runner is one shard with its goroutine's queue.
type runner struct {
	shard *Shard
	in    *queue[message]
	// inboxFull counts datagrams that came too fast.
	inboxFull atomic.Uint64
}

// message is an input, or a function that looks at the shard.
type message struct {
	in   Input
	look func(*Shard, Ready)
}

// New makes an engine. Run starts it.
func New(o Options) *Engine {
	e := &Engine{o: o, ops: newQueue[planeOp](), parts: newCounterParts(o.Shards), seed: maphash.MakeSeed(), policy: o.Policy}
	e.epoch.Store(uint64(o.Epoch))
	e.limits.Store(&planeLimits{})
	e.o.Plane = boundedPlane{o.Plane, func() planeLimits { return *e.limits.Load() }}
	names, addresses := NewNameTable(), NewAddressTable()
	if o.Replication != nil {
		names, addresses = NewMemberNameTable(o.Member), NewMemberAddressTable(o.Member)
		e.replica = newReplicaRunner(e, *o.Replication, addresses)
		if o.Replication.Links != nil {
			e.links = newLinkRunner(o.Member, *o.Replication.Links, o.Log)
		}
	}
	limits := o.Limits.Share(o.Shards)
	for i := range o.Shards {
		e.shards = append(e.shards, &runner{
			shard: NewShard(ShardOptions{
				Index: i, Count: o.Shards, Member: o.Member, Epoch: o.Epoch, Policy: o.Policy,
				Names: names, Addresses: addresses, Limits: limits, Env: o.Env, Log: o.Log, Replicated: o.Replication != nil, Journaled: o.Journal != nil,
				Unit: e.replica != nil && e.replica.unit,
			}),
			in: newQueue[message](),
		})
	}
	return e
}

// Run works until ctx ends. It then lets go of everything at once: Drain comes
// before it, where the peers shall know.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	for _, r := range e.shards {
		wg.Go(func() { e.runShard(ctx, r) })
		r.in.push(message{in: Reload{Policy: e.o.Policy}}) // dials what is to be up
	}
	wg.Go(func() { e.runPlane(ctx) })
	if e.replica != nil {
		wg.Go(func() {
			if err := e.runReplica(ctx); err != nil {
				failed.Store(&err)
				cancel()
			}
		})
		wg.Go(func() { e.runOrders(ctx) })
	}
	if e.links != nil {
		wg.Go(func() { e.runLinks(ctx) })
		wg.Go(func() { e.runLinkOrders(ctx) })
	}
	wg.Go(func() { e.runEvents(ctx) })
	wg.Go(func() { e.runCheckpoints(ctx) })
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return ctx.Err()
}

// Receive takes datagrams from the network. It owns their payloads from then on,
// but not the slice, and does not block.
func (e *Engine) Receive(dgs []ike.Datagram) {
	parts := make([][]ike.Datagram, len(e.shards))
	for _, dg := range dgs {
		i, _ := e.shardFor(dg)
		parts[i] = append(parts[i], dg)
	}
	for i, part := range parts {
		if len(part) > 0 {
			e.shards[i].receive(part)
		}
	}
}

func (r *runner) receive(dgs []ike.Datagram) {
	if !r.in.offer(message{in: Packets{Datagrams: dgs}}, maxInbox) {
		r.inboxFull.Add(uint64(len(dgs)))
	}
}

// shardFor finds the shard by our own SPI, or for the first message of a peer,
// which has none, by where it comes from.
func (e *Engine) shardFor(dg ike.Datagram) (shard int, spi ipsec.IKESPI) {
	local, first := OwnSPI(dg.Payload)
	if local == 0 {
		return ShardOf(maphash.Comparable(e.seed, firstMessage{dg.Remote, first}), len(e.shards)), 0
	}
	return ShardOf(uint64(local), len(e.shards)), local
}

// OwnSPI reads from the header of a message that came here which IKE SA of ours
// it is for. The first message of a peer names none; then it is 0, and first is
// the peer's own, which its retransmissions share. IKEv1 does not say which of the
// two is ours; own is the responder's cookie then.
func OwnSPI(payload []byte) (own, first ipsec.IKESPI) {
	const initiatorFlag = 0x08 // RFC 7296 section 3.1
	if len(payload) < 28 {
		return 0, 0
	}
	spii, spir := binary.BigEndian.Uint64(payload), binary.BigEndian.Uint64(payload[8:])
	own = ipsec.IKESPI(spii)
	if payload[19]&initiatorFlag != 0 || v1.IsV1(payload) {
		own = ipsec.IKESPI(spir)
	}
	if own == 0 {
		first = ipsec.IKESPI(spii)
	}
	return own, first
}

// firstMessage is what the retransmissions of a peer's first message have in
// common.
type firstMessage struct {
	from netip.AddrPort
	spii ipsec.IKESPI
}

func (e *Engine) runShard(ctx context.Context, r *runner) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	defer r.in.close()
	for {
		at := r.shard.NextTimeout()
		wait := time.Hour
		if !at.IsZero() {
			wait = max(0, time.Until(at))
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			e.carryOut(r, r.shard.Step(time.Now(), Timeout{}))
		case <-r.in.ready:
			for _, m := range r.in.take() {
				e.handle(r, m)
			}
		}
	}
}

func (e *Engine) handle(r *runner, m message) {
	var rd Ready
	if m.in != nil {
		rd = r.shard.Step(time.Now(), m.in)
		e.carryOut(r, rd)
	}
	if m.look != nil {
		m.look(r.shard, rd)
	}
}

// carryOut does the work of a Ready in its order.
func (e *Engine) carryOut(r *runner, rd Ready) {
	e.changeRoutes(rd.AddRoutes, nil)
	if len(rd.Send) > 0 {
		e.o.Network.Send(rd.Send)
	}
	e.publish(rd.Publish)
	for _, s := range rd.Foreign {
		e.replica.in.push(replicaMessage{in: s})
	}
	e.changeRoutes(nil, rd.DelRoutes)
	e.yieldRoutes(rd.YieldRoutes)
	for _, op := range rd.Plane {
		e.ops.push(planeOp{op, r})
	}
	for _, m := range rd.Misplaced {
		if !e.shards[m.Shard].in.offer(message{in: m.Packets}, maxInbox) {
			e.shards[m.Shard].inboxFull.Add(uint64(len(m.Packets.Datagrams)))
		}
	}
	for _, in := range rd.Supersede {
		for _, other := range e.shards {
			other.in.push(message{in: in})
		}
	}
}

// publish hands publications to those who remember them.
func (e *Engine) publish(list []Publication) {
	if e.replica == nil {
		e.record(list)
		return
	}
	for _, p := range list {
		e.replica.in.push(replicaMessage{in: Published{p}})
	}
}

func (e *Engine) changeRoutes(add, del []Route) {
	if len(add) > 0 {
		for i, err := range e.o.Routes.Add(add...) {
			if err != nil {
				e.o.Log.Error("route was not added", "tunnel", add[i].Name, "prefix", add[i].Prefix, "error", err)
			}
		}
	}
	for _, route := range del {
		if err := e.o.Routes.Del(route); err != nil {
			e.o.Log.Error("route was not deleted", "tunnel", route.Name, "prefix", route.Prefix, "error", err)
		}
	}
}

func (e *Engine) yieldRoutes(routes []Route) {
	for _, route := range routes {
		if err := e.o.Routes.Yield(route); err != nil {
			e.o.Log.Error("route was not yielded", "tunnel", route.Name, "prefix", route.Prefix, "error", err)
		}
	}
}

// currentEpoch is the one that calls into the dataplane carry.
func (e *Engine) currentEpoch() offload.Epoch { return offload.Epoch(e.epoch.Load()) }

// claiming makes a call under the epoch of the moment. It makes it again where that has
// risen meanwhile, and a call with the new one has overtaken it: the dataplane takes it
// for one of a former owner then, and has done nothing.
func (e *Engine) claiming(call func(offload.Epoch) error) error {
	for {
		at := e.currentEpoch()
		if err := call(at); !errors.Is(err, offload.ErrStaleEpoch) || e.currentEpoch() <= at {
			return err
		}
	}
}

// runEvents hears what the dataplane notices, for as long as there is one.
func (e *Engine) runEvents(ctx context.Context) {
	e.meetPlane(ctx)
	if e.adopts && e.replica == nil {
		e.reconcile(ctx)
	}
	for ctx.Err() == nil {
		for ev, err := range e.o.Plane.Events(ctx) {
			if err != nil {
				if ctx.Err() == nil {
					e.o.Log.Warn("dataplane events ended", "error", err)
				}
				break
			}
			e.onEvent(ctx, ev)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(checkpointEvery):
		}
		// What was missed in between shows in the inventory.
		e.onEvent(ctx, offload.Overrun{})
	}
}

func (e *Engine) onEvent(ctx context.Context, ev offload.Event) {
	if _, fresh := ev.(offload.Reset); fresh {
		e.meetPlane(ctx)
	}
	switch ev.(type) {
	case offload.Reset, offload.Overrun:
		if err := e.o.Routes.Refresh(); err != nil {
			e.o.Log.Error("routes were not put back", "error", err)
		}
		e.reconcile(ctx)
	default:
		for _, r := range e.shards {
			r.in.push(message{in: PlaneEvent{Event: ev}})
		}
		if e.replica != nil {
			e.replica.in.push(replicaMessage{in: Noticed{ev}})
		}
	}
}

// reconcile has what the dataplane holds put right.
func (e *Engine) reconcile(ctx context.Context) {
	if err := e.inventory(ctx); err != nil && ctx.Err() == nil {
		e.o.Log.Error("dataplane could not be reconciled", "error", err)
	}
}

// inventory reads all that the dataplane holds and has it put right. In a group
// the replication machine says first what of it is the shards'.
func (e *Engine) inventory(ctx context.Context) error {
	var all []offload.Counters
	if err := e.export(ctx, offload.AllGroups, true, func(c offload.Counters) { all = append(all, c) }); err != nil {
		return err
	}
	if e.replica != nil {
		e.replica.in.push(replicaMessage{in: Inventoried{all}})
		return nil
	}
	e.deal(all, func(c []offload.Counters) Input { return Inventory{Counters: c} })
	return nil
}

// deal hands counters to the shards that own them.
func (e *Engine) deal(all []offload.Counters, in func([]offload.Counters) Input) {
	parts := make([][]offload.Counters, len(e.shards))
	for _, c := range all {
		i := ShardOf(uint64(c.Tunnel), len(e.shards))
		parts[i] = append(parts[i], c)
	}
	for i, r := range e.shards {
		r.in.push(message{in: in(parts[i])})
	}
}

// export reads the counters of the SAs of a group and hands them over. Those of
// links go where links are made; complete says that events were lost.
func (e *Engine) export(ctx context.Context, g offload.Group, complete bool, take func(offload.Counters)) error {
	ctx, cancel := context.WithTimeout(ctx, planeDeadline)
	defer cancel()
	var links []offload.Counters
	for c, err := range e.o.Plane.Export(ctx, g) {
		if err != nil {
			return fmt.Errorf("engine: export counters: %w", err)
		}
		if c.Link != nil {
			links = append(links, c)
		} else {
			take(c)
		}
	}
	e.link(LinkCounted{Counters: links, Complete: complete})
	return nil
}

// ErrStopped answers calls to an engine that does not run any more.
var ErrStopped = errors.New("engine: stopped")

// all gives an input to every shard, waits until it is carried out, and lets
// see look at each shard. A nil input only looks. When it has returned, see is
// not called any more.
func (e *Engine) all(ctx context.Context, in Input, see func(*Shard, Ready)) error {
	done := make(chan struct{}, len(e.shards))
	var caller look
	defer caller.leave()
	for _, r := range e.shards {
		ok := r.in.push(message{in: in, look: func(s *Shard, rd Ready) {
			if see != nil {
				caller.do(func() { see(s, rd) })
			}
			done <- struct{}{}
		}})
		if !ok {
			return ErrStopped
		}
	}
	for range e.shards {
		select {
		case <-done:
		case <-ctx.Done():
			return fmt.Errorf("engine: wait for the shards: %w", ctx.Err())
		}
	}
	return nil
}
