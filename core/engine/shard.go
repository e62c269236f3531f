package engine

import (
	"cmp"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1"
	"github.com/evergate/evergate/offload"
)

// Shard owns a part of the tunnels. It is not safe for concurrent use: one
// goroutine steps it.
type Shard struct {
	index, count int
	member       ipsec.MemberID
	epoch        offload.Epoch
	log          *slog.Logger
	names        Names
	addresses    *AddressTable

	policy   *livePolicy
	machines machines
	stats    *Stats

	tunnels map[ipsec.TunnelID]*tunnel
	byPeer  map[peerKey][]*tunnel // those whose IKE SA is up
	bySA    map[ipsec.SAID]*tunnel
	inbound map[ipsec.SPI]bool // in use
	timers  timers
	waiting map[OpID]*tunnel
	dial    map[string]*dialing
	lastOp  OpID

	totals totals
	// takeovers are how often each tunnel came to us in this process.
	takeovers map[ipsec.TunnelID]uint32
	// probes are when the peers of tunnels that were taken over are asked.
	probes pace
	// overflows are pairs that wait for their rekeying, in order.
	overflows []overflow
	rekeys    pace
	// replicated: other members stand by.
	replicated bool
	// journaled: the next life goes on with our tunnels.
	journaled bool
	// unit: we are a member of one; resting: and not its primary.
	unit, resting bool
	lease         uint64 // how many sequence numbers an SA gets at a time
	leaseSize     uint64 // how many those are of a dataplane that stops at ceilings
	env           ike.Env

	rd Ready
}

// Names hands out the numbers of dialup instances. It is shared by the shards
// and safe for concurrent use.
type Names interface {
	// Take returns the lowest free index of a connection and a serial number
	// that no other tunnel of this process has had.
	Take(connection string) (index int, serial uint64)
	// Adopt notes an index that another member has given, and returns a serial
	// number as Take does.
	Adopt(connection string, index int) (serial uint64)
	// Up tells whether an index of a connection is in use.
	Up(connection string) bool
	// Release frees an index.
	Release(connection string, index int)
}

// ShardOptions are what a Shard is made of.
type ShardOptions struct {
	Index, Count int
	Member       ipsec.MemberID
	Epoch        offload.Epoch
	Policy       *Policy
	Names        Names
	// Addresses are those of IKEv1's peers, shared by the shards; nil for none.
	Addresses *AddressTable
	Limits    ike.Limits
	Env       ike.Env // Stats, Log and AcceptSPI are filled in
	Log       *slog.Logger
	// Replicated: other members stand by for the tunnels of connections that
	// say so (Connection.Sync).
	Replicated bool
	// Journaled: what is published goes to a Journal. Not for Replicated ones.
	Journaled bool
	// Unit: this member is part of a unit, and rests until it is told otherwise.
	Unit bool
	// Lease is how many sequence numbers an SA gets at a time, ha.Config.Lease in a
	// group; 0 means ipsec.LeaseSize.
	Lease uint64
}

// NewShard makes an empty shard.
func NewShard(o ShardOptions) *Shard {
	s := &Shard{
		index: o.Index, count: o.Count, member: o.Member, epoch: o.Epoch,
		log: o.Log, names: o.Names, addresses: o.Addresses, policy: &livePolicy{o.Policy},
		stats:   &Stats{},
		tunnels: make(map[ipsec.TunnelID]*tunnel),
		byPeer:  make(map[peerKey][]*tunnel),
		bySA:    make(map[ipsec.SAID]*tunnel),
		inbound: make(map[ipsec.SPI]bool),
		waiting: make(map[OpID]*tunnel),
		dial:    make(map[string]*dialing),
		totals:  newTotals(),

		takeovers: make(map[ipsec.TunnelID]uint32),
		probes:    pace{every: time.Duration(o.Count) * time.Second / probesPerSecond},
		rekeys:    pace{every: time.Duration(o.Count) * time.Second / rekeysPerSecond},
	}
	env := o.Env
	env.Member, env.Log, env.Stats = o.Member, o.Log, &s.stats.IKE
	env.AcceptSPI = func(spi ipsec.IKESPI) bool { return ShardOf(uint64(spi), s.count) == s.index }
	env.AcceptChildSPI = s.acceptChildSPI
	env.Group = o.Replicated
	env.Takeovers = s.countTakeover
	s.env, s.replicated, s.journaled = env, o.Replicated, o.Journaled && !o.Replicated
	s.unit, s.resting = o.Unit, o.Unit
	s.leaseSize = cmp.Or(o.Lease, ipsec.LeaseSize)
	s.lease = s.leaseSize
	var pool v1.Addresses
	if o.Addresses != nil {
		pool = o.Addresses
	}
	s.machines = machines{v1: v1.NewDemux(env, s.policy, o.Limits, pool), v2: ike.NewDemux(env, s.policy, o.Limits)}
	return s
}

