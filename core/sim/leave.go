package sim

import (
	"slices"
	"time"

	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/ha"
)

const (
	// handoverTime and goodbyeTime bound the steps of a departure, and leavePoll is
	// how often the daemon looks how far it is.
	handoverTime = time.Second
	goodbyeTime  = 100 * time.Millisecond
	leavePoll    = 2 * time.Millisecond
	// lastWords is how long a daemon has for the clients that nobody else can keep.
	lastWords = 100 * time.Millisecond
)

// leave stops the daemon cleanly: the network is led elsewhere, what others hold is
// given up to them, the clients of the rest are told.
func (m *member) leave() {
	if !m.daemon.up || m.daemon.frozen || m.plane.frozen || m.leaving {
		return
	}
	m.c.tracef(m.name, "stops")
	m.c.sum.Stops++
	m.leaving = true
	m.c.router.changed(m, false)
	m.later(m.c.router.notices, func() {
		if !m.kept() {
			m.end(false)
			return
		}
		m.stepReplica(engine.Node{Input: ha.Leave{Step: ha.Handover}})
		m.await(m.c.clock.Now().Add(handoverTime), func() bool { return m.node.Handing() == 0 }, m.goodbye)
	})
}

// goodbye leaves to others what has found no successor.
func (m *member) goodbye() {
	m.stepReplica(engine.Node{Input: ha.Leave{Step: ha.Goodbye}})
	m.await(m.c.clock.Now().Add(goodbyeTime), func() bool { return m.node.Owned() == 0 }, func() {
		m.stepReplica(engine.Node{Input: ha.Leave{}})
		m.end(true)
	})
}

// kept tells whether another member has our tunnels.
func (m *member) kept() bool {
	return slices.ContainsFunc(m.node.Peers(), func(p ha.PeerStatus) bool { return p.Alive && p.Synced })
}

// end tells the clients, unless their tunnels are kept, and ends the machine. What is
// kept stands by in the dataplane still when the daemon comes back.
func (m *member) end(kept bool) {
	m.all(engine.Drain{Keep: kept})
	if kept {
		m.later(lastWords, func() { m.orphan() })
		return
	}
	m.later(lastWords, m.crash)
}

// await does what is next when something is so, or at the end.
func (m *member) await(end time.Time, so func() bool, next func()) {
	if so() || !m.c.clock.Now().Before(end) {
		next()
		return
	}
	m.later(leavePoll, func() { m.await(end, so, next) })
}

// later does something in the daemon's present life.
func (m *member) later(wait time.Duration, do func()) {
	life := m.daemon.life
	m.c.clock.After(wait, func() {
		if m.daemon.life == life && m.daemon.up {
			m.inbox.push(do)
		}
	})
}
