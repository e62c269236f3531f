package engine

import (
	"log/slog"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
)

// Replica joins the shards of a member with its replication machine: it hands
// over what they publish, holds back what their peers must not hear yet, keeps
// the routes of tunnels that stand by, and finds the owner of a message that came
// to the wrong member. It is a pure machine; one goroutine owns it.
type Replica struct {
	node   *ha.Node
	policy *livePolicy
	log    *slog.Logger
	member ipsec.MemberID

	// held are messages that wait for an index, in order; last is the highest
	// index that each tunnel waits for.
	held []heldMessages
	last map[ipsec.TunnelID]ha.Index

	standby map[ipsec.TunnelID]*standbyTunnel
	bySPI   map[ipsec.IKESPI]ipsec.TunnelID
	bySA    map[ipsec.SAID]*standbySA
	// restoring are tunnels that come to life as soon as the dataplane has carried
	// out the orders that make them ours; ordered and carried are the serials of
	// the last orders and of those that it has.
	restoring        map[ipsec.TunnelID]*restoring
	ordered, carried uint64
	// waiting are messages for tunnels that are about to be ours.
	waiting map[ipsec.TunnelID][]ike.Datagram

	// addresses are those of IKEv1's peers; nil for none.
	addresses *AddressTable

	// departed are the last answers of other members' tunnels that are gone.
	departed ike.Departed

	// unit: we are a member of one; silent: and may not be routed to, so nothing
	// goes to peers from here.
	unit, silent bool
	// forgetMTU: other members hear of no path MTU.
	forgetMTU bool

	stats ReplicaStats
	rd    ReplicaReady
}

type heldMessages struct {
	index  ha.Index
	tunnel ipsec.TunnelID
	send   []ike.Datagram
}

// restoring is a tunnel on its way to its shard, with all that follows for it.
type restoring struct {
	serial uint64
	inputs []Input
}

// ReplicaStats counts what a Replica did.
type ReplicaStats struct {
	HA ha.Stats

	Held      uint64 // messages that waited for other members
	RelayedTo uint64 // IKE messages that went to their owner
	RelayedBy uint64 // IKE messages that other members sent here
	NoOwner   uint64 // IKE messages for tunnels that nobody has
	Repeated  uint64 // last answers of other members, given again
	Takeovers uint64
}

// maxWaiting bounds the messages that wait for one tunnel to come to life.
const maxWaiting = 8

// ReplicaInput is what may happen to a Replica.
type ReplicaInput interface{ replicaInput() }

type (
	// Published is what a shard asks for.
	Published struct{ Publication Publication }

	// Node is for the replication machine itself: frames, answers of the
	// dataplane, what the operator wants.
	Node struct{ Input ha.Input }

	// Noticed is an event of the dataplane.
	Noticed struct{ Event offload.Event }

	// Counted are counters of SAs, some of all at a time.
	Counted struct{ Counters []offload.Counters }

	// Inventoried is a Counted that is complete: what is not in it is not in the
	// dataplane. It follows a Reset or an Overrun.
	Inventoried struct{ Counters []offload.Counters }

	// Strange is an IKE message for a tunnel that no shard of ours has. Relayed
	// ones came from another member and go no further.
	Strange struct {
		Datagram ike.Datagram
		SPI      ipsec.IKESPI
		// Other is IKEv1's: the initiator's cookie, which may be the one of ours.
		Other ipsec.IKESPI
		// Tunnel is IKEv1's, too: the message is the first of a phase 1, and comes from
		// where the peer of this tunnel is; 0 for all other messages.
		Tunnel  ipsec.TunnelID
		Relayed bool
	}

	// Reconfigured replaces the connections.
	Reconfigured struct{ Policy *Policy }
)

func (Published) replicaInput()    {}
func (Node) replicaInput()         {}
func (Noticed) replicaInput()      {}
func (Counted) replicaInput()      {}
func (Inventoried) replicaInput()  {}
func (Strange) replicaInput()      {}
func (Reconfigured) replicaInput() {}

// ReplicaReady is what one step asks for, in the order in which it must be done.
type ReplicaReady struct {
	Hard    *ha.HardState // to disk before anything else (I3)
	Journal []ha.Record   // to disk too, where there is a journal
	Epoch   offload.Epoch // of all calls into the dataplane from now on
	Orders  []ha.Order
	Serial  uint64
	// Routes of tunnels that stand by.
	AddRoutes, DelRoutes []Route
	Frames               []ha.Frame
	Send                 []ike.Datagram
	Relay                []Relay
	// Shards are inputs for the shard of a tunnel.
	Shards []ForShard
	// Inventory goes to the shards, each its part, if Inventoried is set.
	Inventory   []offload.Counters
	Inventoried bool
	Health      *ha.Health
}

