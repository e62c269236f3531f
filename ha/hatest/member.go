package hatest

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ha/hatest/play"
)

// member is one gateway: its disk, its machine, its dataplane, and as much of an
// engine as it takes.
type member struct {
	c    *Cluster
	id   ipsec.MemberID
	disk ha.HardState
	boot uint32 // of the dataplane, on disk too

	up, frozen, leaving bool
	fit                 bool // to be routed to
	run                 int  // which start this is
	steps               int
	node                *ha.Node
	plane               *plane
	timer               time.Time
	backlog             []func() // while frozen

	tunnels map[ipsec.TunnelID]*session // that this engine runs
	held    []held                      // messages that wait for Commit
	// committed is the last Commit, unprotected the last that was not all right.
	committed, unprotected ha.Index
	carrier                []func()   // orders on their way to the dataplane
	events                 []ha.Input // on their way from there
	epochs                 map[ipsec.TunnelID]ha.Epoch
	// hadSA and hadMID are what this life has had in its dataplane and its copies.
	hadSA  map[ipsec.SAID]bool
	hadMID map[ipsec.TunnelID]uint64
	// buried are the tunnels that this life knows to be removed.
	buried map[ipsec.TunnelID]bool
}

// session is the engine's view of an IKE SA.
type session struct {
	id  ipsec.TunnelID
	mid uint64 // of the last request that was answered
	// index is what that answer waits for, 0 for nothing in this life.
	index ha.Index
}

// held is a message to a client, and what it tells: the answer to request mid, a
// child, or the end.
type held struct {
	index  ha.Index
	tunnel ipsec.TunnelID
	mid    uint64
	child  ipsec.SAID
	gone   bool
	do     func()
}

// start begins a life. A new disk has forgotten everything.
func (m *member) start(withDisk bool) {
	if !withDisk {
		m.disk, m.boot = ha.HardState{}, 0
	}
	m.run++
	m.boot++
	m.committed, m.unprotected, m.timer = 0, 0, time.Time{}
	m.fit = false
	m.up, m.frozen, m.leaving, m.held, m.backlog, m.carrier, m.events = true, false, false, nil, nil, nil, nil
	m.tunnels = make(map[ipsec.TunnelID]*session)
	m.epochs = make(map[ipsec.TunnelID]ha.Epoch)
	m.hadSA = make(map[ipsec.SAID]bool)
	m.hadMID = make(map[ipsec.TunnelID]uint64)
	m.buried = make(map[ipsec.TunnelID]bool)
	m.plane = newPlane(m)
	cfg := ha.Config{
		Group: 1, Member: m.id, Members: m.c.all, Heartbeat: 50 * time.Millisecond,
		MinAcks: m.c.cfg.MinAcks, AckTimeout: 200 * time.Millisecond, JoinTimeout: 500 * time.Millisecond,
		AdoptAfter: time.Second, AntiEntropy: 2 * time.Second, CountersEvery: 200 * time.Millisecond,
		Lease: m.c.cfg.Lease, Nonces: m.nonces(), NewDisk: ha.DiskID(m.c.rnd.Uint64() | 1), Limits: m.c.cfg.Limits,
		MinProtocol: ha.MinProtocol, MaxProtocol: m.protocol(),
		Unit: play.Unit(m.id, m.c.cfg.Units, m.c.cfg.Override),
	}
	if m.c.cfg.Fault == NoTombstones {
		cfg.TombstoneLife = 1
	}
	node, err := ha.New(cfg, m.disk)
	if err != nil {
		m.c.breach("member %d does not start: %v", m.id, err)
		return
	}
	m.node = node
	m.c.tracef("member %d: starts, disk %v", m.id, withDisk)
	m.step(ha.Plane{Up: true, Bare: true})
	m.step(ha.Configure{Classes: map[string]uint64{class: 1}})
	m.counting(m.run)
}

// protocol is the highest version that this life speaks: members are of two releases,
// each of another one with every start.
func (m *member) protocol() uint16 {
	return ha.MaxProtocol + uint16((m.run+int(m.id))%2)
}

// nonces are by turns, where they are mixed.
func (m *member) nonces() ha.Nonces {
	if m.c.cfg.Disjoint && (!m.c.cfg.Mixed || m.id%2 == 0) {
		return ha.SequenceNonces
	}
	return ha.DistinctNonces
}

