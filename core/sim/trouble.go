package sim

import (
	"time"

	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// trouble makes something go wrong, and comes again.
func (c *Cluster) trouble() {
	if c.quiet {
		return
	}
	defer func() { c.clock.After(50*time.Millisecond+c.upTo(900*time.Millisecond), c.trouble) }()
	m := c.members[c.rnd.IntN(len(c.members))]
	if c.cfg.Units > 0 && c.chance(3) {
		c.unitTrouble(m)
		return
	}
	switch c.rnd.IntN(28) {
	case 0, 1:
		m.crash()
	case 2, 3, 4, 5:
		c.bootAll(true)
	case 6:
		c.bootAll(!c.chance(3))
	case 7:
		c.Part(ha.Members(c.rnd.Uint32()))
	case 8:
		c.Deafen(m.id, c.members[c.rnd.IntN(len(c.members))].id)
	case 9, 10, 11:
		c.Join()
	case 12, 13:
		c.pause(m)
	case 14:
		m.leave()
	case 15, 16:
		m.losePlane(c.upTo(time.Second))
	case 17:
		m.plane.LoseEvents(1 + c.rnd.IntN(5))
	case 18:
		m.jump(c.upTo(10 * time.Second))
	case 19:
		c.rolling(m.id)
	case 20, 21:
		m.orphan()
	case 22:
		m.orphan()
		c.clock.After(c.upTo(time.Second), func() { c.bootAll(true) })
	case 23:
		for _, m := range c.members {
			m.orphan()
		}
		c.clock.After(c.upTo(time.Second), func() { c.bootAll(true) })
	default:
		c.Rehash()
	}
}

// pause freezes a member for a while, or a part of it.
func (c *Cluster) pause(m *member) {
	if !m.daemon.up || m.daemon.frozen || m.plane.down || m.plane.frozen {
		return
	}
	kind, life := c.rnd.IntN(3), m.daemon.life
	m.freeze(kind != 0, kind != 1)
	c.clock.After(c.upTo(2*time.Second), func() {
		if m.daemon.life == life {
			m.thaw()
		}
	})
}

// jump moves the member's clock ahead, as after a sleep.
func (m *member) jump(d time.Duration) {
	if !m.daemon.up {
		return
	}
	m.c.tracef(m.name, "its clock jumps by %v", d)
	m.skew += d
	m.tell(engine.Node{Input: ha.Timeout{}})
	m.all(engine.Timeout{})
}

// rolling stops a member cleanly and starts it again, and then the next one.
func (c *Cluster) rolling(id ipsec.MemberID) {
	m := c.members[id]
	m.leave()
	c.clock.After(1500*time.Millisecond, func() {
		if !m.daemon.up {
			m.start(true)
		}
	})
	if int(id)+1 < len(c.members) {
		c.clock.After(3*time.Second, func() {
			if !c.quiet {
				c.rolling(id + 1)
			}
		})
	}
}

// bootAll starts everybody who is down.
func (c *Cluster) bootAll(withDisk bool) {
	for _, m := range c.members {
		if !m.daemon.up {
			m.start(withDisk)
		}
	}
}

// ask is what a client wants now and then.
func (cl *client) ask() {
	c := cl.c
	if c.still || c.quiet || c.cfg.Steady {
		return
	}
	switch roll := c.rnd.IntN(1000); {
	case roll < 12:
		c.sum.Rekeys++
		cl.all(engine.Rekey{Name: "office"})
	case roll < 18:
		c.sum.Rekeys++
		cl.all(engine.Rekey{Name: "office", IKE: true})
	case roll < 24:
		c.rekeyAt(cl, c.chance(2))
	case roll < 32 && cl.nat:
		cl.move()
	case roll < 36:
		cl.hangUp()
	case roll < 38:
		cl.vanish()
	}
}

// hangUp closes the client's tunnel, and dials again later.
func (cl *client) hangUp() {
	cl.c.tracef(cl.name, "hangs up")
	cl.c.sum.Deletes++
	cl.wanted = false
	cl.all(engine.Down{Name: "office"})
	life := cl.daemon.life
	cl.c.clock.After(cl.c.upTo(2*time.Second), func() {
		if cl.daemon.life == life && cl.daemon.up {
			cl.c.tracef(cl.name, "dials again")
			cl.wanted = true
			cl.all(engine.Up{Name: "office"})
		}
	})
}

// rekeyAt has the owner of a client's tunnel make new keys.
func (c *Cluster) rekeyAt(cl *client, ike bool) {
	for _, m := range c.members {
		if m.daemon.up && m.owns(cl.net()) {
			c.sum.Rekeys++
			m.all(engine.Rekey{Name: "dialup", IKE: ike})
			return
		}
	}
}

// Heal ends all trouble.
func (c *Cluster) Heal() {
	c.tracef("cluster", "all trouble ends")
	c.quiet = true
	c.Join()
	c.net.loss, c.net.twice = 0, 0
	for _, m := range c.members {
		m.thaw()
	}
	c.bootAll(true)
	c.clock.After(3*time.Second, func() { c.bootAll(true) }) // who was about to stop
}

// What follows is for scripts.

// Crash ends a member's machine, Boot starts it with the disk that it had or a
// new one.
func (c *Cluster) Crash(id ipsec.MemberID) { c.members[id].crash() }

// Boot is above.
func (c *Cluster) Boot(id ipsec.MemberID, withDisk bool) {
	if m := c.members[id]; !m.daemon.up {
		m.start(withDisk)
	}
}

// Stop stops a member cleanly.
func (c *Cluster) Stop(id ipsec.MemberID) { c.members[id].leave() }

// Freeze stops a member's daemon, its dataplane, or both, until Thaw.
func (c *Cluster) Freeze(id ipsec.MemberID, daemon, dataplane bool) {
	c.members[id].freeze(daemon, dataplane)
}

// Thaw lets it go on.
func (c *Cluster) Thaw(id ipsec.MemberID) { c.members[id].thaw() }

// LosePlane ends a member's dataplane for a time.
func (c *Cluster) LosePlane(id ipsec.MemberID, pause time.Duration) { c.members[id].losePlane(pause) }

// Jump moves a member's clock ahead.
func (c *Cluster) Jump(id ipsec.MemberID, d time.Duration) { c.members[id].jump(d) }
