package sim

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ha/hatest/play"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
)

// member is one machine of the cluster.
type member struct {
	*gateway
	id   ipsec.MemberID
	disk disk

	node    *ha.Node
	replica *engine.Replica
	inbox   *actor // of the replica
	orders  *actor
	timer   alarm
	current offload.Epoch
	fit     bool
	leaving bool
	// handing: it was primary of its unit, and the next one takes over. rivalry is since
	// when another one is primary, too.
	handing bool
	rivalry time.Time
	// unprotected: what it sends in this step not all have who should. exposed is when
	// that was so last.
	unprotected bool
	exposed     time.Time
	thawed      time.Time // when it last went on after it had hung
	// routes are who needs a route, and whether as the tunnel's owner.
	routes map[netip.Prefix]map[ipsec.TunnelID]bool

	memory memory
	// before is the memory of the life before, which ended at died.
	before memory
	died   time.Time
}

// disk is what a machine still knows after a crash.
type disk struct {
	hard ha.HardState
	boot uint32
	// journal are the tunnels that it owned, where members keep one.
	journal map[ipsec.TunnelID]*kept
}

// nextBoot is as state.Dir has it: a new disk begins anywhere.
func (m *member) nextBoot() uint32 {
	if m.disk.boot == 0 {
		m.disk.boot = m.c.rnd.Uint32N(1 << 15)
	}
	m.disk.boot++
	return m.disk.boot
}

func newMember(c *Cluster, id ipsec.MemberID) *member {
	name := fmt.Sprintf("member %d", id)
	m := &member{id: id}
	m.gateway = &gateway{c: c, name: name, daemon: &process{c: c, name: name}, host: m}
	m.plane = newPlane(c, name, m.now, kind{})
	m.skew = c.upTo(time.Hour)
	return m
}

// start begins a life of the machine: a new dataplane, unless that of the last life
// goes on, and a daemon that knows what is on the disk. A new disk is empty.
func (m *member) start(withDisk bool) {
	if !withDisk {
		m.disk = disk{}
		m.plane.stop()
	}
	c := m.c
	c.tracef(m.name, "starts, with its disk: %v", withDisk)
	m.fit, m.handing, m.leaving, m.routes, m.memory = false, false, false, make(map[netip.Prefix]map[ipsec.TunnelID]bool), newMemory()
	policy := engine.NewPolicy(m.c.serverConnection())
	boot := m.nextBoot()
	outlived := ha.Plane{Up: true, Left: m.left()}
	if outlived.Bare = outlived.Left == nil; outlived.Bare {
		m.plane = newPlane(c, m.name, m.now, c.drawKind())
		m.plane.member = m
		m.plane.start(m.id, m.nextBoot(), gatewayAddr())
	}
	addresses := engine.NewMemberAddressTable(m.id)
	node, err := ha.New(m.config(), m.disk.hard)
	if err != nil {
		c.breach("%s does not start: %v", m.name, err)
		return
	}
	m.node, m.replica = node, engine.NewReplica(node, m.id, policy, addresses, slog.New(slog.DiscardHandler))
	names := engine.NewMemberNameTable(m.id)
	env := ike.Env{Rand: rand.NewChaCha8(c.seed()), Boot: boot}
	var machines []*engine.Shard
	for i := range c.shards {
		machines = append(machines, engine.NewShard(engine.ShardOptions{
			Index: i, Count: c.shards, Member: m.id, Policy: policy, Names: names, Addresses: addresses, Replicated: true, Unit: c.cfg.Units > 0,
			Env: env, Lease: c.lease, Log: slog.New(slog.DiscardHandler),
		}))
	}
	m.begin(machines...)
	m.inbox, m.orders = m.daemon.actor(), m.daemon.actor()
	m.timer = alarm{do: func() { m.tell(engine.Node{Input: ha.Timeout{}}) }}
	m.all(m.plane.ceilings)
	m.tell(engine.Node{Input: m.plane.keeps})
	m.tell(engine.Node{Input: outlived})
	m.remind()
	m.tell(engine.Reconfigured{Policy: policy})
	m.all(engine.Reload{Policy: policy})
}

// config is that of the replication machine. Things that are rare in a day come
// often in a run.
func (m *member) config() ha.Config {
	cfg := ha.Config{
		Group: 1, Member: m.id, Members: m.c.all, NewDisk: ha.DiskID(m.c.rnd.Uint64() | 1), Journal: m.c.sealed,
		Heartbeat: 100 * time.Millisecond, MinAcks: m.c.minAcks, AckTimeout: 200 * time.Millisecond,
		JoinTimeout: time.Second, AdoptAfter: time.Second, AntiEntropy: 2 * time.Second,
		CountersEvery: 500 * time.Millisecond, Lease: m.c.lease, Nonces: m.c.nonces(), Unit: play.Unit(m.id, m.c.cfg.Units, m.c.cfg.Override),
	}
	if m.c.cfg.Fault == NoTombstones {
		cfg.TombstoneLife = 1
	}
	return cfg
}

