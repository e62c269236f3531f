package v1

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/v1/keymat"
	"github.com/evergate/evergate/ike/v1/wire"
)

// What main and aggressive mode have in common (RFC 2409 section 5).

// phase1 is what an ISAKMP SA knows until it is authenticated.
type phase1 struct {
	// conns are the connections that the peer may be of, until it has proven its
	// identity; one where we initiate.
	conns  []*ike.Connection
	method uint16
	// sa is the body of the initiator's SA payload, which the proofs cover.
	sa               []byte
	ni, nr           []byte
	ke               *suite.KE
	publicI, publicR []byte
	shared           ipsec.Key
	idI, idR         []byte // bodies of the Identification payloads
}

func (p *phase1) wipe() {
	if p == nil {
		return
	}
	if p.ke != nil {
		p.ke.Wipe()
	}
	p.shared.Wipe()
}

// firstMessage is a first message that we are willing to answer.
type firstMessage struct {
	conns    []*ike.Connection
	choice   phase1Choice
	proposal wire.Proposal
	id       ike.Identity // of aggressive mode
	payloads []wire.Payload
}

// startPhase1 sends the first message of an ISAKMP SA.
func (t *Tunnel) startPhase1(sa *isakmpSA) error {
	offer := suites(t.conn.Proposals)
	if len(offer) == 0 {
		return fmt.Errorf("ike/v1: connection %s has no proposal that IKEv1 can offer", t.conn.Name)
	}
	kind := wire.MainMode
	if t.conn.V1.Aggressive {
		kind = wire.Aggressive
	}
	sa.life = t.conn.Lifetime.Hard.Time
	sa.main = &exchange{kind: kind, sa: sa, initiator: true}
	sa.phase1 = &phase1{conns: []*ike.Connection{t.conn}, method: method(t.conn, true), ni: nonce(t.env)}
	if kind == wire.Aggressive {
		return t.startAggressive(sa, offer)
	}
	payload := phase1Offer(offer, sa.phase1.method, sa.life)
	var err error
	if sa.phase1.sa, err = wire.Body(payload); err != nil {
		return err
	}
	if !t.emit(sa.main, false, true, append([]wire.Payload{payload}, vendors(t.conn)...)...) {
		return errEncode
	}
	return nil
}

var errEncode = errors.New("ike/v1: the first message could not be encoded")

// onPhase1 handles a message of main or aggressive mode.
func (t *Tunnel) onPhase1(sa *isakmpSA, h wire.Header) {
	x, digest := sa.main, sha256.Sum256(t.from.Payload)
	switch {
	case h.MessageID != 0 || h.Exchange != x.kind:
		t.drop(ike.DropUnexpected)
		return
	case x.step > 0 && digest == x.heard:
		t.repeatAnswer(x)
		return
	case t.setup != nil && t.setup.first != nil:
		x.heard = digest
		t.answerFirst(sa, t.setup.first)
		return
	case sa.phase1 == nil || t.setup != nil && t.setup.refused != nil:
		t.drop(ike.DropMessageID)
		return
	}
	m, err := wire.Decode(t.from.Payload)
	if err != nil {
		t.drop(ike.DropMalformed)
		return
	}
	t.peer.announced(m.Payloads)
	// A message that makes no sense may be anybody's: the true one may still come.
	if t.takePhase1(sa, m) && t.state != ike.StateClosed {
		x.heard = digest
		if sa.phase1 == nil {
			t.authenticated(sa)
		}
	}
}

// takePhase1 handles the message that is due; false for one that is not.
func (t *Tunnel) takePhase1(sa *isakmpSA, m wire.Message) bool {
	step := sa.main.step + 1
	switch {
	case sa.main.kind == wire.Aggressive && sa.initiator && step == 2:
		return t.aggressive2(sa, m)
	case sa.main.kind == wire.Aggressive && !sa.initiator && step == 3:
		return t.aggressive3(sa, m)
	case sa.main.kind == wire.MainMode && sa.initiator && step == 2:
		return t.main2(sa, m)
	case sa.main.kind == wire.MainMode && !sa.initiator && step == 3:
		return t.main3(sa, m)
	case sa.main.kind == wire.MainMode && sa.initiator && step == 4:
		return t.main4(sa, m)
	case sa.main.kind == wire.MainMode && !sa.initiator && step == 5:
		return t.main5(sa, m)
	case sa.main.kind == wire.MainMode && sa.initiator && step == 6:
		return t.main6(sa, m)
	default:
		t.drop(ike.DropUnexpected)
		return false
	}
}

// refusePhase1 ends a phase 1 that cannot succeed.
func (t *Tunnel) refusePhase1(sa *isakmpSA, f ike.Failure, err error) {
	t.log.Warn("phase 1 failed", "error", err, "remote", t.remote)
	if t.setup == nil {
		t.env.Stats.Failures[f]++
		t.candidateFailed(sa)
		return
	}
	t.fail(f)
	t.finish(err)
}

