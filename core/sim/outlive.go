package sim

import (
	"maps"
	"slices"
	"time"

	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// orphanTime is for how long a dataplane goes on without a daemon.
const orphanTime = 5 * time.Second

// orphan ends the daemon, but not its dataplane.
func (m *member) orphan() {
	if !m.daemon.up {
		return
	}
	if m.plane.down {
		m.crash()
		return
	}
	m.c.tracef(m.name, "loses its daemon")
	m.c.sum.Orphaned++
	m.thaw()
	m.die()
	life, plane := m.daemon.life, m.plane
	m.c.clock.After(orphanTime, func() {
		if m.daemon.life == life {
			plane.stop()
		}
	})
}

// left is what the dataplane has of the last life, nil where it has not outlived it.
func (m *member) left() map[ipsec.SAID]ha.Left {
	all, ok := m.plane.inventory()
	if !ok {
		return nil
	}
	left := make(map[ipsec.SAID]ha.Left)
	for _, c := range all {
		left[c.ID] = ha.Left{Tunnel: c.Tunnel, Sequence: c.Sequence}
	}
	return left
}

// kept is a tunnel in a journal.
type kept struct {
	ike      ha.PutIKE
	at       time.Time
	children map[ipsec.SAID]ha.PutChild
}

// jot keeps the journal as package sealed does: the newest value of each name.
func (m *member) jot(records []ha.Record) {
	if m.disk.journal == nil {
		m.disk.journal = make(map[ipsec.TunnelID]*kept)
	}
	of := func(id ipsec.TunnelID) *kept {
		if m.disk.journal[id] == nil {
			m.disk.journal[id] = &kept{children: make(map[ipsec.SAID]ha.PutChild)}
		}
		return m.disk.journal[id]
	}
	for _, r := range records {
		switch r := r.(type) {
		case ha.PutIKE:
			k := of(r.Tunnel)
			k.ike, k.at = r, m.now()
		case ha.PutChild:
			of(r.Tunnel).children[r.Child.In.ID] = r
		case ha.DropChild:
			delete(of(r.Tunnel).children, r.Child)
		case ha.Remove:
			delete(m.disk.journal, r.Tunnel)
		}
	}
}

// remind tells a new life what is in the journal.
func (m *member) remind() {
	for _, id := range slices.Sorted(maps.Keys(m.disk.journal)) {
		k := m.disk.journal[id]
		if k.ike.IKE.State.Len() == 0 {
			continue
		}
		r := ha.Return{Tunnel: id, Version: k.ike.Version, Title: k.ike.Title, IKE: k.ike.IKE}
		for _, said := range slices.SortedFunc(maps.Keys(k.children), ipsec.SAID.Compare) {
			c := k.children[said]
			r.Children = append(r.Children, c.Child)
			if c.Version.Compare(r.Version) > 0 {
				r.Version = c.Version
			}
		}
		m.tell(engine.Node{Input: ha.Remembered{Return: r, Age: m.now().Sub(k.at)}})
	}
}

// Orphan ends a member's daemon; its dataplane goes on for some seconds.
func (c *Cluster) Orphan(id ipsec.MemberID) { c.members[id].orphan() }
