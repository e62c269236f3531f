package v1

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/v1/keymat"
	"github.com/evergate/evergate/ike/v1/wire"
)

// Aggressive mode with a pre-shared key (RFC 2409 section 5.4):
//
//	1  HDR, SA, KE, Ni, IDii  -->
//	2                         <--    HDR, SA, KE, Nr, IDir, HASH_R
//	3  HDR, HASH_I            -->
//
// NAT-D goes with 2 and 3 (RFC 3947 section 3.2). We encrypt 3, as its rules
// allow, and take it in either form.

// startAggressive sends message 1. It carries a public value, so all that it
// offers is of one group: the preferred one.
func (t *Tunnel) startAggressive(sa *isakmpSA, offer []suite.Suite) error {
	p := sa.phase1
	group := offer[0].Group
	offer = slices.DeleteFunc(offer, func(s suite.Suite) bool { return s.Group != group })
	var err error
	if p.ke, err = suite.NewKE(group, t.env.Rand); err != nil {
		return err
	}
	payload, id := phase1Offer(offer, p.method, sa.life), t.identity(t.conn)
	if p.sa, err = wire.Body(payload); err != nil {
		return err
	}
	if p.idI, err = wire.Body(id); err != nil {
		return err
	}
	payloads := []wire.Payload{payload, &wire.KE{Data: p.ke.Public()}, &wire.Nonce{Data: p.ni}, id}
	if !t.emit(sa.main, false, true, append(payloads, vendors(t.conn)...)...) {
		return errEncode
	}
	return nil
}

// aggressive1 is the responder's answer to message 1. Demux has found the
// connections by the identity; the first of them is the peer's.
func (t *Tunnel) aggressive1(sa *isakmpSA, f *firstMessage) {
	p := sa.phase1
	var err error
	if p.ke, err = suite.NewKE(sa.suite.Group, t.env.Rand); err == nil {
		err = sa.takePublic(f.payloads)
	}
	p.nr = nonce(t.env)
	if err == nil {
		sa.keys, err = sa.derive(t.conn)
	}
	if err != nil {
		t.refusePhase1(sa, ike.FailKE, err)
		return
	}
	id := t.identity(t.conn)
	if p.idI, err = wire.Body(wire.Find[*wire.ID](f.payloads)); err == nil {
		p.idR, err = wire.Body(id)
	}
	if err != nil {
		t.refusePhase1(sa, ike.FailIdentity, err)
		return
	}
	sa.main.iv = sa.keys.FirstIV(p.publicI, p.publicR)
	payloads := []wire.Payload{
		&wire.SA{Proposals: []wire.Proposal{f.proposal}},
		&wire.KE{Data: p.ke.Public()}, &wire.Nonce{Data: p.nr}, id,
		&wire.Hash{Data: sa.keys.HashR(sa.proof())},
	}
	payloads = append(payloads, t.natPayloads(sa)...)
	t.emit(sa.main, false, true, append(payloads, vendors(t.conn)...)...)
}

// aggressive2 is the initiator's check of the responder's proof, and its own.
func (t *Tunnel) aggressive2(sa *isakmpSA, m wire.Message) bool {
	id, hash := wire.Find[*wire.ID](m.Payloads), wire.Find[*wire.Hash](m.Payloads)
	if m.Header.CookieR == 0 || id == nil || hash == nil {
		t.drop(ike.DropUnexpected)
		return false
	}
	p := sa.phase1
	if err := t.acceptChoice(sa, wire.Find[*wire.SA](m.Payloads)); err != nil {
		t.refusePhase1(sa, ike.FailNoProposal, err)
		return false
	}
	if sa.suite.Group != p.ke.Group() {
		t.refusePhase1(sa, ike.FailKE, fmt.Errorf("ike/v1: the peer chose %v, our key is for %v", sa.suite, p.ke.Group()))
		return false
	}
	sa.cookieR = m.Header.CookieR
	err := sa.takePublic(m.Payloads)
	if err == nil {
		sa.keys, err = sa.derive(t.conn)
	}
	if err == nil {
		p.idR, err = wire.Body(id)
	}
	if err != nil || !keymat.Equal(hash.Data, sa.keys.HashR(sa.proof())) {
		// Not authentic: go on as if it had not come. A responder with another key
		// is told apart from a forger only by the silence that follows.
		sa.cookieR, sa.keys = 0, nil
		t.drop(ike.DropIntegrity)
		t.reportProof(sa, fmt.Errorf("ike/v1: the responder's proof does not verify with our pre-shared key"))
		return false
	}
	if err := t.identify(t.conn, id); err != nil {
		t.refusePhase1(sa, ike.FailIdentity, err)
		return false
	}
	t.local, t.remote = t.from.Local, t.from.Remote
	t.detectNAT(sa, m.Payloads)
	t.float()
	sa.main.iv = sa.keys.FirstIV(p.publicI, p.publicR)
	sa.main.step++
	// From port 4500 the hashes are of port 4500.
	payloads := append([]wire.Payload{&wire.Hash{Data: sa.keys.HashI(sa.proof())}}, t.natPayloads(sa)...)
	if !t.emit(sa.main, true, false, append(payloads, t.initialContact(sa)...)...) {
		return false
	}
	t.lastIn = t.now
	t.complete(sa, id)
	return true
}

// aggressive3 is the responder's check of the initiator's proof.
func (t *Tunnel) aggressive3(sa *isakmpSA, m wire.Message) bool {
	payloads, next := m.Payloads, sa.main.iv
	if m.Header.Encrypted() {
		chain, iv, err := sa.open(sa.keys, m)
		if err != nil {
			t.drop(ike.DropIntegrity)
			t.reportProof(sa, err)
			return false
		}
		payloads, next = chain.Payloads, iv
	}
	hash := wire.Find[*wire.Hash](payloads)
	if hash == nil || !keymat.Equal(hash.Data, sa.keys.HashI(sa.proof())) {
		t.drop(ike.DropIntegrity)
		t.reportProof(sa, fmt.Errorf("ike/v1: the initiator's proof does not verify with the pre-shared key of %s", t.conn.Name))
		return false
	}
	t.local, t.remote = t.from.Local, t.from.Remote
	t.detectNAT(sa, payloads)
	if wire.FindNotify(payloads, wire.InitialContact) != nil && t.setup != nil {
		t.setup.contact = true
	}
	sa.main.iv = bytes.Clone(next)
	sa.main.step++
	sa.main.sent, sa.main.waiting, sa.proven = nil, false, true
	t.lastIn = t.now
	id, err := wire.ParseID(sa.phase1.idI)
	if err != nil {
		t.refusePhase1(sa, ike.FailIdentity, err)
		return false
	}
	t.complete(sa, id)
	return true
}
