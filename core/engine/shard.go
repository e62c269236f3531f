package engine

import (
	"cmp"
	"log/slog"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
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

	totals    totals
	takeovers takeovers
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

		takeovers: takeovers{counts: make(map[ipsec.TunnelID]uint32)},
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
			s.takeovers.end(now, in.Tunnel)
			if s.addresses != nil {
				s.addresses.Release(in.Tunnel)
			}
		}
	case Raised:
		s.onRaised(in)
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