// ShardOf tells which of n shards owns a tunnel or a local IKE SPI. The top
// bits are the member's and say nothing.
func ShardOf(spi uint64, n int) int {
	return int(spi & 0x0fff_ffff_ffff_ffff % uint64(n))
}

// acceptChildSPI keeps inbound SPIs unique among all shards of this member: each
// has its own residue class.
func (s *Shard) acceptChildSPI(spi ipsec.SPI) bool {
	return int(spi&0x0fff_ffff)%s.count == s.index && !s.inbound[spi]
}

// Input is what may happen to a Shard.
type Input interface{ input() }

type (
	// Packets are IKE messages for this shard.
	Packets struct {
		Datagrams []ike.Datagram
		// Relayed: they came to another member.
		Relayed bool
		// Again: another shard had them before, and does not know them.
		Again bool
	}

	// Restore brings a tunnel to life that is ours now, Lose forgets one that is
	// not any more.
	Restore struct {
		Tunnel ha.Restored
		// Age is that of the IKE SA's state.
		Age time.Duration
		// Routes are those that it had here as a standby.
		Routes []Route
	}

	// Lose is above.
	Lose struct {
		Tunnel ipsec.TunnelID
		// Gone: it has ended, and nobody owns it.
		Gone bool
	}

	// Raised is a lease that the other members agreed to.
	Raised struct {
		SA      ipsec.SAID
		Ceiling uint64
	}

	// Ceilings says whether the dataplane stops at the ceilings of leases. For one that
	// does not, an SA has all of its numbers for its lease.
	Ceilings struct{ Unbounded bool }

	// Worn asks for new keys for a pair that cannot go on as it is.
	Worn struct{ Rekey ha.Rekey }

	// Timeout says that NextTimeout has come.
	Timeout struct{}

	// PlaneDone answers the operations of a Ready, one result each.
	PlaneDone struct{ Results []Result }

	// PlaneEvent is what the dataplane noticed. Every shard gets it; those that
	// do not own the SA pass over it.
	PlaneEvent struct{ Event offload.Event }

	// Checkpoint brings counters of this shard's tunnels, some of all at a time.
	Checkpoint struct{ Counters []offload.Counters }

	// Inventory is a Checkpoint that is complete: what is not in it is not in
	// the dataplane. It follows a Reset or an Overrun.
	Inventory struct{ Counters []offload.Counters }

	// Reload replaces the policy. Tunnels whose connection is gone or has
	// another hash are closed; the others stay.
	Reload struct{ Policy *Policy }

	// Up initiates a connection by name. The shards that have nothing of that
	// name pass over it, here and below; Ready.Matched counts what there was.
	Up struct{ Name string }

	// Down closes a tunnel, or all tunnels of a connection, by name.
	Down struct{ Name string }

	// Rekey makes new keys for a tunnel, or for all tunnels of a connection: for
	// its IKE SA, or for all its children.
	Rekey struct {
		Name string
		IKE  bool
	}

	// Drain closes all tunnels, telling the peers. With Keep those that other
	// members go on with are only forgotten.
	Drain struct{ Keep bool }

	// Supersede ends the tunnels of a connection with a peer that has made a
	// new one, Except.
	Supersede struct {
		Connection string
		Remote     ike.Identity
		Except     ipsec.TunnelID
	}
)

func (Packets) input()    {}
func (Restore) input()    {}
func (Lose) input()       {}
func (Raised) input()     {}
func (Ceilings) input()   {}
func (Worn) input()       {}
func (Timeout) input()    {}
func (PlaneDone) input()  {}
func (PlaneEvent) input() {}
func (Checkpoint) input() {}
func (Inventory) input()  {}
func (Reload) input()     {}
func (Up) input()         {}
func (Down) input()       {}
func (Rekey) input()      {}
func (Drain) input()      {}
func (Supersede) input()  {}

