package sim

import (
	"time"

	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ike"
)

// memory is what one life of a member has known.
type memory struct {
	states map[uint64]bool         // of IKE SAs
	newest map[line]int            // of them, by their age
	sas    map[ipsec.SAID]bool     // in its dataplane
	gone   map[ipsec.TunnelID]bool // tunnels that it knows to be removed
	// removed are the epochs up to which they are.
	removed map[ipsec.TunnelID]ha.Epoch
	final   map[ipsec.TunnelID]bool     // those whose client knows it, too
	epochs  map[ipsec.TunnelID]ha.Epoch // the highest that it has owned each with
}

func newMemory() memory {
	return memory{
		states: make(map[uint64]bool), newest: make(map[line]int), sas: make(map[ipsec.SAID]bool),
		gone: make(map[ipsec.TunnelID]bool), removed: make(map[ipsec.TunnelID]ha.Epoch), final: make(map[ipsec.TunnelID]bool),
		epochs: make(map[ipsec.TunnelID]ha.Epoch),
	}
}

// holds notes which of the tunnels are here that a frame says are removed.
func (m *member) holds(in engine.ReplicaInput) map[ipsec.TunnelID]bool {
	n, _ := in.(engine.Node)
	r, ok := n.Input.(ha.Received)
	if !ok {
		return nil
	}
	held := make(map[ipsec.TunnelID]bool)
	for _, rec := range r.Frame.Records {
		if rec, ok := rec.(ha.Remove); ok {
			_, held[rec.Tunnel] = m.node.Owner(rec.Tunnel)
		}
	}
	return held
}

// remember notes what came with a frame and was taken. held were there before.
func (m *member) remember(in engine.ReplicaInput, held map[ipsec.TunnelID]bool) {
	if p, ok := in.(engine.Published); ok {
		m.c.ledger.published(m, p.Publication)
	}
	n, _ := in.(engine.Node)
	r, ok := n.Input.(ha.Received)
	if !ok {
		return
	}
	for _, rec := range r.Frame.Records {
		switch rec := rec.(type) {
		case ha.PutIKE:
			if _, there := m.node.Owner(rec.Tunnel); there && m.memory.final[rec.Tunnel] {
				m.c.breach("I8: %s takes %v back, which was removed for good, as it knows", m.name, rec.Tunnel)
			}
			if st, ok := m.node.Tunnel(rec.Tunnel); !ok || st.Version.Compare(rec.Version) >= 0 { // it may have gone since
				m.memory.learn(m.c, m.c.ledger.sum(rec.IKE.State.Reveal()))
				if !m.memory.final[rec.Tunnel] && rec.Version.Epoch > m.memory.removed[rec.Tunnel] {
					delete(m.memory.gone, rec.Tunnel) // somebody has claimed it since
				}
			}
		case ha.Remove:
			if _, there := m.node.Owner(rec.Tunnel); !there && held[rec.Tunnel] {
				m.memory.gone[rec.Tunnel] = true
				m.memory.removed[rec.Tunnel] = max(m.memory.removed[rec.Tunnel], rec.Epoch)
				m.memory.final[rec.Tunnel] = m.memory.final[rec.Tunnel] || rec.Final
			}
		}
	}
}

// checkStep checks what must hold after every step of a replication machine.
func (m *member) checkStep(rd engine.ReplicaReady) {
	c := m.c
	for _, o := range rd.Orders {
		if o.Epoch.Count() > m.disk.hard.Count {
			c.breach("I3: %s orders with epoch %v, but has %d on disk", m.name, o.Epoch, m.disk.hard.Count)
		}
	}
	for _, s := range rd.Shards {
		switch in := s.Input.(type) {
		case engine.Restore:
			m.checkRestored(in.Tunnel)
		case engine.Lose:
			c.ledger.hushed(m, in.Tunnel)
			if in.Gone {
				m.memory.gone[in.Tunnel] = true
			}
		}
	}
}

// checkQueues checks that nothing that waits grows without bound.
func (m *member) checkQueues() {
	for _, p := range m.node.Peers() {
		if p.Queued > maxBacklog {
			m.c.breach("%s: %d records wait for member %d", m.name, p.Queued, p.Member)
		}
	}
}

