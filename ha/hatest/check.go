package hatest

import (
	"fmt"
	"strings"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// use is a run of numbers that one life of a member has sent on an SA.
type use struct {
	from, to uint64
	member   ipsec.MemberID
	run      int
	boot     uint32
	creator  bool
	epoch    ha.Epoch // of the creator
}

// created notes who made an SA: the first use, of nothing.
func (c *Cluster) created(m *member, tunnel ipsec.TunnelID, out ipsec.SAID) {
	e := ha.NewEpoch(0, m.id)
	if st, ok := m.node.Tunnel(tunnel); ok {
		e = st.Version.Epoch
	}
	c.uses[out] = []use{{member: m.id, run: m.run, boot: m.boot, creator: true, epoch: e}}
}

// used checks the numbers of a burst against all that were sent on the SA
// before, by anybody.
func (c *Cluster) used(p *plane, sa *planeSA, from, to uint64) {
	uses := c.uses[sa.desc.ID]
	if len(uses) == 0 {
		return
	}
	mine := use{from: from, to: to, member: p.of.id, run: p.of.run, boot: p.boot}
	if st, ok := p.of.node.Tunnel(sa.desc.Tunnel); ok && uses[0].member == p.of.id && uses[0].run == p.of.run {
		mine.creator = st.Version.Epoch == uses[0].epoch
	}
	for i := range uses {
		u := &uses[i]
		if u.member == mine.member && u.run == mine.run {
			continue
		}
		if u.member == mine.member && u.boot == mine.boot {
			c.breach("I1: SA %v: member %d sends again with boot number %d, which its IVs have held before", sa.desc.ID, p.of.id, p.boot)
		}
		if u.to < from || to < u.from {
			continue
		}
		// Two that took the SA over from the same owner without knowing of each
		// other may use the same numbers where the IV holds the member.
		if c.members[u.member].nonces() == ha.SequenceNonces && p.of.nonces() == ha.SequenceNonces || u.creator || mine.creator {
			c.breach("I1, I2: SA %v: numbers %d to %d of member %d overlap %d to %d of member %d",
				sa.desc.ID, from, to, p.of.id, u.from, u.to, u.member)
		}
	}
	if mine.creator {
		c.checkHolders(p, sa, to)
	}
	last := &uses[len(uses)-1]
	if last.member == mine.member && last.run == mine.run && last.creator == mine.creator && (last.to == 0 || last.to+1 == from) {
		last.from, last.to = min(last.from, from), to
		if last.from == 0 {
			last.from = from
		}
		return
	}
	c.uses[sa.desc.ID] = append(uses, mine)
}

// checkHolders holds an owner to its lease: nobody who stands by, wherever it
// is, would start at or below what is sent.
func (c *Cluster) checkHolders(p *plane, sa *planeSA, to uint64) {
	for _, m := range c.members {
		if m.plane == nil || m.plane == p {
			continue
		}
		if o := m.plane.sas[sa.desc.ID]; o != nil && !o.active && o.next <= to {
			c.breach("I2: SA %v: member %d sent number %d, but member %d would start with %d", sa.desc.ID, p.of.id, to, m.id, o.next)
		}
	}
}

// auditEvery is between two audits of a node's index: each looks at all tunnels.
const auditEvery = 32

// checkStep checks what must hold after every step of a member.
func (c *Cluster) checkStep(m *member, rd ha.Ready) {
	if m.steps++; m.steps%auditEvery == 0 {
		if err := m.node.Audit(); err != nil {
			c.breach("member %d: %v", m.id, err)
		}
	}
	for _, r := range rd.Restore {
		st, ok := m.node.Tunnel(r.Tunnel)
		switch {
		case !ok || !st.Owned:
			c.breach("I8: member %d restores %v, which it does not own", m.id, r.Tunnel)
		case m.node.Role() != ha.Standby:
			c.breach("I4: member %d took %v over while it was syncing", m.id, r.Tunnel)
		case r.Epoch.Count() > m.disk.Count:
			c.breach("I3: member %d took %v over with epoch %v, but has %d on disk", m.id, r.Tunnel, r.Epoch, m.disk.Count)
		}
		if r.Epoch < m.epochs[r.Tunnel] {
			c.breach("I5: member %d took %v over with epoch %v after %v", m.id, r.Tunnel, r.Epoch, m.epochs[r.Tunnel])
		}
		m.epochs[r.Tunnel] = r.Epoch
	}
}

// checkCommitted checks that what is about to be told to a client, as
// protected, is on enough other members (I6). A member that has just crashed
// may have acknowledged it. A peer that has ended its tunnel meanwhile has no use for
// what it was to hear before, and nobody must go on with that.
func (c *Cluster) checkCommitted(m *member, h held) {
	if c.clock.Now().Sub(c.crashed) < time.Second || !h.gone && m.buried[h.tunnel] {
		return
	}
	have := 0
	for _, o := range c.members {
		if o != m && o.up && o.has(h) {
			have++
		}
	}
	if need := min(c.cfg.MinAcks, len(c.members)-1); have < need {
		c.breach("I6: member %d tells the peer of %v what %d others have, not %d: request %d, child %v, gone %v", m.id, h.tunnel, have, need, h.mid, h.child, h.gone)
	}
}

// has tells whether m could go on where a message leaves the peer, or could
// before it learned of something newer, or of the end.
func (m *member) has(h held) bool {
	switch {
	case h.gone:
		_, ok := m.node.Tunnel(h.tunnel)
		return !ok
	case m.buried[h.tunnel]:
		return true // nobody goes on with it
	case h.child != (ipsec.SAID{}):
		return m.hadSA[h.child]
	default:
		return m.hadMID[h.tunnel] >= h.mid
	}
}

// checkSettled checks what a cluster must come to when nothing disturbs it: one
// owner for each tunnel, everything on everybody, and traffic that the clients
// take.
func (c *Cluster) checkSettled() {
	for _, m := range c.members {
		if c.breach_ == nil && m.node.Role() != ha.Standby {
			c.breach("member %d is still syncing: %+v", m.id, m.node.Peers())
		}
		for _, p := range m.node.Peers() {
			if !p.Alive || !p.Synced || !p.Complete || p.Armed {
				c.breach("member %d is not at peace with %+v", m.id, p)
			}
		}
		for _, id := range m.node.Tunnels() {
			c.checkOwned(id)
		}
	}
	c.checkUnits()
	for _, cl := range c.clients {
		if cl.up && c.breach_ == nil {
			cl.checkServed()
		}
	}
}

// checkUnits checks that each unit has one primary, who owns all that its members
// own.
func (c *Cluster) checkUnits() {
	for unit := range c.cfg.Units {
		var primaries []ipsec.MemberID
		for _, m := range c.members {
			if int(m.id)%c.cfg.Units != unit {
				continue
			}
			owned := 0
			for _, id := range m.node.Tunnels() {
				if st, ok := m.node.Tunnel(id); ok && st.Owned {
					owned++
				}
			}
			switch {
			case m.fit:
				primaries = append(primaries, m.id)
			case owned > 0:
				c.breach("member %d is subordinate in unit %d, and owns %d tunnels", m.id, unit, owned)
			}
		}
		if len(primaries) != 1 {
			c.breach("unit %d has primaries %v", unit, primaries)
		}
	}
}

// remember notes who knows that a tunnel was removed. Who forgets with a crash
// cannot keep it from coming back.
func (c *Cluster) remember(id ipsec.TunnelID) {
	runs := make([]int, len(c.members))
	for i, m := range c.members {
		if m.up && m.buried[id] {
			runs[i] = m.run
		}
	}
	c.removed[id] = runs
}

// checkOwned checks that a tunnel which somebody holds is owned by one, and on
// all others as the owner has it (I8).
func (c *Cluster) checkOwned(id ipsec.TunnelID) {
	for i, run := range c.removed[id] {
		if run != 0 && c.members[i].run == run {
			c.breach("I8: %v was removed, as member %d knows, and is back", id, i)
		}
	}
	owners, versions := 0, make(map[ha.Version]int)
	for _, m := range c.members {
		st, ok := m.node.Tunnel(id)
		if !ok {
			continue
		}
		if st.Owned {
			owners++
		}
		if !st.Complete {
			c.breach("member %d has %v in part only", m.id, id)
		}
		versions[st.Version]++
		active := 0
		for _, ch := range st.Children {
			if sa := m.plane.sas[ch.Out.ID]; sa != nil && sa.active {
				active++
			}
		}
		if st.Owned != (active == len(st.Children)) && len(st.Children) > 0 {
			c.breach("I7, I8: member %d owns %v: %v, but has %d of %d SAs active", m.id, id, st.Owned, active, len(st.Children))
		}
	}
	if owners != 1 {
		c.breach("I8: %v has %d owners", id, owners)
	}
	if len(versions) != 1 {
		c.breach("%v is there in versions %v", id, versions)
	}
}

// checkServed checks that a client gets packets and answers, unless its SA died
// with all who had it: then it has to dial again.
func (cl *client) checkServed() {
	if !cl.known() {
		cl.c.sum.Stranded++
		return
	}
	cl.c.sum.Served++
	if quiet := cl.c.clock.Now().Sub(cl.heard); quiet > time.Second {
		cl.c.breach("client %d took no packet of %v for %v (%d dropped)%s", cl.id, cl.out, quiet, cl.dropped, cl.standing())
	}
}

// known tells whether anybody has the SA that the client uses.
func (cl *client) known() bool {
	for _, m := range cl.c.members {
		st, _ := m.node.Tunnel(cl.tunnel)
		for _, ch := range st.Children {
			if ch.Out.ID == cl.out {
				return true
			}
		}
	}
	return false
}

// standing says what every member makes of the client's SA.
func (cl *client) standing() string {
	var out strings.Builder
	for _, m := range cl.c.members {
		if sa := m.plane.sas[cl.out]; sa != nil {
			fmt.Fprintf(&out, "; at %d next %d, ceiling %d, active %v", m.id, sa.next, sa.ceiling, sa.active)
		}
	}
	return out.String()
}