// counting reads the dataplane's counters now and then.
func (m *member) counting(run int) {
	m.c.clock.After(100*time.Millisecond, func() {
		if m.up && m.run == run {
			m.do(run, m.count)
			m.counting(run)
		}
	})
}

// class is the phase 1 of all clients.
const class = "dialup"

func (m *member) addStats(s *Sum) {
	st := m.node.Stats()
	s.Claims += st.Claims
	s.Contested += st.Contested
	s.Raised += st.Raised
	s.Worn += st.Worn
}

// crash loses all but the disk.
func (m *member) crash() {
	if !m.up {
		return
	}
	m.addStats(&m.c.sum)
	m.c.sum.Crashes++
	m.c.crashed = m.c.clock.Now()
	m.c.tracef("member %d: crashes", m.id)
	m.up, m.node, m.plane = false, nil, nil
}

// freeze stops the machine and its dataplane; thaw lets both go on.
func (m *member) freeze() { m.frozen = true }

func (m *member) thaw() {
	if !m.frozen || !m.up {
		return
	}
	m.frozen = false
	backlog := m.backlog
	m.backlog = nil
	for _, do := range backlog {
		do()
	}
	if m.up {
		m.step(ha.Timeout{})
	}
}

// leave stops cleanly: it gives its tunnels to others, says goodbye, goes on sending
// what is left until others do, and falls silent.
func (m *member) leave() {
	if !m.up || m.frozen || m.leaving {
		return
	}
	m.c.tracef("member %d: leaves", m.id)
	m.leaving = true
	m.step(ha.Leave{Step: ha.Handover})
	run := m.run
	m.handing(run, m.c.clock.Now().Add(m.c.upTo(200*time.Millisecond)))
}

// handing waits for the end of the handover, or until it is late.
func (m *member) handing(run int, end time.Time) {
	if m.node.Handing() > 0 && m.c.clock.Now().Before(end) {
		m.c.clock.After(2*time.Millisecond, func() { m.do(run, func() { m.handing(run, end) }) })
		return
	}
	m.step(ha.Leave{Step: ha.Goodbye})
	m.c.clock.After(10*time.Millisecond, func() { m.do(run, func() { m.step(ha.Leave{}) }) })
	m.c.clock.After(30*time.Millisecond, func() {
		if m.run == run {
			m.crash()
		}
	})
}

// do runs something now, or when the member thaws.
func (m *member) do(run int, what func()) {
	switch {
	case !m.up || m.run != run:
	case m.frozen:
		if len(m.backlog) < 1000 {
			m.backlog = append(m.backlog, func() { m.do(run, what) })
		}
	default:
		what()
	}
}

func (m *member) receive(f ha.Frame) {
	m.do(m.run, func() { m.step(ha.Received{Frame: f}) })
}

// tell hands an event of the dataplane to the machine, a little later; events
// keep their order.
func (m *member) tell(in ha.Input) {
	run := m.run
	m.events = append(m.events, in)
	m.c.clock.After(m.c.upTo(time.Millisecond), func() { m.do(run, m.tellNext) })
}

func (m *member) tellNext() {
	if len(m.events) > 0 {
		in := m.events[0]
		m.events = m.events[1:]
		m.step(in)
	}
}

// step steps the machine and carries out what it asks for, in order.
func (m *member) step(in ha.Input) ha.Index {
	m.c.sum.Steps++
	rd := m.node.Step(m.c.clock.Now(), in)
	m.noteCopies(in)
	if rd.Hard != nil {
		m.write(*rd.Hard)
	}
	if m.c.cfg.Trace != nil {
		m.traceReady(in, rd)
	}
	if len(rd.Orders) > 0 {
		m.carry(rd.Orders, rd.Serial)
	}
	for _, f := range rd.Send {
		m.c.send(f)
	}
	if rd.Health != nil {
		m.fit = rd.Health.Fit
	}
	for _, id := range rd.Gone {
		m.buried[id] = true
	}
	for _, id := range slices.Concat(rd.Lost, rd.Gone) {
		delete(m.tunnels, id)
		m.held = slices.DeleteFunc(m.held, func(h held) bool { return h.tunnel == id })
	}
	for _, r := range rd.Restore {
		m.restore(r)
	}
	m.c.checkStep(m, rd)
	if rd.Unprotected > 0 {
		m.unprotected = rd.Commit
	}
	m.release(rd)
	for _, r := range rd.Rekey {
		run := m.run
		m.c.clock.After(5*time.Millisecond, func() { m.do(run, func() { m.rekey(r.Tunnel, r.Child) }) })
	}
	m.wait()
	return rd.Index
}

