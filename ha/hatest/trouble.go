package hatest

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ha/hatest/play"
)

// trouble makes something happen, and comes again.
func (c *Cluster) trouble() {
	if c.quiet {
		return
	}
	defer func() { c.clock.After(50*time.Millisecond+c.upTo(900*time.Millisecond), c.trouble) }()
	m := c.members[c.rnd.IntN(len(c.members))]
	if c.cfg.Units > 0 && c.rnd.IntN(3) == 0 {
		c.unitTrouble(m)
		return
	}
	switch c.rnd.IntN(16) {
	case 0, 1:
		m.crash()
	case 2, 3, 4:
		c.bootAll(true)
	case 5:
		c.bootAll(c.rnd.IntN(3) > 0)
	case 6:
		c.Part(ha.Members(c.rnd.Uint32()))
	case 7:
		o := c.members[c.rnd.IntN(len(c.members))]
		c.tracef("frames from %d to %d are lost", m.id, o.id)
		c.cut.Deafen(m.id, o.id)
	case 8, 9:
		c.Join()
	case 10:
		if m.up && !m.frozen {
			c.tracef("member %d: freezes", m.id)
			run := m.run
			m.freeze()
			c.clock.After(c.upTo(time.Second), func() {
				if m.run == run {
					c.tracef("member %d: thaws", m.id)
					m.thaw()
				}
			})
		}
	case 11:
		m.leave()
	default:
		c.Rehash()
	}
}

// unitTrouble is what happens to a member of a unit beside all else.
func (c *Cluster) unitTrouble(m *member) {
	if !m.up || m.frozen {
		return
	}
	switch c.rnd.IntN(3) {
	case 0:
		c.Yield(m.id, true)
	case 1:
		c.Yield(m.id, false)
	default:
		c.Links(m.id, uint8(c.rnd.IntN(3)))
	}
}

// Yield makes a member step back, or takes that back.
func (c *Cluster) Yield(id ipsec.MemberID, on bool) {
	c.tracef("member %d: is told to step back: %v", id, on)
	c.members[id].step(ha.Yield{On: on})
}

// Links tells a member how many of its interfaces have no link.
func (c *Cluster) Links(id ipsec.MemberID, failed uint8) {
	c.tracef("member %d: %d links fail", id, failed)
	c.members[id].step(ha.Monitored{Failed: failed})
}

// Primaries are the members that may be routed to.
func (c *Cluster) Primaries() ha.Members {
	var out ha.Members
	for _, m := range c.members {
		if m.up && m.fit {
			out = out.With(m.id)
		}
	}
	return out
}

// bootAll starts everybody who is down.
func (c *Cluster) bootAll(withDisk bool) {
	for _, m := range c.members {
		if !m.up {
			m.start(withDisk)
		}
	}
}

// Part cuts the members' network in two, side and the others.
func (c *Cluster) Part(side ha.Members) {
	c.tracef("the members' network parts: %v and %v", side&c.all, c.all&^side)
	c.cut.Part(c.all, side)
}

// Join repairs the members' network.
func (c *Cluster) Join() {
	c.tracef("the members' network is whole")
	c.cut = play.Cuts{}
}

// Rehash makes the routers change their minds.
func (c *Cluster) Rehash() {
	c.tracef("routers hash anew")
	for _, cl := range c.clients {
		if c.rnd.IntN(2) == 0 {
			cl.salt = c.rnd.Uint64()
		}
	}
}

// Heal ends all trouble.
func (c *Cluster) Heal() {
	c.quiet = true
	c.Join()
	c.loss, c.twice = 0, 0
	for _, m := range c.members {
		m.thaw()
	}
	c.bootAll(true)
	c.clock.After(400*time.Millisecond, func() { c.bootAll(true) }) // who was about to leave
}

// Crash stops a member: what follows is for scripts.
func (c *Cluster) Crash(id ipsec.MemberID) { c.members[id].crash() }

// Boot starts a member, with the disk that it had or a new one.
func (c *Cluster) Boot(id ipsec.MemberID, withDisk bool) { c.members[id].start(withDisk) }

// Leave stops a member cleanly.
func (c *Cluster) Leave(id ipsec.MemberID) { c.members[id].leave() }

// Freeze stops a member without its noticing, until Thaw.
func (c *Cluster) Freeze(id ipsec.MemberID) { c.members[id].freeze() }

// Thaw lets it go on.
func (c *Cluster) Thaw(id ipsec.MemberID) { c.members[id].thaw() }

// Owners counts the tunnels that each member owns.
func (c *Cluster) Owners() []int {
	out := make([]int, len(c.members))
	for i, m := range c.members {
		if !m.up {
			continue
		}
		for _, id := range m.node.Tunnels() {
			if st, ok := m.node.Tunnel(id); ok && st.Owned {
				out[i]++
			}
		}
	}
	return out
}

// Stats are the counters of a member's present life.
func (c *Cluster) Stats(id ipsec.MemberID) ha.Stats { return c.members[id].node.Stats() }

// Settle heals everything, lets time pass, and checks that all is well then.
func (c *Cluster) Settle(d time.Duration) error {
	c.Heal()
	c.Play(d)
	c.still = true
	c.Play(500 * time.Millisecond)
	if c.breach_ == nil {
		c.checkSettled()
	}
	return c.breach_
}
