package ike

import (
	"errors"
	"fmt"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/wire"
)

// Rekeying, RFC 7296 sections 1.3.2, 1.3.3, 2.8 and 2.18. What happens when both
// ends do it at once is in collide.go.

// rekeyed finds the pair that a REKEY_SA notification names.
//
// "If a peer receives a request to rekey a Child SA that it is currently trying
// to close, it SHOULD reply with TEMPORARY_FAILURE. [...] If a peer receives a
// request to rekey a Child SA that does not exist, it SHOULD reply with
// CHILD_SA_NOT_FOUND." RFC 7296 section 2.25.1.
//
// One that does not exist may be what an answer on its way is about; then we ask
// the peer for time as well.
func (t *Tunnel) rekeyed(sa *ikeSA, n *wire.Notify) (*childSA, *LocalError) {
	spi, _ := n.ESPSPI()
	old := t.childByOut(spi)
	switch {
	case old == nil && t.makingChild(sa):
		t.env.Stats.TemporaryFailuresOut++
		t.env.Stats.Collisions++
		return nil, refuse(wire.TemporaryFailure, FailOther, "the child sa %v may be in an answer on its way", spi)
	case old == nil || n.Protocol != wire.ProtocolESP:
		e := refuse(wire.ChildSANotFound, FailOther, "the peer rekeys the unknown child sa %v", spi)
		e.spi = n.SPI
		return nil, e
	case old.state != childUp:
		t.env.Stats.TemporaryFailuresOut++
		t.env.Stats.Collisions++
		return nil, refuse(wire.TemporaryFailure, FailOther, "the child sa %v is being closed", spi)
	}
	return old, nil
}

// replace installs what a rekey of the peer's made: inbound at once, because the
// peer sends as soon as it has the response; outbound when the old pair's Delete
// shows that the peer has it. Until then what we send on the new SA might come
// before the response that the peer needs to decrypt it (RFC 7296 section 2.8).
func (t *Tunnel) replace(sa *ikeSA, old, c *childSA, x childExchange) {
	t.installInbound(c)
	t.cancel(func(k task) bool { return k.kind == taskRekeyChild && k.spi == old.in })
	old.successor = c.in
	if t.collidesChild(sa, old, c, x) {
		return
	}
	old.state = childReplaced
	t.env.Stats.ChildRekeys++
}

// onChildRekeyed takes the pair that our own rekey made. The old one is nil when
// the peer has deleted it meanwhile.
func (t *Tunnel) onChildRekeyed(r *request, old, c *childSA, x childExchange) {
	if v := r.offer.rival; v != nil {
		t.settleChild(v, old, c, x)
		return
	}
	t.env.Stats.ChildRekeys++
	t.refusal = &refusal{sa: x.sa, child: c}
	t.installPair(c)
	if old == nil {
		return
	}
	old.successor = c.in
	t.closeChild(old)
}

// startRekeyIKE asks for a successor of the IKE SA.
func (t *Tunnel) startRekeyIKE(k task) {
	if t.state != StateUp || t.sa.successor != 0 || len(t.others) >= maxGenerations {
		return
	}
	group, ok := firstGroup(t.conn.Proposals)
	if k.group != ipsec.GroupNone {
		group = k.group
	}
	ke, err := suite.NewKE(group, t.env.Rand)
	if !ok || err != nil {
		t.log().Error("ike sa could not be rekeyed", "error", err)
		return
	}
	o := offer{nonce: t.env.nonce(), ke: ke, ikeSPI: t.env.ikeSPI(), proposals: t.conn.Proposals}
	t.send(t.sa, wire.CreateChildSA, k, o,
		&wire.SA{Proposals: ikeProposals(o.proposals, wire.IKESPIBytes(o.ikeSPI))},
		&wire.Nonce{Data: o.nonce},
		&wire.KE{Group: group, Data: ke.Public()})
}

// onIKERekeyed takes the answer to a rekey of the IKE SA.
func (t *Tunnel) onIKERekeyed(old *ikeSA, r *request, payloads []wire.Payload) {
	defer r.offer.wipe()
	if n := firstError(payloads); n != nil {
		t.onIKERekeyRefused(old, r, n)
		return
	}
	next, low, err := t.takeIKE(old, r, payloads)
	if err != nil {
		// The peer has an IKE SA that we lack. It cannot be told on the new one;
		// that it deletes the old one, or rekeys again, is left to it.
		t.log().Warn("peer's answer for the ike sa was not acceptable", "error", err)
		t.again(r.task)
		return
	}
	if r.offer.rival != nil {
		t.settleIKE(old, next, r.offer.rival, low)
		return
	}
	t.env.Stats.IKERekeys++
	t.succeed(old, next)
	t.startDeleteIKE(old)
}

