package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// maxRivalry is how long two members of a unit that hear each other may both be its
// primary: an election takes a few heartbeats.
const maxRivalry = 3 * time.Second

// reigns tells whether m holds itself to be the primary of its unit.
func (m *member) reigns() bool {
	if !m.daemon.up || m.daemon.frozen {
		return false
	}
	st, ok := m.node.UnitStatus(m.now())
	return ok && st.Standing.Primary
}

// checkReign checks that m shares its throne with nobody for long. Those who do not hear
// each other cannot know.
func (m *member) checkReign() {
	if m.c.cfg.Units == 0 {
		return
	}
	rival := slices.IndexFunc(m.c.members, func(o *member) bool {
		return o != m && int(o.id)%m.c.cfg.Units == int(m.id)%m.c.cfg.Units && o.reigns() && !m.c.net.cut.Between(m.id, o.id)
	})
	switch {
	case rival < 0 || !m.reigns():
		m.rivalry = time.Time{}
	case m.rivalry.IsZero():
		m.rivalry = m.c.clock.Now()
	case m.c.clock.Now().Sub(m.rivalry) > maxRivalry:
		m.c.breach("I8: %s and %s are both primary of their unit, and hear each other", m.name, m.c.members[rival].name)
	}
}

// unrestUnits says which unit has not one primary, which has all that is its members',
// or nothing.
func (c *Cluster) unrestUnits() string {
	for unit := range c.cfg.Units {
		var primaries []ipsec.MemberID
		for _, m := range c.members {
			switch {
			case int(m.id)%c.cfg.Units != unit:
			case m.fit:
				primaries = append(primaries, m.id)
			case m.node.Owned() > 0:
				return fmt.Sprintf("%s is subordinate in unit %d, and owns %d tunnels", m.name, unit, m.node.Owned())
			}
		}
		if len(primaries) != 1 {
			return fmt.Sprintf("unit %d has the primaries %v", unit, primaries)
		}
	}
	return ""
}

// unheard is a frame that does not say that its sender is primary.
func unheard(f ha.Frame) ha.Frame {
	if f.Standing != nil {
		s := *f.Standing
		s.Primary, s.Term = false, 0
		f.Standing = &s
	}
	return f
}

// unitTrouble is what happens to a member of a unit beside all else.
func (c *Cluster) unitTrouble(m *member) {
	switch c.rnd.IntN(3) {
	case 0:
		c.Yield(m.id, true)
	case 1:
		c.Yield(m.id, false)
	default:
		c.Links(m.id, uint8(c.rnd.IntN(3)))
	}
}

// Yield makes a member step back behind the others of its unit, or takes that back.
func (c *Cluster) Yield(id ipsec.MemberID, on bool) {
	if m := c.members[id]; m.daemon.up {
		c.tracef(m.name, "is told to step back: %v", on)
		c.sum.Yields++
		m.tell(engine.Node{Input: ha.Yield{On: on}})
	}
}

// Links tells a member how many of its monitored interfaces have no link.
func (c *Cluster) Links(id ipsec.MemberID, failed uint8) {
	if m := c.members[id]; m.daemon.up {
		c.tracef(m.name, "has %d links that fail", failed)
		m.tell(engine.Node{Input: ha.Monitored{Failed: failed}})
	}
}

// Primaries are the members at work that are fit to be routed to: one of each unit.
func (c *Cluster) Primaries() (all ha.Members) {
	for _, m := range c.members {
		if m.daemon.up && !m.daemon.frozen && m.fit {
			all = all.With(m.id)
		}
	}
	return all
}
