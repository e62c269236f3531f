package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1"
	"github.com/evergate/evergate/offload"
)

// Mesh is the way to the other members. Neither call waits; what cannot go is
// lost, and counted there.
type Mesh interface {
	Send(ha.Frame)
	Relay(to ipsec.MemberID, dg ike.Datagram)
}

// HardStore keeps what must survive a crash. Save returns once it is on disk.
type HardStore interface{ Save(ha.HardState) error }

// Replication joins an engine to a group of members.
type Replication struct {
	Node  *ha.Node
	Mesh  Mesh
	Store HardStore
	// Fit hears whether the network may route to this member.
	Fit func(ha.Health)
	// Links join the members; nil for a group without.
	Links *LinkOptions
	// ForgetMTU keeps what is learned of paths from the other members.
	ForgetMTU bool
}

// replicaRunner is a Replica with its queues.
type replicaRunner struct {
	*Replica
	o      Replication
	in     *queue[replicaMessage]
	orders *queue[orders]
	// beats are frames that say that a member lives, and no more. They pass what
	// waits in in, as on the network, where they go a way of their own.
	beats *queue[ha.Frame]
}

// maxBeats bounds how many heartbeats wait; what is beyond is lost, as on the
// network.
const maxBeats = 1 << 12

type replicaMessage struct {
	in   ReplicaInput
	look func(*Replica)
}

// orders are those of one Ready, with the routes that go along.
type orders struct {
	list     []ha.Order
	serial   uint64
	add, del []Route
}

func newReplicaRunner(e *Engine, o Replication, a *AddressTable) *replicaRunner {
	r := &replicaRunner{
		Replica: NewReplica(o.Node, e.o.Member, e.o.Policy, a, e.o.Log), o: o,
		in: newQueue[replicaMessage](), orders: newQueue[orders](), beats: newQueue[ha.Frame](),
	}
	r.forgetMTU = o.ForgetMTU
	return r
}

// runReplica is the life of the replication machine.
func (e *Engine) runReplica(ctx context.Context) error {
	r := e.replica
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	defer r.in.close()
	defer r.beats.close()
	plane := ha.Plane{Up: true, Left: e.left(ctx)}
	plane.Bare = plane.Left == nil && e.bare(ctx)
	for _, in := range []ReplicaInput{Node{plane}, Reconfigured{Policy: e.o.Policy}} {
		if err := e.carryOutReplica(r.Step(time.Now(), in)); err != nil {
			return err
		}
	}
	for {
		wait := time.Hour
		if at := r.NextTimeout(); !at.IsZero() {
			wait = max(0, time.Until(at))
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-r.beats.ready:
		case <-r.in.ready:
		}
		if err := e.beat(); err != nil {
			return err
		}
		for _, m := range r.in.take() {
			// With very many tunnels the queue holds hundreds of milliseconds of work:
			// neither our heartbeat nor those of others wait for it, or a member would be
			// taken for dead.
			if err := e.beat(); err != nil {
				return err
			}
			if m.in != nil {
				if err := e.carryOutReplica(r.Step(time.Now(), m.in)); err != nil {
					return err
				}
			}
			if m.look != nil {
				m.look(r.Replica)
			}
		}
	}
}

// beat takes the heartbeats of others and does what is due, in this order: who is
// to be missed must have been listened to.
func (e *Engine) beat() error {
	r := e.replica
	for _, f := range r.beats.take() {
		if err := e.carryOutReplica(r.Step(time.Now(), Node{ha.Received{Frame: f}})); err != nil {
			return err
		}
	}
	now := time.Now()
	if at := r.NextTimeout(); at.IsZero() || now.Before(at) {
		return nil
	}
	return e.carryOutReplica(r.Step(now, Node{ha.Timeout{}}))
}

// bare tells whether the dataplane is known to hold no SA.
func (e *Engine) bare(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, planeDeadline)
	defer cancel()
	for _, err := range e.o.Plane.Export(ctx, offload.AllGroups) {
		if err != nil {
			e.o.Log.Debug("dataplane was not asked what it holds", "error", err)
		}
		return false
	}
	return ctx.Err() == nil
}

// carryOutReplica does the work of a Ready in its order. An error is one of the
// disk: a member that cannot remember must not go on.
func (e *Engine) carryOutReplica(rd ReplicaReady) error {
	r := e.replica
	if rd.Hard != nil {
		if err := r.o.Store.Save(*rd.Hard); err != nil {
			return fmt.Errorf("engine: remember the epoch: %w", err)
		}
	}
	e.jot(rd.Journal)
	e.epoch.Store(uint64(rd.Epoch))
	if len(rd.Orders)+len(rd.AddRoutes)+len(rd.DelRoutes) > 0 {
		r.orders.push(orders{rd.Orders, rd.Serial, rd.AddRoutes, rd.DelRoutes})
	}
	for _, f := range rd.Frames {
		r.o.Mesh.Send(f)
	}
	if len(rd.Send) > 0 {
		e.o.Network.Send(rd.Send)
	}
	for _, relay := range rd.Relay {
		r.o.Mesh.Relay(relay.To, relay.Datagram)
	}
	if rd.Health != nil && r.unit { // before tunnels come that have something to say
		for _, s := range e.shards {
			s.in.push(message{in: Rest{On: !rd.Health.Fit}})
		}
	}
	for _, s := range rd.Shards {
		e.shards[ShardOf(uint64(s.Tunnel), len(e.shards))].in.push(message{in: s.Input})
	}
	if rd.Inventoried {
		e.deal(rd.Inventory, func(c []offload.Counters) Input { return Inventory{Counters: c} })
	}
	if rd.Health != nil && r.o.Fit != nil {
		r.o.Fit(*rd.Health)
	}
	return nil
}