func (t *Tunnel) onIKERekeyRefused(old *ikeSA, r *request, n *wire.Notify) {
	if r.offer.rival != nil {
		t.adoptRival(old, r.offer.rival)
		return
	}
	switch {
	case n.Type == wire.TemporaryFailure:
		t.env.Stats.TemporaryFailuresIn++
		t.again(r.task)
	case n.Type == wire.InvalidKEPayload && len(n.Data) == 2 && r.task.tries < maxInitTries &&
		offersGroup(t.conn.Proposals, ipsec.GroupID(n.Data[0])<<8|ipsec.GroupID(n.Data[1])):
		k := r.task
		k.tries++
		k.group = ipsec.GroupID(n.Data[0])<<8 | ipsec.GroupID(n.Data[1])
		t.enqueue(k)
	default:
		t.log().Warn("peer refused to rekey the ike sa", "notify", n.Type.String(), "check", "the peer's log")
		t.again(r.task)
	}
}

// takeIKE makes the IKE SA that a response agreed on, and tells the lower nonce
// of the exchange.
func (t *Tunnel) takeIKE(old *ikeSA, r *request, payloads []wire.Payload) (*ikeSA, []byte, error) {
	chosen, ke, nonce := wire.Find[*wire.SA](payloads), wire.Find[*wire.KE](payloads), wire.Find[*wire.Nonce](payloads)
	if chosen == nil || ke == nil || nonce == nil {
		return nil, nil, errors.New("ike: response for the IKE SA lacks SA, KE or Nonce")
	}
	s, err := verifyIKE(r.offer.proposals, chosen)
	if err != nil {
		return nil, nil, err
	}
	spi, ok := chosen.Proposals[0].IKESPI()
	if !ok || spi == 0 {
		return nil, nil, errors.New("ike: response for the IKE SA has no SPI")
	}
	if ke.Group != s.Group || r.offer.ke.Group() != s.Group {
		return nil, nil, fmt.Errorf("ike: the peer chose %v, the keys are for %v and %v", s.Group, r.offer.ke.Group(), ke.Group)
	}
	shared, err := r.offer.ke.Shared(ke.Data)
	if err != nil {
		return nil, nil, err
	}
	defer shared.Wipe()
	next := &ikeSA{spiI: r.offer.ikeSPI, spiR: spi, initiator: true, suite: s}
	err = t.keySuccessor(old, next, suite.Exchange{Shared: shared, Ni: r.offer.nonce, Nr: nonce.Data, SPIi: next.spiI, SPIr: next.spiR})
	return next, lowest(r.offer.nonce, nonce.Data), err
}

// keySuccessor derives the keys of a rekeyed IKE SA and starts its lifetime.
func (t *Tunnel) keySuccessor(old, next *ikeSA, x suite.Exchange) error {
	var err error
	if next.keys, err = next.suite.Rekeyed(old.suite.PRF, old.keys.D, x); err != nil {
		return err
	}
	next.keys.Proven() // IKE_AUTH is over
	if err := next.protect(t.env, t.ivStart()); err != nil {
		return err
	}
	next.schedule(t.env, t.now, t.conn.Lifetime)
	return nil
}

// succeed makes next the current IKE SA; the Child SAs are the tunnel's, so
// there is nothing to move (RFC 7296 section 2.8: the new IKE SA inherits them).
func (t *Tunnel) succeed(old, next *ikeSA) {
	t.forgetQuietly(next)
	t.others = append(t.others, old)
	old.role, next.role = roleReplaced, roleCurrent
	old.giveUpAt, next.giveUpAt = t.now.Add(replacedTime), time.Time{}
	t.sa = next
	t.inherit(old)
	t.log().Info("ike sa rekeyed", "suite", next.suite.String(), "spi", next.local().String())
	t.publish()
}

// inherit starts what was under way on the old IKE SA again: the peer has not
// done it, because it was busy rekeying, or it does no harm twice.
func (t *Tunnel) inherit(old *ikeSA) {
	r := old.pending
	if r == nil {
		return
	}
	switch r.task.kind {
	case taskCreate, taskRekeyChild, taskDeleteChild, taskDeleteIKE:
		old.pending, old.reParts = nil, nil
		r.offer.wipe()
		t.enqueue(r.task)
	default:
	}
}

// forgetQuietly takes an IKE SA out of the others because it becomes current.
func (t *Tunnel) forgetQuietly(sa *ikeSA) {
	kept := t.others[:0:0]
	for _, o := range t.others {
		if o != sa {
			kept = append(kept, o)
		}
	}
	t.others = kept
}

