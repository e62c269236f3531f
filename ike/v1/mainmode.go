package v1

import (
	"bytes"
	"fmt"

	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/v1/keymat"
	"github.com/evergate/evergate/ike/v1/wire"
)

// Main mode with a pre-shared key (RFC 2409 section 5.4):
//
//	1  HDR, SA          -->
//	2                   <--    HDR, SA
//	3  HDR, KE, Ni      -->
//	4                   <--    HDR, KE, Nr
//	5  HDR*, IDii, HASH_I -->
//	6                   <--    HDR*, IDir, HASH_R
//
// Vendor ids go with 1 and 2, NAT-D with 3 and 4 (RFC 3947 section 3.2).

// answerFirst is the responder's answer to message 1.
func (t *Tunnel) answerFirst(sa *isakmpSA, f *firstMessage) {
	t.setup.first = nil
	t.state = ike.StateInit
	sa.suite, sa.life = f.choice.suite, f.choice.life
	sa.phase1 = &phase1{conns: f.conns, method: f.choice.method, sa: bytes.Clone(wire.Find[*wire.SA](f.payloads).Raw)}
	sa.main.step = 1
	t.peer.announced(f.payloads)
	if sa.main.kind == wire.Aggressive {
		t.aggressive1(sa, f)
		return
	}
	answer := append([]wire.Payload{&wire.SA{Proposals: []wire.Proposal{f.proposal}}}, vendors(t.conn)...)
	t.emit(sa.main, false, false, answer...)
}

// main2 is the initiator's receipt of the choice.
func (t *Tunnel) main2(sa *isakmpSA, m wire.Message) bool {
	if m.Header.Encrypted() || m.Header.CookieR == 0 {
		t.drop(ike.DropUnexpected)
		return false
	}
	if err := t.acceptChoice(sa, wire.Find[*wire.SA](m.Payloads)); err != nil {
		t.refusePhase1(sa, ike.FailNoProposal, err)
		return false
	}
	ke, err := suite.NewKE(sa.suite.Group, t.env.Rand)
	if err != nil {
		t.refusePhase1(sa, ike.FailKE, err)
		return false
	}
	sa.cookieR, sa.phase1.ke = m.Header.CookieR, ke
	sa.main.step++
	payloads := []wire.Payload{&wire.KE{Data: ke.Public()}, &wire.Nonce{Data: sa.phase1.ni}}
	return t.emit(sa.main, false, true, append(payloads, t.natPayloads(sa)...)...)
}

// main3 is the responder's key exchange.
func (t *Tunnel) main3(sa *isakmpSA, m wire.Message) bool {
	p := sa.phase1
	ke, err := suite.NewKE(sa.suite.Group, t.env.Rand)
	if err != nil {
		t.refusePhase1(sa, ike.FailKE, err)
		return false
	}
	p.ke = ke
	if err := sa.takePublic(m.Payloads); err != nil {
		t.log.Warn("peer's key exchange was not acceptable", "error", err, "remote", t.remote)
		t.drop(ike.DropInvalidKE)
		return false
	}
	t.local, t.remote = t.from.Local, t.from.Remote
	t.detectNAT(sa, m.Payloads)
	p.nr = nonce(t.env)
	sa.main.step++
	payloads := []wire.Payload{&wire.KE{Data: ke.Public()}, &wire.Nonce{Data: p.nr}}
	return t.emit(sa.main, false, false, append(payloads, t.natPayloads(sa)...)...)
}

// main4 is the initiator's proof.
func (t *Tunnel) main4(sa *isakmpSA, m wire.Message) bool {
	if err := sa.takePublic(m.Payloads); err != nil {
		t.log.Warn("peer's key exchange was not acceptable", "error", err, "remote", t.remote)
		t.drop(ike.DropInvalidKE)
		return false
	}
	p := sa.phase1
	var err error
	if sa.keys, err = sa.derive(t.conn); err != nil {
		t.refusePhase1(sa, ike.FailPSK, err)
		return false
	}
	t.detectNAT(sa, m.Payloads)
	t.float()
	sa.main.iv = sa.keys.FirstIV(p.publicI, p.publicR)
	id := t.identity(t.conn)
	if p.idI, err = wire.Body(id); err != nil {
		t.refusePhase1(sa, ike.FailIdentity, err)
		return false
	}
	sa.main.step++
	payloads := []wire.Payload{id, &wire.Hash{Data: sa.keys.HashI(sa.proof())}}
	return t.emit(sa.main, true, true, append(payloads, t.initialContact(sa)...)...)
}

// initialContact says, once, that we know of no older SA with the peer (RFC 2407
// section 4.6.3.3).
func (t *Tunnel) initialContact(sa *isakmpSA) []wire.Payload {
	if t.setup == nil || !t.setup.initialContact {
		return nil
	}
	t.env.Stats.InitialContactsOut++
	return []wire.Payload{&wire.Notify{
		Protocol: wire.ProtocolISAKMP, SPI: wire.Cookies(sa.cookieI, sa.cookieR), Kind: wire.InitialContact,
	}}
}