func (m *member) checkRestored(r ha.Restored) {
	c := m.c
	st, ok := m.node.Tunnel(r.Tunnel)
	switch {
	case !ok || !st.Owned:
		c.breach("I8: %s restores %v, which it does not own", m.name, r.Tunnel)
	case m.node.Role() != ha.Standby:
		c.breach("I4: %s took %v over while it was syncing", m.name, r.Tunnel)
	case !st.Complete:
		c.breach("I4: %s took %v over, of which it has a part", m.name, r.Tunnel)
	case r.Epoch.Count() > m.disk.hard.Count:
		c.breach("I3: %s took %v over with epoch %v, but has %d on disk", m.name, r.Tunnel, r.Epoch, m.disk.hard.Count)
	case m.memory.gone[r.Tunnel]:
		c.breach("I8: %s restores %v, which was removed, as it knows", m.name, r.Tunnel)
	case r.Epoch < m.memory.epochs[r.Tunnel]:
		c.breach("I5: %s took %v over with epoch %v after %v", m.name, r.Tunnel, r.Epoch, m.memory.epochs[r.Tunnel])
	}
	m.memory.epochs[r.Tunnel] = r.Epoch
}

// checkEnded checks that a tunnel does not come back that was removed, as a
// member knows that has lived on since (I8).
func (c *Cluster) checkEnded(id ipsec.TunnelID) {
	for member, life := range c.ledger.ended[id] {
		if m := c.members[member]; m.daemon.up && m.daemon.life == life {
			c.breach("I8: %v was removed, as %s knows, and is back", id, m.name)
		}
	}
}

// checkPromises checks that what is about to be told to a client is on enough
// other members (I6). One that has just died may have acknowledged it. Waived are
// messages that are counted as unprotected, and those that a member has hung with: who
// had acknowledged them then may be in another life by now. A member of a unit that
// steps back does not send what it was about to say, whose records are counted all the
// same; what it says of them later, as primary again, is waived too.
func (m *member) checkPromises(dgs []ike.Datagram, waived bool) {
	l := &m.c.ledger
	for _, dg := range dgs {
		key := message{m.id, m.daemon.life, l.sum(dg.Payload)}
		p, known := l.promises[key]
		if !known || p.kept {
			continue
		}
		p.kept = true
		l.promises[key] = p
		if waived || p.empty() || m.thawed.After(p.at) || m.c.cfg.Units > 0 && m.exposed.After(p.at) {
			continue
		}
		m.c.sum.Promises++
		have := 0
		for _, o := range m.c.members {
			if o != m && o.has(p) {
				have++
			}
		}
		if need := min(m.c.minAcks, len(m.c.members)-1); have < need {
			m.c.breach("I6: %s tells the client of %v what %d others have, not %d (state %v, %d pairs, over %v)",
				m.name, p.tunnel, have, need, p.state != 0, len(p.pairs), p.over)
		}
		if p.over && p.final {
			m.memory.final[p.tunnel] = true
			m.c.bury(m, p.tunnel)
		}
	}
}

// empty tells whether a message tells nothing that others must have.
func (p promise) empty() bool { return p.state == 0 && len(p.pairs) == 0 && !p.over }

// has tells whether m could go on where a message leaves the client, or could
// before it learned of something newer.
func (m *member) has(p promise) bool {
	if m.daemon.up && m.memory.knows(m, p) {
		return true
	}
	return m.c.clock.Now().Sub(m.died) < unnoticed && m.before.knows(m, p)
}

// unnoticed is for how long the others may not know that a member has died.
const unnoticed = time.Second

func (k memory) knows(m *member, p promise) bool {
	if _, there := m.node.Owner(p.tunnel); p.over {
		return k.gone[p.tunnel] || !there
	}
	if p.state != 0 && !k.knowsState(m.c, p.state) {
		return false
	}
	for _, pair := range p.pairs {
		for _, id := range []ipsec.SAID{pair.In.ID, pair.Out.ID} {
			if !k.sas[id] && !m.plane.had[id] {
				return false
			}
		}
	}
	return true
}