// OpID names an operation of a shard on the dataplane.
type OpID uint64

// Op is one operation on the dataplane. Operations are carried out in order;
// neighbours of one kind may share a call.
type Op struct {
	ID      OpID
	Install []ipsec.SA
	Update  []offload.Change
	Delete  []ipsec.SAID
}

// Result answers an Op. Err is set when the call itself failed: then nothing is
// known of the single SAs.
type Result struct {
	ID         OpID
	Placements []offload.Placement
	Counters   []offload.Counters
	Err        error
}

// Route is a network behind a peer.
type Route struct {
	Prefix netip.Prefix
	// Peer is the outer address, which must not itself be routed into the
	// tunnel.
	Peer   netip.Addr
	Tunnel ipsec.TunnelID
	Name   string // of the tunnel
	Metric int
	// Standby: another member owns the tunnel.
	Standby bool
}

// Ready is what one step asks for, in the order in which it must be done.
type Ready struct {
	AddRoutes []Route
	Send      []ike.Datagram
	DelRoutes []Route
	// YieldRoutes are of tunnels that belong to other members now. They stay, as
	// far as they are there.
	YieldRoutes []Route
	Plane       []Op
	// Publish goes to the other members; what it holds back for the peers is sent
	// when they have it.
	Publish []Publication
	// Foreign are messages for IKE SAs of other members.
	Foreign []Strange
	// Misplaced are messages for tunnels that may be another shard's.
	Misplaced []Misplaced
	// Supersede goes to all shards, this one included.
	Supersede []Supersede
	// Matched is how many tunnels or connections an Up, Down or Rekey meant.
	Matched int
}

// Step takes one input. The Ready belongs to the caller.
func (s *Shard) Step(now time.Time, in Input) Ready {
	s.rd = Ready{}
	switch in := in.(type) {
	case Packets:
		s.onPackets(now, in)
	case Restore:
		s.onRestore(now, in)
		s.dropRoutes(in.Tunnel.Tunnel, in.Routes)
	case Lose:
		s.onLose(in.Tunnel)
		if in.Gone {
			delete(s.takeovers, in.Tunnel)
			if s.addresses != nil {
				s.addresses.Release(in.Tunnel)
			}
		}
	case Raised:
		s.onRaised(in.SA, in.Ceiling)
	case Ceilings:
		s.lease = s.leaseSize
		if in.Unbounded {
			s.lease = 1<<64 - 1
		}
	case Worn:
		if t := s.tunnels[in.Rekey.Tunnel]; t != nil && !s.overflowing(t) {
			s.step(now, t, ike.RekeyChild{ID: in.Rekey.Child})
		}
	case Timeout:
		s.onTimeout(now)
	case PlaneDone:
		s.onPlaneDone(now, in.Results)
	case PlaneEvent:
		s.onEvent(now, in.Event)
	case Checkpoint:
		s.onCheckpoint(now, in.Counters)
	case Inventory:
		s.reconcile(now, in.Counters)
	case Reload:
		s.onReload(now, in.Policy)
	case Up:
		s.onUp(now, in.Name)
	case Down:
		s.onDown(now, in.Name)
	case Rekey:
		s.onRekey(now, in)
	case Drain:
		s.onDrain(now, in.Keep)
	case Supersede:
		s.onSupersede(now, in)
	case Rest:
		s.onRest(now, in.On)
	}
	s.wake(now)
	s.hush()
	return s.rd
}

// NextTimeout is when a Timeout is due, zero for never.
func (s *Shard) NextTimeout() time.Time {
	var at time.Time
	if len(s.timers) > 0 {
		at = s.timers[0].at
	}
	if len(s.overflows) > 0 && (at.IsZero() || s.overflows[0].at.Before(at)) {
		at = s.overflows[0].at
	}
	for _, d := range s.dial {
		if !s.resting && !d.at.IsZero() && (at.IsZero() || d.at.Before(at)) {
			at = d.at
		}
	}
	return at
}

func (s *Shard) onPackets(now time.Time, in Packets) {
	for _, dg := range s.awake(in.Datagrams) {
		if s.speaksV1(dg) {
			s.onV1(now, dg, in)
			continue
		}
		r := s.machines.v2.Route(now, dg)
		s.rd.Send = append(s.rd.Send, r.Reply...)
		if r.SPI != 0 && s.replicated {
			s.rd.Foreign = append(s.rd.Foreign, Strange{Datagram: dg, SPI: r.SPI, Relayed: in.Relayed})
		}
		if r.Tunnel == nil {
			continue
		}
		s.step(now, s.own(r.Tunnel), ike.Received{Datagram: dg})
	}
}

