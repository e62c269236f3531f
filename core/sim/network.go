package sim

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ha/hatest/play"
)

// network is all that lies between the parts.
type network struct {
	cut         play.Cuts // between members
	loss, twice float64
	// How long things take at most: between members, to and from clients, and
	// within a machine.
	delay, outer, inner time.Duration
}

// between carries something from one member to another, or does not.
func (c *Cluster) between(from, to ipsec.MemberID, do func()) {
	c.carry(c.net.delay, func() {
		if !c.net.cut[from][to] {
			do()
		}
	})
}

// outside carries something between a client and the cluster, or does not.
func (c *Cluster) outside(do func()) { c.carry(c.net.outer, do) }

func (c *Cluster) carry(delay time.Duration, do func()) {
	copies := 1
	if c.net.loss > 0 && c.rnd.Float64() < c.net.loss {
		copies = 0
	}
	if c.net.twice > 0 && c.rnd.Float64() < c.net.twice {
		copies++
	}
	for range copies {
		c.clock.After(c.upTo(delay), do)
	}
}

// frame carries a frame of the replication machines.
func (c *Cluster) frame(f ha.Frame) {
	f, err := play.Carried(c.cfg.Seed, f)
	if err != nil {
		c.breach("%v", err)
	}
	if c.cfg.Fault == NoElection {
		f = unheard(f)
	}
	to := c.members[f.To]
	c.between(f.From, f.To, func() { to.hear(f) })
}

// Part cuts the members' network in two, side and the others.
func (c *Cluster) Part(side ha.Members) {
	c.tracef("network", "parts: members %v and %v", side&c.all, c.all&^side)
	c.net.cut.Part(c.all, side)
}

// Deafen loses what one member says to another.
func (c *Cluster) Deafen(from, to ipsec.MemberID) {
	c.tracef("network", "what member %d says to member %d is lost", from, to)
	c.net.cut.Deafen(from, to)
}

// Join repairs the members' network.
func (c *Cluster) Join() {
	c.tracef("network", "is whole")
	c.net.cut = play.Cuts{}
}