// noteCopies remembers how new the copies were that came with a frame.
func (m *member) noteCopies(in ha.Input) {
	r, ok := in.(ha.Received)
	if !ok {
		return
	}
	for _, rec := range r.Frame.Records {
		if put, ok := rec.(ha.PutIKE); ok {
			st, ok := m.node.Tunnel(put.Tunnel)
			if !ok || st.Version.Compare(put.Version) >= 0 { // or it has been removed in the same frame
				m.hadMID[put.Tunnel] = max(m.hadMID[put.Tunnel], decode(put.IKE))
			}
		}
	}
}

// write is the disk, with its faults.
func (m *member) write(hard ha.HardState) {
	if m.c.cfg.Fault == NoPersist {
		hard.Count, hard.Armed = 0, 0
	}
	if m.c.cfg.Fault == NoArmed {
		hard.Armed = 0
	}
	m.disk = hard
}

// wait sets the timer of the machine.
func (m *member) wait() {
	at := m.node.NextTimeout()
	if at.Equal(m.timer) && m.timer.After(m.c.clock.Now()) {
		return
	}
	m.timer = at
	run := m.run
	m.c.clock.After(at.Sub(m.c.clock.Now()), func() {
		if m.timer.Equal(at) {
			m.timer = time.Time{}
			m.do(run, func() { m.step(ha.Timeout{}) })
		}
	})
}

// carry brings orders to the dataplane, in order, within a millisecond.
func (m *member) carry(orders []ha.Order, serial uint64) {
	run := m.run
	m.carrier = append(m.carrier, func() {
		for _, o := range orders {
			m.plane.carry(o)
		}
		m.step(ha.Carried{Serial: serial})
	})
	m.c.clock.After(m.c.upTo(time.Millisecond), func() { m.do(run, m.carryNext) })
}

func (m *member) carryNext() {
	if len(m.carrier) > 0 {
		next := m.carrier[0]
		m.carrier = m.carrier[1:]
		next()
	}
}

// hold keeps a message back until its record is committed.
func (m *member) hold(h held) {
	if m.c.cfg.Fault == NoCommit {
		m.c.checkCommitted(m, h)
		h.do()
		return
	}
	m.held = append(m.held, h)
	if h.index <= m.committed {
		m.release(ha.Ready{Commit: m.committed})
	}
}

func (m *member) release(rd ha.Ready) {
	m.committed = rd.Commit
	for len(m.held) > 0 && m.held[0].index <= rd.Commit {
		h := m.held[0]
		m.held = m.held[1:]
		if rd.Unprotected == 0 && m.unprotected < h.index {
			m.c.checkCommitted(m, h)
		}
		h.do()
	}
}

// encode is the state of an IKE SA.
func encode(mid uint64) ha.IKE {
	return ha.IKE{Class: class, State: ipsec.NewKey(binary.BigEndian.AppendUint64(nil, mid))}
}

func decode(i ha.IKE) uint64 {
	if b := i.State.Reveal(); len(b) == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// restore brings an IKE SA to life. It is published anew before it answers.
func (m *member) restore(r ha.Restored) {
	m.c.sum.Restored++
	run := m.run
	m.c.clock.After(0, func() {
		m.do(run, func() {
			if st, ok := m.node.Tunnel(r.Tunnel); !ok || !st.Owned {
				return
			}
			s := &session{id: r.Tunnel, mid: decode(r.IKE)}
			m.tunnels[s.id] = s
			s.index = m.step(ha.StoreIKE{Tunnel: s.id, IKE: encode(s.mid)})
		})
	})
}

// count reads the dataplane's counters.
func (m *member) count() {
	var out []ha.Counted
	for _, id := range m.plane.ids() {
		if sa := m.plane.sas[id]; sa.active && sa.desc.Direction == ipsec.Inbound {
			out = append(out, ha.Counted{ID: id, Sequence: ipsec.Sequence{Highest: sa.seen.highest, Bitmap: sa.seen.bitmap()}})
		}
	}
	if len(out) > 0 {
		m.step(ha.Count{SAs: out})
	}
}

func (p *plane) ids() []ipsec.SAID {
	return slices.SortedFunc(maps.Keys(p.sas), func(a, b ipsec.SAID) int {
		if a.SPI != b.SPI {
			return int(int64(a.SPI) - int64(b.SPI))
		}
		return a.Dst.Compare(b.Dst)
	})
}
