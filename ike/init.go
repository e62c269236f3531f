package ike

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/wire"
)

// IKE_SA_INIT, RFC 7296 section 1.2.

// initiate starts the tunnel, or asks for a child on one that is up.
func (t *Tunnel) initiate(in Initiate) {
	switch {
	case t.state == StateIdle && t.initiator:
		t.startInit(in)
	case t.state == StateUp:
		t.createNamed(in)
	case t.setup != nil && t.initiator && in.Child != t.setup.child:
		t.createNamed(in) // once the IKE SA is up
	}
}

func (t *Tunnel) startInit(in Initiate) {
	first := childNamed(t.conn, in.Child)
	if first == nil {
		t.log().Warn("no child to initiate", "child", in.Child)
		t.finish(fmt.Errorf("ike: connection %s has no child %q", t.conn.Name, in.Child))
		return
	}
	group, ok := firstGroup(t.conn.Proposals)
	if !ok {
		t.finish(fmt.Errorf("ike: connection %s has no key exchange method", t.conn.Name))
		return
	}
	t.env.Stats.Started[0]++
	t.state = StateInit
	t.setup.started = t.now
	t.setup.child, t.setup.want = first.Name, in.For
	t.setup.ni = t.env.nonce()
	t.setup.group = group
	t.sendInit()
}

// sendInit sends the IKE_SA_INIT request in its present form; it is always
// message 0.
func (t *Tunnel) sendInit() {
	s := t.setup
	if s.ke == nil || s.ke.Group() != s.group {
		ke, err := suite.NewKE(s.group, t.env.Rand)
		if err != nil {
			t.finish(fmt.Errorf("ike: start a key exchange: %w", err))
			return
		}
		s.ke = ke
	}
	t.sa.sendID = 0
	h := t.sa.header(wire.IKESAInit, false, 0)
	var payloads []wire.Payload
	if s.cookie != nil {
		// It goes first, and all other payloads stay as they were (RFC 7296
		// section 2.6).
		payloads = append(payloads, &wire.Notify{Type: wire.Cookie, Data: s.cookie})
	}
	payloads = append(payloads,
		&wire.SA{Proposals: ikeProposals(t.conn.Proposals, nil)},
		&wire.KE{Group: s.group, Data: s.ke.Public()},
		&wire.Nonce{Data: s.ni})
	payloads = append(payloads, t.natPayloads(h, t.conn.NATT, t.local, t.remote)...)
	payloads = append(payloads, t.supports()...)
	if t.send(t.sa, wire.IKESAInit, task{kind: taskInit}, offer{}, payloads...) {
		s.request = t.sa.pending.packets[0]
	}
}

// supports are the status notifications of our IKE_SA_INIT messages.
func (t *Tunnel) supports() []wire.Payload {
	if t.conn.NoFragmentation {
		return nil
	}
	return []wire.Payload{&wire.Notify{Type: wire.FragmentationSupported}}
}

// onInitResponse handles an IKE_SA_INIT response. It is not protected, so what
// makes no sense is dropped: the true one may still come.
func (t *Tunnel) onInitResponse(sa *ikeSA, h wire.Header) {
	m, err := wire.Decode(t.from.Payload)
	if err != nil {
		t.drop(DropMalformed)
		return
	}
	t.env.Stats.ResponsesIn.count(h.Exchange)
	if n := wire.FindNotify(m.Payloads, wire.Cookie); n != nil {
		t.onCookie(n)
		return
	}
	if n := wire.FindNotify(m.Payloads, wire.InvalidKEPayload); n != nil {
		t.onInvalidKE(n)
		return
	}
	if n := firstError(m.Payloads); n != nil {
		t.log().Warn("peer refused the ike sa", "notify", n.Type.String(), "remote", t.remote,
			"offered", proposalNames(t.conn.Proposals), "check", "proposal and dhgrp against the peer's")
		t.fail(failureOf(n.Type))
		t.finish(&PeerError{Notify: n.Type, During: "IKE_SA_INIT"})
		return
	}
	if err := t.acceptInit(sa, m); err != nil {
		t.log().Warn("peer's answer to ike_sa_init was not acceptable", "error", err, "remote", t.remote)
		t.fail(FailOther)
		t.finish(err)
	}
}

