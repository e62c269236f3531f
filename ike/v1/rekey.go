package v1

import (
	"slices"
	"time"

	"github.com/evergate/evergate/ike"
)

// Rekeying of phase 1. IKEv1 has no exchange for it: a new main or aggressive mode
// with the same peer makes a new ISAKMP SA, and the ESP SAs, which belong to the
// peer and not to an ISAKMP SA, go on.

// candidate is the ISAKMP SA with which we are rekeying, nil for none.
func (t *Tunnel) candidate() *isakmpSA {
	for _, sa := range t.others {
		if sa.stage < stageUp {
			return sa
		}
	}
	return nil
}

// startRekey begins a new phase 1 with the peer.
func (t *Tunnel) startRekey() {
	if t.candidate() != nil {
		return
	}
	t.makeRoom()
	sa := &isakmpSA{cookieI: cookie(t.env), initiator: true, began: t.now, giveUpAt: t.now.Add(defaultSetupTime)}
	t.others = append(t.others, sa)
	if err := t.startPhase1(sa); err != nil {
		t.log.Warn("phase 1 could not be rekeyed", "error", err)
		t.forget(sa)
	}
}

// makeRoom forgets the oldest of too many ISAKMP SAs.
func (t *Tunnel) makeRoom() {
	for len(t.others) >= maxGenerations-1 {
		t.forget(t.others[0])
	}
}

// candidateFailed gives a rekeying up, and tries again later.
func (t *Tunnel) candidateFailed(sa *isakmpSA) {
	t.log.Warn("rekeying of phase 1 failed", "remote", t.remote)
	t.forget(sa)
	if t.sa.stage == stageDead {
		t.finish(ike.ErrDeletedByPeer)
		return
	}
	t.rekeyTries++
	t.again(task{kind: taskRekeyIKE, tries: t.rekeyTries})
}

// take puts an ISAKMP SA to use that is authenticated and configured.
func (t *Tunnel) take(sa *isakmpSA) {
	sa.stage, sa.giveUpAt = stageUp, time.Time{}
	if t.setup != nil {
		t.up(sa)
		return
	}
	t.env.Stats.IKERekeys++
	t.rekeyTries = 0
	t.succeed(sa, t.now.Add(carryOverTime))
	if !sa.proven && !t.probeDue().IsZero() {
		t.probe = nil
		t.ask() // the answer proves it
	}
	t.publish()
}

// elsewhere is the ISAKMP SA, replaced or one of two rivals, on which the peer was heard
// since it was last heard on the current one, nil for none.
func (t *Tunnel) elsewhere() *isakmpSA {
	var last *isakmpSA
	for _, sa := range t.others {
		if (sa.stage == stageUp || sa.stage == stageReplaced) && sa.heard.After(t.sa.heard) && (last == nil || sa.heard.After(last.heard)) {
			last = sa
		}
	}
	return last
}

// goBack uses the ISAKMP SA again that was replaced by one of which the peer knows
// nothing: the last message of aggressive mode has got lost, or whom it was for, or
// what that one knew.
func (t *Tunnel) goBack(old *isakmpSA) {
	lost := t.sa
	t.log.Warn("peer does not know the new phase 1", "cookie_i", lost.cookieI.String(), "remote", t.remote)
	t.deleteISAKMP(lost)
	old.stage, t.probe = stageUp, nil
	t.swap(old)
	t.candidateFailed(lost)
}

// succeed lets sa take the place of the current ISAKMP SA, which we delete at
// until.
//
// When both ends have rekeyed at once there are two new ones, and both ends use
// the one whose initiator has the higher cookie. The other one stays until it
// expires or the peer deletes it: should the peer see it in another order, then
// nothing is lost.
func (t *Tunnel) succeed(sa *isakmpSA, until time.Time) {
	old := t.sa
	if !slices.Contains(t.others, sa) {
		t.others = append(t.others, sa)
	}
	rivals := old.born.After(sa.began) && old.initiator != sa.initiator && old.stage == stageUp
	if !rivals || sa.cookieI > old.cookieI {
		t.swap(sa)
	}
	t.log.Info("phase 1 rekeyed", "cookie_i", sa.cookieI.String(), "cookie_r", sa.cookieR.String())
	switch {
	case rivals:
		t.env.Stats.Collisions++
	case old.stage == stageDead:
		t.forget(old)
	default:
		old.stage, old.giveUpAt = stageReplaced, until
	}
}

// swap makes sa, one of the others, the current ISAKMP SA.
func (t *Tunnel) swap(sa *isakmpSA) {
	i := slices.Index(t.others, sa)
	t.sa, t.others[i] = sa, t.sa
	t.publish()
}

// predecessor is the tunnel of which t, whose phase 1 the peer began, is the
// rekeying: the one of the same peer at the same address, unless the peer says
// that it knows of none.
func (t *Tunnel) predecessor() *Tunnel {
	if t.demux == nil || t.initiator || t.setup == nil || t.setup.contact {
		return nil
	}
	for _, p := range t.demux.byPeer[peerKey{t.conn.Name, t.principal()}] {
		near := p.remote == t.remote || !p.nat.encap && !t.nat.encap && p.remote.Addr() == t.remote.Addr()
		if p != t && p.state == ike.StateUp && !p.standby && near {
			return p
		}
	}
	return nil
}

// inherit takes the ISAKMP SA of a tunnel that turned out to be a rekeying of t.
// What that one has to send, t sends with its next step, so that it is published
// before; the other one is over.
func (t *Tunnel) inherit(n *Tunnel) {
	t.now = n.now
	t.makeRoom()
	t.env.Stats.IKERekeys++
	t.env.Stats.Established[n.side()]++
	t.exchanges = append(t.exchanges, n.exchanges...)
	t.peer, t.nat = n.peer, n.nat
	if n.remote != t.remote {
		t.move(n.local, n.remote)
	}
	t.lastIn, t.lastOut = n.lastIn, n.lastOut
	t.succeed(n.sa, t.now.Add(t.patience()))
	t.out.Send = append(t.out.Send, n.out.Send...)
	t.publish()
	n.demux.woken = append(n.demux.woken, t)
	n.log.Info("peer rekeys an older tunnel", "older", t.id.String())
	n.state, n.exchanges, n.tasks = ike.StateClosed, nil, nil
	n.out = ike.Ready{Done: true}
}