// acceptChoice checks the responder's choice against what we offered.
func (t *Tunnel) acceptChoice(sa *isakmpSA, answer *wire.SA) error {
	if answer == nil || len(answer.Proposals) != 1 || len(answer.Proposals[0].Transforms) != 1 {
		return errors.New("ike/v1: the peer's answer does not have one transform")
	}
	c, ok := readPhase1(answer.Proposals[0].Transforms[0])
	if !ok || c.method != sa.phase1.method {
		return errors.New("ike/v1: the peer chose a transform that we do not know")
	}
	for _, s := range suites(t.conn.Proposals) {
		if s == c.suite {
			sa.suite = s
			return nil
		}
	}
	return fmt.Errorf("ike/v1: the peer chose %v, which we did not offer", c.suite)
}

// derive makes the keys when the peer's public value and nonce are there, with
// the pre-shared key of a connection.
func (sa *isakmpSA) derive(c *ike.Connection) (*keymat.Keys, error) {
	p := sa.phase1
	return keymat.Derive(sa.suite, keymat.Exchange{
		PSK: c.PSK, Shared: p.shared, Ni: p.ni, Nr: p.nr,
		CookieI: sa.cookieI, CookieR: sa.cookieR,
	})
}

func (sa *isakmpSA) proof() keymat.Proof {
	p := sa.phase1
	return keymat.Proof{
		Exchange: keymat.Exchange{CookieI: sa.cookieI, CookieR: sa.cookieR, PublicI: p.publicI, PublicR: p.publicR},
		SA:       p.sa, IDi: p.idI, IDr: p.idR,
	}
}

// takePublic finishes the key exchange with the peer's half.
func (sa *isakmpSA) takePublic(payloads []wire.Payload) error {
	ke, n := wire.Find[*wire.KE](payloads), wire.Find[*wire.Nonce](payloads)
	if ke == nil || n == nil {
		return errors.New("ike/v1: a message lacks KE or NONCE")
	}
	p := sa.phase1
	shared, err := p.ke.Shared(ke.Data)
	if err != nil {
		return err
	}
	p.shared = shared
	if sa.initiator {
		p.publicI, p.publicR, p.nr = p.ke.Public(), bytes.Clone(ke.Data), bytes.Clone(n.Data)
	} else {
		p.publicI, p.publicR, p.ni = bytes.Clone(ke.Data), p.ke.Public(), bytes.Clone(n.Data)
	}
	return nil
}

// open decrypts a message of phase 1, without moving the exchange on.
func (sa *isakmpSA) open(k *keymat.Keys, m wire.Message) (wire.Chain, []byte, error) {
	iv := sa.main.iv
	if iv == nil {
		iv = k.FirstIV(sa.phase1.publicI, sa.phase1.publicR)
	}
	plain, next, err := k.Decrypt(iv, m.Sealed)
	if err != nil {
		return wire.Chain{}, nil, err
	}
	chain, err := wire.DecodeChain(m.Header.Next, plain)
	return chain, next, err
}

// identify checks the identity that the peer has proven.
func (t *Tunnel) identify(c *ike.Connection, id *wire.ID) error {
	claimed := identityOf(id)
	if !c.RemoteID.Accepts(claimed) {
		return fmt.Errorf("ike/v1: the peer is %v, connection %s wants %v", claimed, c.Name, c.RemoteID)
	}
	return nil
}

// identity is our Identification payload.
func (t *Tunnel) identity(c *ike.Connection) *wire.ID {
	id := c.LocalID
	if id.Type == ike.IDNone {
		id = ike.AddrIdentity(t.local.Addr().Unmap())
	}
	t.localID = onWire(id)
	return &wire.ID{Kind: wire.IDType(t.localID.Type), Data: []byte(t.localID.Data)}
}

// authenticated goes on when phase 1 is done.
func (t *Tunnel) authenticated(sa *isakmpSA) {
	x := sa.main
	sa.lastBlock = x.iv
	t.over(x)
	if t.setup != nil && t.initiator {
		t.setup.deadline = t.now.Add(defaultSetupTime) // phase 1 itself ends with its retransmissions
	}
	sa.schedule(t.env, t.now)
	t.tellLifetime(sa)
	switch {
	case usesXAuth(t.conn):
		sa.stage = stageXAuth
		if t.setup != nil {
			t.state = ike.StateAuth
		}
		if len(t.conn.V1.XAuth.Users) > 0 {
			t.askUser(sa)
		}
	default:
		t.configure(sa)
	}
}

// tellLifetime tells an initiator that its ISAKMP SA ends earlier here than it
// has offered (RFC 2407 section 4.6.3.1).
func (t *Tunnel) tellLifetime(sa *isakmpSA) {
	own := t.conn.Lifetime.Hard.Time
	if sa.initiator || own == 0 || sa.life != 0 && sa.life <= own {
		return
	}
	sa.shorten(t.env, own)
	t.inform(sa, &wire.Notify{
		Protocol: wire.ProtocolISAKMP, SPI: wire.Cookies(sa.cookieI, sa.cookieR), Kind: wire.ResponderLifetime,
		Data: attributes(wire.Number(p1LifeType, lifeSeconds), wire.Number(p1LifeDuration, seconds(own))),
	})
}

// complete ends phase 1 with an identity that is proven.
func (t *Tunnel) complete(sa *isakmpSA, id *wire.ID) {
	if t.setup != nil {
		t.remoteID = identityOf(id)
	}
	sa.keys.ID.Wipe()
	sa.phase1.wipe()
	sa.phase1 = nil
}