// main5 is the responder's check of the initiator's proof. Whose it is, is not
// known before it is decrypted, so the key of every connection that may be meant
// is tried: a message that decrypts to a proof of one tells which it is.
func (t *Tunnel) main5(sa *isakmpSA, m wire.Message) bool {
	if !m.Header.Encrypted() {
		t.drop(ike.DropUnprotected)
		return false
	}
	f, err := t.tryConnections(sa, m)
	if err != nil {
		t.drop(ike.DropIntegrity)
		t.reportProof(sa, err)
		return false
	}
	p := sa.phase1
	t.local, t.remote = t.from.Local, t.from.Remote
	if err := t.identify(f.conn, f.id); err != nil {
		sa.keys, sa.main.iv, sa.lastBlock = f.keys, f.next, f.next
		t.refuseIdentity(sa, err)
		return true
	}
	t.become(f.conn)
	sa.keys, sa.main.iv = f.keys, f.next
	if wire.FindNotify(f.chain.Payloads, wire.InitialContact) != nil && t.setup != nil {
		t.setup.contact = true
	}
	id := t.identity(t.conn)
	if p.idR, err = wire.Body(id); err != nil {
		t.refusePhase1(sa, ike.FailIdentity, err)
		return false
	}
	sa.main.step++
	hash := &wire.Hash{Data: sa.keys.HashR(sa.proof())}
	if !t.emit(sa.main, true, false, id, hash) {
		return false
	}
	t.lastIn, sa.proven = t.now, true
	t.complete(sa, f.id)
	return true
}

// found is the connection whose key fits a proof.
type found struct {
	conn  *ike.Connection
	keys  *keymat.Keys
	chain wire.Chain
	next  []byte // IV
	id    *wire.ID
}

// tryConnections looks for the connection with whose key the peer has proven an
// identity. One that also wants that identity goes before others.
func (t *Tunnel) tryConnections(sa *isakmpSA, m wire.Message) (found, error) {
	var proven []found
	for _, c := range sa.phase1.conns {
		if c.PSK.Len() == 0 {
			continue
		}
		k, err := sa.derive(c)
		if err != nil {
			return found{}, err
		}
		chain, next, err := sa.open(k, m)
		if err != nil {
			continue
		}
		id, hash := wire.Find[*wire.ID](chain.Payloads), wire.Find[*wire.Hash](chain.Payloads)
		if id == nil || hash == nil {
			continue
		}
		if sa.phase1.idI, err = wire.Body(id); err != nil {
			continue
		}
		if keymat.Equal(hash.Data, k.HashI(sa.proof())) {
			proven = append(proven, found{c, k, chain, next, id})
		}
	}
	if len(proven) == 0 {
		return found{}, fmt.Errorf("ike/v1: the peer's proof verifies with the pre-shared key of none of %s", connectionNames(sa.phase1.conns))
	}
	best := proven[0]
	for _, f := range proven {
		if t.identify(f.conn, f.id) == nil && (t.identify(best.conn, best.id) != nil || best.conn.RemoteID.IsZero() && !f.conn.RemoteID.IsZero()) {
			best = f
		}
	}
	return best, nil
}

// reportProof tells the operator, once per half-open tunnel, that the peer has
// another key; the true message may still come.
func (t *Tunnel) reportProof(sa *isakmpSA, err error) {
	if t.setup == nil || t.setup.reported {
		return
	}
	t.setup.reported = true
	t.fail(ike.FailPSK)
	t.log.Warn("peer's proof of identity did not verify", "remote", t.remote, "error", err,
		"connections", connectionNames(sa.phase1.conns), "check", "psksecret")
}

// refuseIdentity tells a peer that has the key that it is not the one that is
// wanted, and keeps the half-open tunnel a while.
func (t *Tunnel) refuseIdentity(sa *isakmpSA, err error) {
	t.log.Warn("no connection for the peer's identity", "remote", t.remote, "error", err, "check", "peerid and localid")
	t.inform(sa, &wire.Notify{Protocol: wire.ProtocolISAKMP, Kind: wire.InvalidIDInformation})
	if t.setup == nil {
		t.candidateFailed(sa)
		return
	}
	t.fail(ike.FailIdentity)
	t.setup.refused = err
	t.setup.deadline = t.now.Add(failedTime)
}

// main6 is the initiator's check of the responder's proof.
func (t *Tunnel) main6(sa *isakmpSA, m wire.Message) bool {
	if !m.Header.Encrypted() {
		t.drop(ike.DropUnprotected)
		return false
	}
	chain, next, err := sa.open(sa.keys, m)
	if err != nil {
		t.drop(ike.DropIntegrity)
		return false
	}
	id, hash := wire.Find[*wire.ID](chain.Payloads), wire.Find[*wire.Hash](chain.Payloads)
	if id == nil || hash == nil {
		t.drop(ike.DropIntegrity)
		return false
	}
	if sa.phase1.idR, err = wire.Body(id); err != nil || !keymat.Equal(hash.Data, sa.keys.HashR(sa.proof())) {
		t.drop(ike.DropIntegrity)
		return false
	}
	if err := t.identify(t.conn, id); err != nil {
		sa.lastBlock = next
		t.inform(sa, &wire.Notify{Protocol: wire.ProtocolISAKMP, Kind: wire.InvalidIDInformation})
		t.refusePhase1(sa, ike.FailIdentity, err)
		return false
	}
	sa.main.iv = next
	sa.main.step++
	sa.main.sent, sa.proven = nil, true
	t.heard(sa)
	t.complete(sa, id)
	return true
}

// become settles which connection the peer is of.
func (t *Tunnel) become(c *ike.Connection) {
	if t.setup == nil || c == t.conn {
		return
	}
	t.conn = c
	t.log = t.env.Log.With("tunnel", t.id.String(), "connection", c.Name)
}