// Relay is an IKE message for its owner.
type Relay struct {
	To       ipsec.MemberID
	Datagram ike.Datagram
}

// ForShard is an input for the shard that owns a tunnel.
type ForShard struct {
	Tunnel ipsec.TunnelID
	Input  Input
}

// NewReplica makes a Replica around a node. It notes in a, which may be nil, the
// addresses of other members' peers.
func NewReplica(n *ha.Node, m ipsec.MemberID, p *Policy, a *AddressTable, log *slog.Logger) *Replica {
	_, unit := n.UnitStatus(time.Time{})
	return &Replica{
		unit: unit, silent: unit,
		node: n, member: m, policy: &livePolicy{p}, addresses: a, log: log,
		last:    make(map[ipsec.TunnelID]ha.Index),
		standby: make(map[ipsec.TunnelID]*standbyTunnel),
		bySPI:   make(map[ipsec.IKESPI]ipsec.TunnelID),
		bySA:    make(map[ipsec.SAID]*standbySA),
		waiting: make(map[ipsec.TunnelID][]ike.Datagram),

		restoring: make(map[ipsec.TunnelID]*restoring),
	}
}

// NextTimeout is when Node{ha.Timeout{}} is due.
func (r *Replica) NextTimeout() time.Time { return r.node.NextTimeout() }

// Step takes one input. The Ready belongs to the caller.
func (r *Replica) Step(now time.Time, in ReplicaInput) ReplicaReady {
	r.rd = ReplicaReady{}
	switch in := in.(type) {
	case Published:
		r.publish(now, in.Publication)
	case Node:
		r.step(now, in.Input)
		if c, ok := in.Input.(ha.Carried); ok {
			r.onCarried(c.Serial)
		}
	case Noticed:
		r.onEvent(now, in.Event)
	case Counted:
		r.onCounters(now, in.Counters)
	case Inventoried:
		r.onInventory(now, in.Counters)
	case Strange:
		r.onStrange(now, in)
	case Reconfigured:
		r.policy.Policy = in.Policy
		r.step(now, ha.Configure{Classes: classesOf(in.Policy)})
	}
	if r.silent {
		r.rd.Send = nil // the primary says it, or the peer asks again
	}
	r.rd.Epoch = offload.Epoch(r.node.Epoch())
	return r.rd
}

// classesOf are the connections that are synchronized.
func classesOf(p *Policy) map[string]uint64 {
	out := make(map[string]uint64)
	for _, c := range p.connections {
		if c.Sync {
			out[c.Name] = c.Shared
		}
	}
	return out
}

// step gives an input to the machine and gathers what it asks for.
func (r *Replica) step(now time.Time, in ha.Input) ha.Index {
	rd := r.node.Step(now, in)
	if rd.Hard != nil {
		r.rd.Hard = rd.Hard
	}
	r.rd.Journal = append(r.rd.Journal, rd.Journal...)
	for _, id := range rd.Copied {
		r.learn(id)
	}
	for _, o := range rd.Orders {
		r.onOrder(o)
	}
	r.chill(rd.Orders)
	r.rd.Orders = append(r.rd.Orders, rd.Orders...)
	r.rd.Serial = max(r.rd.Serial, rd.Serial)
	r.ordered = max(r.ordered, rd.Serial)
	r.rd.Frames = append(r.rd.Frames, rd.Send...)
	for _, id := range rd.Lost {
		r.onLost(id)
	}
	r.release(rd.Commit) // but what was lost in this step (I7)
	for _, restored := range rd.Restore {
		r.warm(restored)
		r.onRestored(restored)
	}
	for _, b := range rd.Answers {
		r.onAnswer(now, b)
	}
	for _, id := range rd.Gone {
		r.onGone(now, id)
	}
	for _, id := range rd.Dropped {
		if _, again := r.node.Owner(id); !again {
			r.drop(id)
		}
	}
	for _, k := range rd.Rekey {
		r.toShard(k.Tunnel, Worn{Rekey: k})
	}
	if rd.Health != nil {
		r.rd.Health = rd.Health
		r.silent = r.unit && !rd.Health.Fit
	}
	return rd.Index
}

