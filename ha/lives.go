package ha

// judge finds out, from the Hello of a new life of p, what its earlier lives may
// have sent without anybody knowing. What p had not armed it has not sent on
// without the owner's consent, and an arming is on disk before it (I3): so where
// no owner of a tunnel is among Armed, the new life may be given it again. It stays a
// Holder, to be asked: its dataplane may have lived on, and a life that is new to us
// may have owned the tunnel already, where we could not hear it.
func (n *Node) judge(p *peer, h Hello) {
	for _, t := range append(n.ownedBy(n.cfg.Member), n.others()...) {
		if t.past&h.Armed == 0 {
			continue
		}
		for _, c := range t.pairs() {
			if !n.owns(t) || c.Holders.Has(p.id) {
				n.bar(c, p)
			}
		}
	}
}

// bar keeps p from ever sending on c, and us from using more numbers of it.
func (n *Node) bar(c *child, p *peer) {
	c.Barred, c.Holders = c.Barred.With(p.id), c.Holders.Without(p.id)
	if n.owns(c.of) {
		c.proposal = nil
		n.wear(c, HolderForgot)
	}
}

// replaced notes that p comes with another disk: it can tell nothing of its
// earlier lives, and its boot numbers begin again. So it is barred from all that
// it may have held, until that has new keys.
func (n *Node) replaced(p *peer) {
	n.stats.DisksLost++
	p.retired = append(p.retired, p.disk)
	if len(p.retired) > maxRetired {
		p.retired = p.retired[1:]
	}
	for _, t := range append(n.ownedBy(n.cfg.Member), n.others()...) {
		for _, c := range t.pairs() {
			if n.owns(t) && !c.Holders.Has(p.id) {
				continue
			}
			c.Barred, c.Holders = c.Barred.With(p.id), c.Holders.Without(p.id)
			if c.proposal != nil {
				c.proposal = nil
				n.wear(c, HolderForgot) // it is in need of numbers already
			} else if n.owns(t) {
				n.renew(c)
			}
		}
	}
}

// renewals is how many pairs get new keys per heartbeat because a member is barred
// from them. With the default that is some 300 a second, so that a machine which is
// replaced sets off no wave of negotiations.
const renewals = 16

// renew asks for new keys in the place of c, of ours, when its turn comes. It may send
// on; but for the member that is barred it does not exist: packets that routers hand
// to that one go nowhere, and it could not take the tunnel over.
func (n *Node) renew(c *child) {
	if !c.renewing {
		c.renewing = true
		n.renewing = append(n.renewing, c)
	}
}

// renewDue asks for the new keys of some pairs.
func (n *Node) renewDue() {
	batch := n.renewing[:min(renewals, len(n.renewing))]
	n.renewing = n.renewing[len(batch):]
	for _, c := range batch {
		c.renewing = false
		if n.bySA[c.In.ID] == c && n.owns(c.of) {
			n.wear(c, HolderForgot)
		}
	}
}

// forgetArming takes back HardState.Armed once nothing is armed and every
// configured member has all that came of it. After that a new life of ours
// answers for the old one without it.
func (n *Node) forgetArming() {
	if n.hard.Armed == 0 {
		return
	}
	for _, e := range n.armed {
		if e != 0 {
			return
		}
	}
	for _, p := range n.peers {
		if p != nil && !p.synced {
			return
		}
	}
	if !n.marked {
		n.marked = true
		n.confess()
		for _, p := range n.peers {
			if p != nil {
				p.mark = p.out.end()
			}
		}
	}
	for _, p := range n.peers {
		if p != nil && p.out.base <= p.mark {
			return
		}
	}
	n.hard.Armed, n.unsure = 0, 0
	n.persist()
}