// onCookie begins again with the responder's cookie.
func (t *Tunnel) onCookie(n *wire.Notify) {
	if len(n.Data) == 0 || len(n.Data) > 64 || bytes.Equal(n.Data, t.setup.cookie) {
		t.drop(DropUnexpected)
		return
	}
	t.setup.cookie = bytes.Clone(n.Data)
	t.initAgain(wire.Cookie)
}

// onInvalidKE begins again with the group that the responder wants, if we
// offered it.
//
// "[...] the initiator MUST retry the IKE_SA_INIT with the corrected
// Diffie-Hellman group. The initiator MUST again propose its full set of
// acceptable cryptographic suites because the rejection message was
// unauthenticated and otherwise an active attacker could trick the endpoints
// into negotiating a weaker suite than a stronger one that they both prefer."
// RFC 7296 section 1.2.
func (t *Tunnel) onInvalidKE(n *wire.Notify) {
	if len(n.Data) != 2 {
		t.drop(DropMalformed)
		return
	}
	s := t.setup
	group := ipsec.GroupID(binary.BigEndian.Uint16(n.Data))
	if group == s.group || slices.Contains(s.tried, group) || !offersGroup(t.conn.Proposals, group) {
		t.log().Warn("peer wants a key exchange method that we do not offer", "group", group.String(), "remote", t.remote,
			"offered", proposalNames(t.conn.Proposals), "check", "dhgrp against the peer's")
		t.fail(FailKE)
		t.finish(&PeerError{Notify: wire.InvalidKEPayload, During: "IKE_SA_INIT"})
		return
	}
	s.tried = append(s.tried, s.group)
	s.group = group
	t.initAgain(wire.InvalidKEPayload)
}

func (t *Tunnel) initAgain(why wire.NotifyType) {
	t.setup.tries++
	if t.setup.tries > maxInitTries {
		t.log().Warn("peer kept asking to begin again", "notify", why.String(), "remote", t.remote)
		t.fail(FailPeer)
		t.finish(&PeerError{Notify: why, During: "IKE_SA_INIT"})
		return
	}
	t.sa.pending = nil
	t.sendInit()
}

// acceptInit takes the responder's choice and goes on to IKE_AUTH.
func (t *Tunnel) acceptInit(sa *ikeSA, m wire.Message) error {
	p := m.Payloads
	chosen, ke, nonce := wire.Find[*wire.SA](p), wire.Find[*wire.KE](p), wire.Find[*wire.Nonce](p)
	if chosen == nil || ke == nil || nonce == nil || m.Header.SPIr == 0 {
		return fmt.Errorf("ike: IKE_SA_INIT response lacks SA, KE, Nonce or the responder's SPI")
	}
	s, err := verifyIKE(t.conn.Proposals, chosen)
	if err != nil {
		return err
	}
	if s.Group != t.setup.group || ke.Group != s.Group {
		return fmt.Errorf("ike: the peer chose %v but sent a key for %v; ours was for %v", s.Group, ke.Group, t.setup.group)
	}
	shared, err := t.setup.ke.Shared(ke.Data)
	if err != nil {
		return err
	}
	defer shared.Wipe()
	sa.spiR, sa.suite = m.Header.SPIr, s
	t.setup.nr = bytes.Clone(nonce.Data)
	t.setup.response = bytes.Clone(t.from.Payload)
	if sa.keys, err = s.Keys(suite.Exchange{Shared: shared, Ni: t.setup.ni, Nr: t.setup.nr, SPIi: sa.spiI, SPIr: sa.spiR}); err != nil {
		return err
	}
	if err := sa.protect(t.env, t.ivStart()); err != nil {
		return err
	}
	t.nat = detectNAT(m.Header, t.conn.NATT, t.from.Local, t.from.Remote, p)
	t.fragments = !t.conn.NoFragmentation && wire.FindNotify(p, wire.FragmentationSupported) != nil
	t.float()
	sa.pending = nil
	t.state = StateAuth
	return t.sendAuth()
}