// seed draws the randomness of one life.
func (c *Cluster) seed() (s [32]byte) {
	for i := range s {
		s[i] = byte(c.rnd.Uint32())
	}
	return s
}

// tell hands an input to the replica.
func (m *member) tell(in engine.ReplicaInput) { m.inbox.push(func() { m.stepReplica(in) }) }

// hear takes a frame from another member.
func (m *member) hear(f ha.Frame) {
	if m.daemon.up {
		m.inbox.offer(func() { m.stepReplica(engine.Node{Input: ha.Received{Frame: f}}) })
	}
}

// carryOut implements host.
func (m *member) carryOut(_ *shard, rd engine.Ready) {
	m.addRoutes(rd.AddRoutes)
	m.send(rd.Send)
	for _, p := range rd.Publish {
		m.c.ledger.promised(m, p)
		if m.c.cfg.Fault == NoCommit {
			m.checkPromises(p.Send, false)
			m.send(p.Send)
			p.Send = nil
		}
		m.tell(engine.Published{Publication: p})
	}
	for _, s := range rd.Foreign {
		m.tell(s)
	}
	m.delRoutes(rd.DelRoutes)
	for _, r := range rd.YieldRoutes {
		if _, there := m.routes[r.Prefix][r.Tunnel]; there {
			m.routes[r.Prefix][r.Tunnel] = false
		}
	}
}

// stepReplica steps the replica and carries out what it asks for, in order.
func (m *member) stepReplica(in engine.ReplicaInput) {
	unprotected := m.node.Stats().Unprotected
	held := m.holds(in)
	rd := m.replica.Step(m.now(), in)
	m.remember(in, held)
	if m.c.traces() {
		m.traceReplica(in, rd)
	}
	if rd.Hard != nil {
		m.write(*rd.Hard)
	}
	m.jot(rd.Journal)
	m.current = rd.Epoch
	m.checkStep(rd)
	if len(rd.Orders) > 0 {
		calls, serial := engine.PlaneCalls(rd.Orders), rd.Serial
		m.orders.push(func() { m.order(calls, serial, nil) })
	}
	m.addRoutes(rd.AddRoutes)
	for _, f := range rd.Frames {
		m.c.frame(f)
	}
	if m.unprotected = m.node.Stats().Unprotected != unprotected; m.unprotected {
		m.exposed = m.c.clock.Now()
	}
	m.checkPromises(rd.Send, m.unprotected)
	m.checkSpeaks(rd.Send)
	m.send(rd.Send)
	for _, r := range rd.Relay {
		to := m.c.members[r.To]
		m.c.between(m.id, r.To, func() { to.gateway.receive(r.Datagram, true) })
	}
	if rd.Health != nil && m.c.cfg.Units > 0 {
		m.all(engine.Rest{On: !rd.Health.Fit})
	}
	for _, s := range rd.Shards {
		m.give(m.shardOf(s.Tunnel), s.Input)
	}
	if rd.Inventoried {
		m.deal(rd.Inventory, func(c []offload.Counters) engine.Input { return engine.Inventory{Counters: c} })
	}
	m.delRoutes(rd.DelRoutes)
	if rd.Health != nil {
		m.fit, m.handing = rd.Health.Fit, rd.Health.Handing
		m.c.router.changed(m, m.routable())
	}
	m.daemon.set(&m.timer, m.virtual(m.replica.NextTimeout()))
}

// write is the disk, with its faults.
func (m *member) write(hard ha.HardState) {
	if m.c.cfg.Fault == NoPersist {
		hard.Count, hard.Armed = 0, 0
	}
	m.disk.hard = hard
}

// order makes the calls of one Ready, each when the one before is done. One that
// gets no answer is repeated.
func (m *member) order(calls []engine.PlaneCall, serial uint64, refused []ipsec.SAID) {
	for i, call := range calls {
		wait := time.Duration(0)
		switch {
		case !m.plane.works():
			wait = patience
		case i > 0:
			wait = m.c.haste() // things happen between two calls
		}
		if wait > 0 {
			m.orders.again(wait, func() { m.order(calls[i:], serial, refused) })
			return
		}
		r, err := call.Make(context.Background(), m.plane.bound, m.current)
		if err != nil {
			m.c.breach("%s: the dataplane refuses an order: %v", m.name, err)
		}
		refused = append(refused, r...)
	}
	m.pump()
	m.tell(engine.Node{Input: ha.Carried{Serial: serial, Refused: refused}})
}