func (r *Replica) toShard(id ipsec.TunnelID, in Input) {
	if w := r.restoring[id]; w != nil {
		w.inputs = append(w.inputs, in)
		return
	}
	r.rd.Shards = append(r.rd.Shards, ForShard{Tunnel: id, Input: in})
}

// publish hands over one step of a tunnel of ours, and keeps its messages until
// the other members have it.
func (r *Replica) publish(now time.Time, p Publication) {
	if p.Left != nil {
		r.onLeft(p.Tunnel, *p.Left)
		return
	}
	owner, known := r.node.Owner(p.Tunnel)
	if known && owner != r.member || !known && p.IKE == nil && !p.Over {
		return // it is another's, or gone, as the shard is about to hear (I7)
	}
	var index ha.Index
	note := func(i ha.Index) { index = max(index, i) }
	// Pairs come before the state that speaks of them: a member that has one and
	// not the other would repeat a response about SAs that it lacks. A new tunnel
	// must be there first (C8).
	store := func() {
		for _, pair := range p.Stored {
			note(r.step(now, ha.StoreChild{Tunnel: p.Tunnel, In: pair.In, Out: pair.Out}))
		}
	}
	if known {
		store()
	}
	if p.IKE != nil {
		note(r.step(now, ha.StoreIKE{Tunnel: p.Tunnel, IKE: *p.IKE, Heard: p.Heard}))
		if _, ok := r.node.Owner(p.Tunnel); !ok {
			return // it was removed meanwhile
		}
	}
	if !known {
		store()
	}
	for _, id := range p.Dropped {
		note(r.step(now, ha.DeleteChild{Tunnel: p.Tunnel, Child: id}))
	}
	if p.Moved != nil {
		note(r.step(now, ha.Moved{Tunnel: p.Tunnel, Endpoint: *p.Moved}))
	}
	if p.Over {
		d := ha.Delete{Tunnel: p.Tunnel, Final: p.Final}
		if p.Farewell != nil {
			d.Answer = p.Farewell.Marshal()
		}
		note(r.step(now, d))
	}
	if index == 0 {
		index = r.last[p.Tunnel] // what came before has not gone yet
	}
	if len(p.Send) > 0 && index > r.committed() {
		r.stats.Held += uint64(len(p.Send))
		r.held = append(r.held, heldMessages{index: index, tunnel: p.Tunnel, send: p.Send})
		r.last[p.Tunnel] = index
		return
	}
	r.rd.Send = append(r.rd.Send, p.Send...)
}

func (r *Replica) committed() ha.Index { return r.node.Committed() }

// release lets go of what the other members have.
func (r *Replica) release(commit ha.Index) {
	n := 0
	for n < len(r.held) && r.held[n].index <= commit {
		h := r.held[n]
		r.rd.Send = append(r.rd.Send, h.send...)
		if r.last[h.tunnel] == h.index {
			delete(r.last, h.tunnel)
		}
		n++
	}
	r.held = r.held[n:]
}

// onEvent passes on what concerns tunnels of the group.
func (r *Replica) onEvent(now time.Time, ev offload.Event) {
	switch ev := ev.(type) {
	case offload.Activated:
		r.step(now, ha.Activated{Tunnel: ev.Tunnel, Group: ipsec.MemberID(ev.Group)})
	case offload.FirstPacket:
		r.step(now, ha.Stray{Tunnel: ev.Tunnel})
	case offload.LeaseLow:
		r.step(now, ha.LeaseLow{SA: ev.ID})
	case offload.MTUChanged:
		if !r.forgetMTU {
			r.step(now, ha.Learned{SA: ev.ID, MTU: ev.MTU})
		}
	}
}

// onCounters passes on the counters of the tunnels that are ours.
func (r *Replica) onCounters(now time.Time, counters []offload.Counters) {
	in := ha.Count{SAs: make([]ha.Counted, 0, len(counters))}
	for _, c := range counters {
		if sa := r.bySA[c.ID]; sa != nil {
			sa.count.note(c)
			sa.count.bitmap = nil // of 256 octets and more, and nobody looks at them
		}
		if c.Role != offload.Active {
			continue
		}
		in.SAs = append(in.SAs, ha.Counted{ID: c.ID, Sequence: c.Sequence})
	}
	r.step(now, in)
}

// Stats returns the counters.
func (r *Replica) Stats() ReplicaStats {
	s := r.stats
	s.HA = r.node.Stats()
	return s
}