// verifyIKE checks that the choice is one of ours.
func verifyIKE(ours []ipsec.Proposal, chosen *wire.SA) (suite.Suite, error) {
	if len(chosen.Proposals) != 1 || chosen.Proposals[0].Protocol != wire.ProtocolIKE {
		return suite.Suite{}, fmt.Errorf("ike: the peer chose %d proposals, want one for IKE", len(chosen.Proposals))
	}
	answer, ok := chosen.Proposals[0].Offer()
	if !ok {
		return suite.Suite{}, fmt.Errorf("ike: the peer chose a transform with unknown attributes")
	}
	if err := suite.Verify(ours, int(chosen.Proposals[0].Number)-1, answer); err != nil {
		return suite.Suite{}, err
	}
	return suite.FromProposal(answer)
}

// initRequest is an IKE_SA_INIT request that we are willing to answer.
type initRequest struct {
	header  wire.Header
	conn    *Connection // the first that fits
	number  uint8       // of the proposal that is chosen
	chosen  ipsec.Proposal
	offered []ipsec.Proposal
	ke      *wire.KE
	nonce   []byte
	all     []wire.Payload
}

// onInitRequest answers the request that made the tunnel, and its
// retransmissions.
func (t *Tunnel) onInitRequest(sa *ikeSA) {
	switch {
	case t.state == StateIdle && !t.initiator && t.setup.first != nil:
		if err := t.answerInit(sa, t.setup.first); err != nil {
			t.log().Warn("ike_sa_init request was not acceptable", "error", err, "remote", t.remote)
			t.fail(FailKE)
			t.finish(err)
		}
	case t.setup != nil && sa.recvID == 1 && sa.answer != nil && bytes.Equal(t.from.Payload, t.setup.request):
		t.env.Stats.Repeated++
		t.transmit(t.from.Local, t.from.Remote, sa.answer)
	case t.setup != nil && sa.recvID == 1 && sa.answer != nil && isWithCookie(t.from.Payload, t.setup.request):
		// One copy of the request was asked for a cookie, and a later copy was
		// answered, as we were less busy by then. Whichever of our two messages the
		// initiator got last, its AUTH covers its own last request: "the entire first
		// message" (RFC 7296 section 2.15) is one of two now.
		t.env.Stats.Repeated++
		t.setup.withCookie = bytes.Clone(t.from.Payload)
		t.transmit(t.from.Local, t.from.Remote, sa.answer)
	default:
		t.drop(DropMessageID)
	}
}

// isWithCookie reports whether again is request with a cookie in front, and
// nothing else changed.
//
// "the initiator MUST retry the IKE_SA_INIT request, and include the COOKIE
// notification containing the received data as the first payload, and all other
// payloads unchanged." RFC 7296 section 2.6.
func isWithCookie(again, request []byte) bool {
	more := len(again) - len(request)
	if more <= 0 || len(request) < wire.HeaderLen || !bytes.Equal(again[wire.HeaderLen+more:], request[wire.HeaderLen:]) {
		return false
	}
	m, err := wire.Decode(again)
	if err != nil {
		return false
	}
	n, ok := m.Payloads[0].(*wire.Notify)
	return ok && n.Type == wire.Cookie
}