// own returns the engine's side of t, making it when t is new.
func (s *Shard) own(t machine) *tunnel {
	if e := s.tunnels[t.ID()]; e != nil {
		return e
	}
	e := &tunnel{ike: t}
	e.timer = timer{index: -1, of: e}
	if c := t.Connection(); c != nil {
		e.conn = s.policy.Connection(c.Name)
	}
	s.tunnels[t.ID()] = e
	return e
}

func (s *Shard) onTimeout(now time.Time) {
	for t := s.timers.due(now); t != nil; t = s.timers.due(now) {
		s.step(now, t.of, ike.Timeout{})
	}
	s.overflow(now)
	s.redial(now)
}

func (s *Shard) onEvent(now time.Time, ev offload.Event) {
	switch ev := ev.(type) {
	case offload.LeaseLow:
		// Of replicated ones the other members must agree; see Replica.
		switch t := s.bySA[ev.ID]; {
		case t == nil:
		case s.overflowing(t):
			s.onOverflow(now, t, ev.ID)
		case !s.replicates(t):
			s.raiseLease(now, t, ev)
		}
	case offload.Expired:
		if t := s.bySA[ev.ID]; t != nil {
			s.step(now, t, ike.Expired{ID: ev.ID, Hard: ev.Hard})
		}
	case offload.PeerMoved:
		if t := s.bySA[ev.ID]; t != nil {
			s.step(now, t, ike.PeerMoved{Remote: ev.Remote})
		}
	case offload.MTUChanged:
		if t := s.bySA[ev.ID]; t != nil {
			t.sa(ev.ID).desc.PathMTU = ev.MTU
		}
	case offload.Placed:
		if t := s.bySA[ev.Placement.ID]; t != nil {
			t.sa(ev.Placement.ID).count.place(ev.Placement)
		}
	case offload.Acquire:
		s.onAcquire(now, ev)
	}
}

func (s *Shard) onReload(now time.Time, p *Policy) {
	old := s.policy.Policy
	s.policy.Policy = p
	for _, t := range s.each() {
		if t.conn == nil {
			continue
		}
		c := p.Connection(t.conn.Name)
		if c == nil || c.Hash != t.conn.Hash {
			s.step(now, t, ike.Close{Reason: "its configuration changed"})
		}
	}
	for name := range s.dial {
		c := p.Connection(name)
		if c == nil || c.Hash != old.Connection(name).Hash {
			delete(s.dial, name)
		}
	}
	s.dialAll(now)
}

func (s *Shard) onDown(now time.Time, name string) {
	for _, t := range s.each() {
		if t.name == name || t.conn != nil && t.conn.Name == name {
			s.rd.Matched++
			s.step(now, t, ike.Close{Reason: "taken down by the operator"})
		}
	}
	if d := s.dial[name]; d != nil {
		s.rd.Matched++
		d.down = true
		d.at = time.Time{}
	}
}

func (s *Shard) onRekey(now time.Time, in Rekey) {
	for _, t := range s.each() {
		if t.name == "" || t.name != in.Name && t.conn.Name != in.Name {
			continue
		}
		s.rd.Matched++
		if in.IKE {
			s.step(now, t, ike.RekeyIKE{})
			continue
		}
		for _, c := range t.ike.Status(now).Children {
			s.step(now, t, ike.RekeyChild{ID: c.In})
		}
	}
}

func (s *Shard) onDrain(now time.Time, keep bool) {
	clear(s.dial)
	for _, t := range s.each() {
		if keep && s.replicates(t) {
			s.onLose(t.ike.ID())
			continue
		}
		s.step(now, t, ike.Close{Reason: "the gateway stops"})
	}
}

func (s *Shard) onSupersede(now time.Time, in Supersede) {
	for _, t := range slices.Clone(s.byPeer[peerKey{in.Connection, in.Remote}]) {
		if t.ike.ID() != in.Except {
			s.step(now, t, ike.Superseded{Reason: "the peer made a new tunnel"})
		}
	}
}

// each returns the tunnels in a fixed order, so that a run repeats.
func (s *Shard) each() []*tunnel {
	return sortedTunnels(s.tunnels)
}