// runOrders carries out what the replication machine wants of the dataplane and
// of the kernel's routes, in order, and answers.
func (e *Engine) runOrders(ctx context.Context) {
	r, f := e.replica, newFlight(e)
	defer f.land()
	defer r.orders.close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.orders.ready:
		}
		for batch := r.orders.take(); len(batch) > 0 && ctx.Err() == nil; {
			n := portion(batch)
			f.launch(ctx, batch[:n])
			batch = batch[n:]
		}
	}
}

// portionOrders is after how many orders the replication machine hears of them:
// while the next ones are carried out the other members send more.
const portionOrders = 256

// portion is how many Readys to carry out together.
func portion(batch []orders) int {
	count := 0
	for n, o := range batch {
		if count += len(o.list); count >= portionOrders {
			return n + 1
		}
	}
	return len(batch)
}

// order carries out a list of orders, and returns the SAs that were refused.
func (e *Engine) order(ctx context.Context, list []ha.Order) []ipsec.SAID {
	var refused []ipsec.SAID
	for _, c := range PlaneCalls(list) {
		e.insist(ctx, func(ctx context.Context) error {
			var r []ipsec.SAID
			err := e.claiming(func(at offload.Epoch) (err error) {
				r, err = c.Make(ctx, e.o.Plane, at)
				return err
			})
			refused = append(refused, r...)
			if err == nil {
				e.ordered(c)
			}
			return err
		})
	}
	return refused
}

// insist repeats a call for as long as there is no dataplane, or no answer of it: what
// the replication machine ordered is done before it hears that it is, and a call that
// was carried out after all changes nothing when it is made again.
func (e *Engine) insist(ctx context.Context, call func(context.Context) error) {
	for ctx.Err() == nil {
		bounded, cancel := context.WithTimeout(ctx, planeDeadline)
		err := call(bounded)
		cancel()
		switch {
		case err == nil || ctx.Err() != nil:
			return
		case errors.Is(err, context.DeadlineExceeded):
			e.o.Log.Warn("dataplane has not answered, it is asked again", "after", planeDeadline, "error", err)
		case !errors.Is(err, offload.ErrDown) && !errors.Is(err, offload.ErrNotConfigured):
			e.o.Log.Error("dataplane refused an order", "error", err)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(planePause):
		}
	}
}

// planePause is between two tries of a call to a dataplane that is down.
const planePause = 20 * time.Millisecond

// ReceiveFrame takes a frame from another member.
func (e *Engine) ReceiveFrame(f ha.Frame) {
	if len(f.Records) == 0 && !f.Leaving {
		e.replica.beats.offer(f, maxBeats)
		return
	}
	e.replica.in.push(replicaMessage{in: Node{ha.Received{Frame: f}}})
}

// ReceiveRelayed takes an IKE message that came to another member.
func (e *Engine) ReceiveRelayed(dg ike.Datagram) {
	i, spi := e.shardFor(dg)
	if spi == 0 && !v1.IsV1(dg.Payload) {
		return // only IKEv1 rekeys with what looks like the first message of a peer
	}
	e.shards[i].in.offer(message{in: Packets{Datagrams: []ike.Datagram{dg}, Relayed: true}}, maxInbox)
}

// PlaneIs says what the dataplane can do, as far as what we may send depends on it:
// how it makes its IVs (I1), whether it stops at ceilings (I2), and whether it sees
// first packets. It comes after every Configure.
func (e *Engine) PlaneIs(info offload.Info) {
	limits := limitsOf(info)
	e.limits.Store(&limits)
	for _, s := range e.shards {
		s.in.push(message{in: Ceilings{Unbounded: limits.unbounded}})
	}
	if e.replica != nil {
		e.replica.in.push(replicaMessage{in: Node{keepsOf(info)}})
	}
}

// PlaneDown says that there is no dataplane for the moment. The Reset that
// follows ends it.
func (e *Engine) PlaneDown() {
	if e.replica != nil {
		e.replica.in.push(replicaMessage{in: Node{ha.Plane{Up: false}}})
	}
}

// say gives an input to the replication machine, and waits until it has it.
func (e *Engine) say(ctx context.Context, in ha.Input) error {
	done := make(chan struct{})
	if !e.replica.in.push(replicaMessage{in: Node{in}, look: func(*Replica) { close(done) }}) {
		return ErrStopped
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("engine: tell the replication machine: %w", ctx.Err())
	}
}

// lookReplica lets f see the replica in its own goroutine. When it has returned,
// f is not called any more.
func (e *Engine) lookReplica(ctx context.Context, f func(*Replica)) error {
	done := make(chan struct{})
	var caller look
	defer caller.leave()
	if !e.replica.in.push(replicaMessage{look: func(r *Replica) { caller.do(func() { f(r) }); close(done) }}) {
		return ErrStopped
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("engine: wait for the replication machine: %w", ctx.Err())
	}
}