func (t *Tunnel) answerInit(sa *ikeSA, r *initRequest) error {
	s, err := suite.FromProposal(r.chosen)
	if err != nil {
		return err
	}
	ke, err := suite.NewKE(s.Group, t.env.Rand)
	if err != nil {
		return err
	}
	defer ke.Wipe()
	shared, err := ke.Shared(r.ke.Data)
	if err != nil {
		return err
	}
	defer shared.Wipe()
	t.setup.request = bytes.Clone(t.from.Payload)
	t.setup.ni, t.setup.nr = bytes.Clone(r.nonce), t.env.nonce()
	t.setup.offered = r.offered
	t.setup.first = nil
	sa.suite = s
	if sa.keys, err = s.Keys(suite.Exchange{Shared: shared, Ni: t.setup.ni, Nr: t.setup.nr, SPIi: sa.spiI, SPIr: sa.spiR}); err != nil {
		return err
	}
	if err := sa.protect(t.env, t.ivStart()); err != nil {
		return err
	}
	t.nat = detectNAT(r.header, t.conn.NATT, t.from.Local, t.from.Remote, r.all)
	t.fragments = !t.conn.NoFragmentation && wire.FindNotify(r.all, wire.FragmentationSupported) != nil
	t.state = StateAuth

	payloads := []wire.Payload{
		&wire.SA{Proposals: []wire.Proposal{wire.NewProposal(r.number, wire.ProtocolIKE, nil, r.chosen)}},
		&wire.KE{Group: s.Group, Data: ke.Public()},
		&wire.Nonce{Data: t.setup.nr},
	}
	if wire.FindNotify(r.all, wire.NATDetectionSourceIP) != nil {
		payloads = append(payloads, t.natPayloads(sa.header(wire.IKESAInit, true, 0), t.conn.NATT, t.from.Local, t.from.Remote)...)
	}
	if t.fragments {
		payloads = append(payloads, t.supports()...)
	}
	t.respond(sa, wire.IKESAInit, payloads...)
	if len(sa.answer) != 1 {
		return fmt.Errorf("ike: IKE_SA_INIT response could not be encoded")
	}
	t.setup.response = sa.answer[0]
	return nil
}

// ikeProposals are ps as the wire has them, each with the SPI of a rekey.
func ikeProposals(ps []ipsec.Proposal, spi []byte) []wire.Proposal {
	out := make([]wire.Proposal, len(ps))
	for i, p := range ps {
		out[i] = wire.NewProposal(uint8(i+1), wire.ProtocolIKE, spi, p)
	}
	return out
}

// firstGroup is the key exchange method that we prefer; false when there is
// none.
func firstGroup(ps []ipsec.Proposal) (ipsec.GroupID, bool) {
	for _, p := range ps {
		for _, tr := range p.OfType(ipsec.TypeKE) {
			if g := ipsec.GroupID(tr.ID); g != ipsec.GroupNone {
				return g, true
			}
		}
	}
	return ipsec.GroupNone, false
}

func offersGroup(ps []ipsec.Proposal, g ipsec.GroupID) bool {
	for _, p := range ps {
		for _, tr := range p.OfType(ipsec.TypeKE) {
			if ipsec.GroupID(tr.ID) == g {
				return true
			}
		}
	}
	return false
}

// ivStart is where the IVs of a new sealer begin: member and epoch were never
// together with these keys (invariant I1).
func (t *Tunnel) ivStart() suite.IV {
	return suite.IV{Member: t.env.Member, Epoch: t.ivEpoch()}
}

func (t *Tunnel) ivEpoch() uint32 {
	return (t.env.Boot<<12 | t.takeovers&maxTakeovers) & suite.MaxIVEpoch
}

// newTunnel is what both kinds of tunnels begin with.
func newTunnel(env *Env, conn *Connection, local, remote netip.AddrPort, spi ipsec.IKESPI, initiator bool) *Tunnel {
	return &Tunnel{
		env: env, conn: conn, initiator: initiator,
		id: ipsec.TunnelID(spi), local: local, remote: remote,
		setup: &setup{},
		sa:    &ikeSA{initiator: initiator},
	}
}