// send carries IKE messages to clients.
func (m *member) send(dgs []ike.Datagram) {
	for _, dg := range dgs {
		if !dg.Keepalive {
			m.c.ledger.sealed(m.c, m.name, dg.Payload)
			m.c.ledger.chained(m, dg.Payload)
			m.c.outside(func() { m.c.deliver(dg) })
		}
	}
}

// noticed implements host.
func (m *member) noticed(ev offload.Event) { m.tell(engine.Noticed{Event: ev}) }

// takeStock implements host.
func (m *member) takeStock(all []offload.Counters) { m.tell(engine.Inventoried{Counters: all}) }

// counted implements host.
func (m *member) counted(all []offload.Counters) {
	m.tell(engine.Counted{Counters: all})
	m.checkQueues()
	m.checkReign()
}

// epoch implements host.
func (m *member) epoch() offload.Epoch { return m.current }

func (m *member) addRoutes(routes []engine.Route) {
	for _, r := range routes {
		if m.routes[r.Prefix] == nil {
			m.routes[r.Prefix] = make(map[ipsec.TunnelID]bool)
		}
		m.routes[r.Prefix][r.Tunnel] = m.routes[r.Prefix][r.Tunnel] || !r.Standby
	}
}

func (m *member) delRoutes(routes []engine.Route) {
	for _, r := range routes {
		delete(m.routes[r.Prefix], r.Tunnel)
		if len(m.routes[r.Prefix]) == 0 {
			delete(m.routes, r.Prefix)
		}
	}
}

// owns tells whether m announces a network as its owner.
func (m *member) owns(p netip.Prefix) bool {
	return slices.Contains(slices.Collect(maps.Values(m.routes[p])), true)
}

// routable tells whether the network may route to m: it sees a death, and what
// members say of themselves, but not that one stands still. A primary that steps back
// keeps its unit's addresses until the next one has them.
func (m *member) routable() bool { return m.daemon.up && (m.fit || m.handing) && !m.leaving }

// crash ends the machine. Its disk stays.
func (m *member) crash() {
	if m.daemon.up {
		m.c.tracef(m.name, "crashes")
		m.c.sum.Crashes++
		m.die()
	}
	m.plane.stop()
}

// die ends the daemon.
func (m *member) die() {
	m.addStats(&m.c.sum)
	m.before, m.died = m.memory, m.c.clock.Now()
	for id := range m.plane.had {
		m.before.sas[id] = true
	}
	m.daemon.stop()
	m.c.router.changed(m, false)
}

// freeze stops the daemon, the dataplane, or both, until thaw.
func (m *member) freeze(daemon, dataplane bool) {
	m.c.tracef(m.name, "freezes: daemon %v, dataplane %v", daemon, dataplane)
	m.c.sum.Freezes++
	m.daemon.frozen, m.plane.frozen = daemon, dataplane
}

func (m *member) thaw() {
	if m.daemon.up && (m.daemon.frozen || m.plane.frozen) {
		m.c.tracef(m.name, "thaws")
		m.thawed = m.c.clock.Now()
		m.plane.frozen = false
		m.daemon.thaw()
		m.pump()
	}
}

// losePlane ends the dataplane's process. Another one starts after a while.
func (m *member) losePlane(pause time.Duration) {
	if !m.daemon.up || m.plane.down {
		return
	}
	m.c.tracef(m.name, "loses its dataplane")
	m.c.sum.Resets++
	m.plane.stop()
	m.tell(engine.Node{Input: ha.Plane{Up: false}})
	life := m.daemon.life
	m.c.clock.After(pause, func() {
		if m.daemon.life == life && m.daemon.up && m.plane.down {
			m.c.tracef(m.name, "has a new dataplane")
			m.plane.start(m.id, m.nextBoot(), gatewayAddr())
			m.events.push(func() { m.onEvent(offload.Reset{}) })
		}
	})
}

func (m *member) addStats(s *Sum) {
	if !m.daemon.up {
		return
	}
	st := m.replica.Stats()
	s.Takeovers += st.Takeovers
	s.Held += st.Held
	s.Relayed += st.RelayedTo
	s.Claims += st.HA.Claims
	s.Handed += st.HA.Handed
	s.Contested += st.HA.Contested
	s.Resumed += st.HA.Resumed
	s.Raised += st.HA.Raised
	s.Unprotected += st.HA.Unprotected
	s.Reigns += st.HA.Reigns
	s.Promoted += st.HA.Promoted
	for _, shard := range m.shards {
		sync := shard.machine.Stats().IKE.Sync
		s.Resyncs += sync.Resyncs
		s.Synced += sync.Synced
	}
}