// learn notes a state of an IKE SA.
func (k memory) learn(c *Cluster, state uint64) {
	k.states[state] = true
	if a, known := c.ledger.ages[state]; known {
		k.newest[a.line] = max(k.newest[a.line], a.n)
	}
}

// knowsState tells whether a state was here, or a later one of its line: who syncs is
// told of the last one only.
func (k memory) knowsState(c *Cluster, state uint64) bool {
	a, known := c.ledger.ages[state]
	return k.states[state] || known && k.newest[a.line] >= a.n
}

// bury notes who knows that a tunnel was removed. Who forgets it with a crash
// cannot keep it from coming back.
func (c *Cluster) bury(by *member, id ipsec.TunnelID) {
	who := make(map[ipsec.MemberID]int)
	for _, m := range c.members {
		if m.daemon.up && (m == by || m.memory.gone[id]) {
			who[m.id] = m.daemon.life
		}
	}
	c.ledger.ended[id] = who
}

// checkSpeaks checks that a member speaks to clients of its own tunnels only (I7).
func (m *member) checkSpeaks(dgs []ike.Datagram) {
	for _, dg := range dgs {
		p, known := m.c.ledger.promises[message{m.id, m.daemon.life, m.c.ledger.sum(dg.Payload)}]
		if !known {
			continue
		}
		if owner, ok := m.node.Owner(p.tunnel); ok && owner != m.id {
			m.c.breach("I7: %s speaks to the client of %v, which member %d owns", m.name, p.tunnel, owner)
		}
	}
}

// checkSends checks that a dataplane sends for tunnels that are its member's, or
// may become so (I7). What is under way between the two may change that.
func (m *member) checkSends(sa *planeSA) {
	if !m.daemon.up || m.daemon.frozen || !m.orders.idle() || !m.inbox.idle() || !m.events.idle() {
		return
	}
	owner, ok := m.node.Owner(sa.desc.Tunnel)
	if !ok || owner == m.id || m.armed(owner) {
		return
	}
	if st, _ := m.node.Tunnel(sa.desc.Tunnel); m.leaving && st.Lingers {
		return // until all know its successor
	}
	m.c.breach("I7: %s sends on %v, of a tunnel that member %d owns", m.name, sa.desc.ID, owner)
}

// checkHolders holds an owner to its lease: nobody who stands by, wherever it
// is, would start at or below what is sent.
func (c *Cluster) checkHolders(m *member, id ipsec.SAID, key, seq uint64) {
	for _, o := range c.members {
		if sa := o.plane.sas[id]; o != m && sa != nil && sa.standby && sa.next <= seq && c.ledger.sum(sa.desc.Encryption.Reveal()) == key {
			c.breach("I2: %s sends number %d on %v, and %s would start with %d", m.name, seq, id, o.name, sa.next)
		}
	}
}

// checkCheckpoint checks that a packet that was taken is not covered by the last
// checkpoint that came here (I9).
func (m *member) checkCheckpoint(id ipsec.SAID, seq uint64) {
	if !m.daemon.up || m.daemon.frozen || !m.orders.idle() {
		return
	}
	tunnel, ok := m.node.TunnelOf(id)
	if !ok {
		return
	}
	if owner, _ := m.node.Owner(tunnel); owner == m.id {
		return // its own dataplane knows more
	}
	st, _ := m.node.Tunnel(tunnel)
	for _, ch := range st.Children {
		if s := ch.In.Sequence; ch.In.ID == id && covers(s, seq) {
			m.c.breach("I9: %s takes packet %d of %v, which the checkpoint of member %d covers", m.name, seq, id, st.Owner)
		}
	}
}

// covers tells whether a checkpoint says that a number was received.
func covers(s ipsec.Sequence, seq uint64) bool {
	if seq > s.Highest {
		return false
	}
	i := s.Highest - seq
	return i/8 >= uint64(len(s.Bitmap)) || s.Bitmap[i/8]>>(i%8)&1 != 0
}
