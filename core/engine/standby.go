package engine

import (
	"encoding/json"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1"
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
	bySA    map[ipsec.SAID]ipsec.TunnelID
	// counters are the dataplane's last word of the SAs that stand by.
	counters map[ipsec.SAID]offload.Counters
	// restoring are tunnels that come to life as soon as the dataplane has carried
	// out the orders that make them ours; ordered and carried are the serials of
	// the last orders and of those that it has.
	restoring        map[ipsec.TunnelID]*restoring
	ordered, carried uint64
	// waiting are messages for tunnels that are about to be ours.
	waiting map[ipsec.TunnelID][]ike.Datagram

	// addresses are those that peers were assigned; nil for none.
	addresses v1.Addresses

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

// standbyTunnel is what the engine does for a tunnel of another member.
type standbyTunnel struct {
	facts facts
	class string
	// sas are those that are in the dataplane, each with the routes that it
	// needs.
	sas map[ipsec.SAID][]Route
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

	// Counted are the counters of all SAs.
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
		Other   ipsec.IKESPI
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
	Hard   *ha.HardState // to disk before anything else (I3)
	Epoch  offload.Epoch // of all calls into the dataplane from now on
	Orders []ha.Order
	Serial uint64
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

// NewReplica makes a Replica around a node. It notes in a, which may be nil, what
// peers of other members were assigned.
func NewReplica(n *ha.Node, m ipsec.MemberID, p *Policy, a v1.Addresses, log *slog.Logger) *Replica {
	_, unit := n.UnitStatus(time.Time{})
	return &Replica{
		unit: unit, silent: unit,
		node: n, member: m, policy: &livePolicy{p}, addresses: a, log: log,
		last:    make(map[ipsec.TunnelID]ha.Index),
		standby: make(map[ipsec.TunnelID]*standbyTunnel),
		bySPI:   make(map[ipsec.IKESPI]ipsec.TunnelID),
		bySA:    make(map[ipsec.SAID]ipsec.TunnelID),
		waiting: make(map[ipsec.TunnelID][]ike.Datagram),

		counters:  make(map[ipsec.SAID]offload.Counters),
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
		if _, stands := r.bySA[c.ID]; stands {
			shown := c
			shown.Sequence.Bitmap = nil // of 256 octets and more, and nobody looks at them
			r.counters[c.ID] = shown
		}
		if c.Role != offload.Active {
			continue
		}
		in.SAs = append(in.SAs, ha.Counted{ID: c.ID, Sequence: c.Sequence})
	}
	r.step(now, in)
}

// onOrder follows what the machine does to the dataplane: routes come and go with
// the SAs that stand by, and shards hear of higher ceilings.
func (r *Replica) onOrder(o ha.Order) {
	switch o.Kind {
	case ha.Install:
		for _, desc := range o.SAs {
			r.stand(desc)
		}
	case ha.Discard:
		for _, id := range o.IDs {
			r.unstand(id)
		}
	case ha.Update:
		for _, c := range o.Changes {
			if c.Sequence != nil && c.Sequence.Ceiling != 0 && r.standby[r.bySA[c.ID]] == nil {
				if id, ok := r.node.TunnelOf(c.ID); ok {
					r.toShard(id, Raised{SA: c.ID, Ceiling: c.Sequence.Ceiling})
				}
			}
		}
	case ha.Arm, ha.Disarm, ha.Promote: // of no SA in particular
	}
}

// stand notes an SA of another member. Traffic for its networks is to reach the
// dataplane here too, so that the first packet after a failover finds it.
func (r *Replica) stand(desc ipsec.SA) {
	t := r.standby[desc.Tunnel]
	if t == nil {
		if t = r.learn(desc.Tunnel); t == nil {
			return
		}
	}
	r.bySA[desc.ID] = desc.Tunnel
	if t.sas[desc.ID] != nil {
		return
	}
	t.sas[desc.ID] = []Route{}
	conn := r.policy.Connection(t.class)
	if conn == nil || !conn.AddRoute {
		return
	}
	for _, p := range routePrefixes(desc) {
		t.sas[desc.ID] = append(t.sas[desc.ID], Route{
			Prefix: p, Peer: desc.Remote, Tunnel: desc.Tunnel, Name: t.facts.Name, Metric: conn.Priority, Standby: true,
		})
	}
	r.rd.AddRoutes = append(r.rd.AddRoutes, t.sas[desc.ID]...)
}

// learn reads the facts of a tunnel that stands by, nil when there is none: what
// it is called, and by which SPIs its messages are known, which change with every
// rekeying of the IKE SA.
func (r *Replica) learn(id ipsec.TunnelID) *standbyTunnel {
	m, ok := r.node.IKE(id)
	if owner, _ := r.node.Owner(id); !ok || owner == r.member {
		return nil
	}
	t := r.standby[id]
	if t == nil {
		t = &standbyTunnel{sas: make(map[ipsec.SAID][]Route)}
		r.standby[id] = t
	}
	var f facts
	if err := json.Unmarshal(m.Facts, &f); err != nil {
		r.log.Error("facts of a tunnel were not understood", "tunnel", id.String(), "error", err)
		return t
	}
	for _, spi := range t.facts.SPIs {
		delete(r.bySPI, spi)
	}
	t.facts, t.class = f, m.Class
	for _, spi := range f.SPIs {
		r.bySPI[spi] = id
	}
	if r.addresses != nil && f.Address.IsValid() {
		r.addresses.Hold(id, f.Address)
	}
	return t
}

// unstand forgets an SA of another member.
func (r *Replica) unstand(id ipsec.SAID) {
	t := r.standby[r.bySA[id]]
	if t == nil {
		return
	}
	delete(r.bySA, id)
	delete(r.counters, id)
	r.rd.DelRoutes = append(r.rd.DelRoutes, t.withdraw(id)...)
}

// withdraw returns the routes that only this SA needs.
func (t *standbyTunnel) withdraw(id ipsec.SAID) []Route {
	var out []Route
	mine := t.sas[id]
	delete(t.sas, id)
	for _, route := range mine {
		if !t.needs(route.Prefix) {
			out = append(out, route)
		}
	}
	return out
}

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

// routes are those of all SAs.
func (t *standbyTunnel) routes() []Route {
	var out []Route
	for _, routes := range t.sas {
		out = append(out, routes...)
	}
	return out
}

// needs tells whether an SA needs a route to p.
func (t *standbyTunnel) needs(p netip.Prefix) bool {
	for _, routes := range t.sas {
		for _, r := range routes {
			if r.Prefix == p {
				return true
			}
		}
	}
	return false
}

// drop forgets a tunnel that stood by, with its routes.
func (r *Replica) drop(id ipsec.TunnelID) {
	t := r.standby[id]
	if t == nil {
		return
	}
	for said := range t.sas {
		r.rd.DelRoutes = append(r.rd.DelRoutes, t.withdraw(said)...)
		delete(r.bySA, said)
		delete(r.counters, said)
	}
	r.forgetStandby(id, t)
	if r.addresses != nil && t.facts.Address.IsValid() {
		r.addresses.Release(id)
	}
}

func (r *Replica) forgetStandby(id ipsec.TunnelID, t *standbyTunnel) {
	for _, spi := range t.facts.SPIs {
		if r.bySPI[spi] == id {
			delete(r.bySPI, spi)
		}
	}
	for said := range t.sas {
		delete(r.bySA, said)
		delete(r.counters, said)
	}
	delete(r.standby, id)
	delete(r.waiting, id)
}

// onRestored gives a tunnel to its shard. Its routes are the shard's now; the
// claims in the kernel are the same, so nothing changes there. What the shard
// wants of the dataplane must not overtake the orders that made the tunnel ours.
func (r *Replica) onRestored(restored ha.Restored) {
	waiting := r.waiting[restored.Tunnel]
	in := Restore{Tunnel: restored}
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
	r.held = slices.DeleteFunc(r.held, func(h heldMessages) bool { return h.tunnel == id })
	delete(r.last, id)
}

// onAnswer keeps the last answer of a tunnel that another member has ended.
func (r *Replica) onAnswer(now time.Time, b []byte) {
	f, err := ike.ParseFarewell(b)
	if err != nil {
		r.log.Error("last answer of another member was not understood", "error", err)
		return
	}
	r.departed.Keep(now, f)
}

// onGone forgets a tunnel that another member has ended. The peer may be asking
// for just that, because it got no answer.
func (r *Replica) onGone(now time.Time, id ipsec.TunnelID) {
	waiting := r.waiting[id]
	r.drop(id)
	r.hush(id)
	routes, _ := r.recall(id)
	r.onLeft(id, Left{Routes: routes})
	r.toShard(id, Lose{Tunnel: id, Gone: true})
	for _, dg := range waiting {
		r.answerAgain(now, dg)
	}
}

// answerAgain repeats the last answer of another member's tunnel to a request
// that comes again, and tells whether it did.
func (r *Replica) answerAgain(now time.Time, dg ike.Datagram) bool {
	again := r.departed.Repeat(now, dg)
	if again == nil {
		return false
	}
	r.stats.Repeated++
	r.rd.Send = append(r.rd.Send, again...)
	return true
}

// onStrange finds the member that a message is for. While its owner lives it goes
// there; without one, it makes the tunnel ours where we stand by for it.
func (r *Replica) onStrange(now time.Time, in Strange) {
	id, known := r.bySPI[in.SPI]
	if !known && in.Other != 0 {
		id, known = r.bySPI[in.Other]
	}
	if in.Relayed {
		r.stats.RelayedBy++
	}
	if r.answerAgain(now, in.Datagram) {
		return
	}
	if !known {
		r.onUnknown(in)
		return
	}
	status, ok := r.node.Tunnel(id)
	switch {
	case !ok:
		r.stats.NoOwner++
	case status.Owned || status.Orphan:
		// On its way to our shard, or ours for the asking.
		if w := r.waiting[id]; len(w) < maxWaiting {
			r.waiting[id] = append(w, in.Datagram)
		}
		r.step(now, ha.Stray{Tunnel: id})
	case !in.Relayed:
		r.relay(status.Owner, in.Datagram)
	default:
		r.stats.NoOwner++
	}
}

// onUnknown is for messages of tunnels that we know nothing of: a handshake under
// way, or one that we may not know. The member that made the SPI may.
func (r *Replica) onUnknown(in Strange) {
	if in.Relayed {
		r.stats.NoOwner++
		return
	}
	to := []ipsec.MemberID{in.SPI.Member()}
	if other := in.Other.Member(); in.Other != 0 && other != to[0] {
		to = append(to, other)
	}
	to = slices.DeleteFunc(to, func(m ipsec.MemberID) bool { return m == r.member })
	if len(to) == 0 {
		r.stats.NoOwner++
	}
	for _, m := range to {
		r.relay(m, in.Datagram)
	}
}

func (r *Replica) relay(to ipsec.MemberID, dg ike.Datagram) {
	r.stats.RelayedTo++
	r.rd.Relay = append(r.rd.Relay, Relay{To: to, Datagram: dg})
}

// Stats returns the counters.
func (r *Replica) Stats() ReplicaStats {
	s := r.stats
	s.HA = r.node.Stats()
	return s
}