// onRekeyIKE answers a request for a successor of the IKE SA.
//
// "If a peer receives a request to rekey the IKE SA, and it is currently
// creating, rekeying, or closing a Child SA of that IKE SA, it SHOULD reply with
// TEMPORARY_FAILURE." RFC 7296 section 2.25.1.
func (t *Tunnel) onRekeyIKE(sa *ikeSA, offered *wire.SA, ni []byte, payloads []wire.Payload) {
	if sa != t.sa || t.closing(sa) || t.busyWithChild(sa) || len(t.others) >= maxGenerations {
		t.putOff(sa)
		return
	}
	next, answer, low, err := t.answerIKE(sa, offered, ni, wire.Find[*wire.KE](payloads))
	if err != nil {
		if err.Notify != wire.InvalidKEPayload {
			t.env.Stats.Failures[err.Failure]++
			t.log().Warn("ike sa rekey refused", "notify", err.Notify.String(), "error", err.Cause, "check", "proposal and dhgrp against the peer's")
		}
		t.respond(sa, wire.CreateChildSA, err.payload())
		return
	}
	if t.collidesIKE(sa, next, low) {
		t.respond(sa, wire.CreateChildSA, answer...)
		return
	}
	t.cancel(func(k task) bool { return k.kind == taskRekeyIKE })
	t.respond(sa, wire.CreateChildSA, answer...)
	t.await(sa, next)
}

// await keeps the old IKE SA in use until the peer shows that it has the new
// one: by a message on it, or by its Delete of the old one. If the response gets
// lost, what we send on the old one still reaches the peer; on the new one it
// would not.
func (t *Tunnel) await(old, next *ikeSA) {
	next.giveUpAt = t.now.Add(replacedTime)
	t.others = append(t.others, next)
	old.successor = next.local()
	old.softAt = time.Time{}
	t.publish()
}

// forgetCandidate gives up the successor that the peer has asked for when it begins
// something new on the old IKE SA. One that has the successor would do that there; this
// one has forgotten its request, as whoever synchronizes Message IDs does (RFC 6311
// section 8.1), and never saw our answer.
//
// "After the new equivalent IKE SA is created, the initiator deletes the old IKE SA, and
// the Delete payload to delete itself MUST be the last request sent over the old IKE SA."
// RFC 7296 section 2.8.
func (t *Tunnel) forgetCandidate(old *ikeSA) {
	next := t.candidate(old.successor)
	if old != t.sa || next == nil {
		return
	}
	t.log().Info("peer has not taken the successor of its ike sa", "spi_i", next.spiI.String(), "spi_r", next.spiR.String())
	old.successor = 0
	old.softAt = after(t.now, t.conn.Lifetime.Soft.Time)
	t.forget(next)
}

// confirm goes over to the successor that the peer has used.
func (t *Tunnel) confirm(sa *ikeSA) {
	if sa.role == roleCandidate && t.sa.successor == sa.local() {
		t.env.Stats.IKERekeys++
		t.succeed(t.sa, sa)
	}
}

// answerIKE makes the IKE SA that a request asks for.
func (t *Tunnel) answerIKE(old *ikeSA, offered *wire.SA, ni []byte, theirs *wire.KE) (*ikeSA, []wire.Payload, []byte, *LocalError) {
	ps, from := offeredFor(offered, wire.ProtocolIKE)
	chosen, i, err := suite.Select(t.conn.Proposals, ps)
	if err != nil {
		return nil, nil, nil, refuse(wire.NoProposalChosen, FailNoProposal, "%w", err)
	}
	s, err := suite.FromProposal(chosen)
	if err != nil {
		return nil, nil, nil, refuse(wire.NoProposalChosen, FailNoProposal, "%w", err)
	}
	spi, ok := from[i].IKESPI()
	if !ok || spi == 0 {
		return nil, nil, nil, refuse(wire.NoProposalChosen, FailSyntax, "the proposal for the IKE SA has no SPI")
	}
	shared, public, lerr := t.answerKE(s.Group, theirs)
	if lerr != nil {
		return nil, nil, nil, lerr
	}
	defer shared.Wipe()
	nr := t.env.nonce()
	next := &ikeSA{spiI: spi, spiR: t.env.ikeSPI(), suite: s, role: roleCandidate}
	if err := t.keySuccessor(old, next, suite.Exchange{Shared: shared, Ni: ni, Nr: nr, SPIi: next.spiI, SPIr: next.spiR}); err != nil {
		return nil, nil, nil, refuse(wire.NoProposalChosen, FailOther, "%w", err)
	}
	return next, []wire.Payload{
		&wire.SA{Proposals: []wire.Proposal{wire.NewProposal(from[i].Number, wire.ProtocolIKE, wire.IKESPIBytes(next.spiR), chosen)}},
		&wire.Nonce{Data: nr},
		&wire.KE{Group: s.Group, Data: public},
	}, lowest(ni, nr), nil
}
