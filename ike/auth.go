package ike

import (
	"errors"
	"fmt"

	"github.com/evergate/evergate/ike/wire"
)

// IKE_AUTH with a pre-shared key, RFC 7296 sections 1.2 and 2.15.

// sendAuth says who we are, proves it, and asks for the first child.
func (t *Tunnel) sendAuth() error {
	t.localID = ourIdentity(t.conn, t.local.Addr())
	conf := childNamed(t.conn, t.setup.child)
	if conf == nil {
		return fmt.Errorf("ike: connection %s has no child %q", t.conn.Name, t.setup.child)
	}
	payloads := []wire.Payload{&wire.IDi{ID: t.localID.body()}}
	if t.setup.initialContact {
		t.env.Stats.InitialContactsOut++
		payloads = append(payloads, &wire.Notify{Type: wire.InitialContact})
	}
	if id := t.conn.RemoteID; !id.IsZero() && id.Type != IDText {
		payloads = append(payloads, &wire.IDr{ID: id.body()})
	}
	payloads = append(payloads, &wire.Auth{
		Method: wire.AuthSharedKey,
		Data:   t.sa.prf().SharedKeyAuth(t.conn.PSK, t.signedOctets(true, t.localID.body())),
	})
	o, child, err := t.offerChild(conf, childWish{want: t.setup.want, first: true})
	if err != nil {
		return err
	}
	t.setup.offer = o
	payloads = append(append(payloads, child...), ourSync(t.conn).payloads()...)
	t.sa.sendID = 1
	if !t.send(t.sa, wire.IKEAuth, task{kind: taskAuth}, offer{}, payloads...) {
		return errors.New("ike: IKE_AUTH request could not be encoded")
	}
	return nil
}

// signedOctets are what the AUTH of one side covers.
func (t *Tunnel) signedOctets(initiator bool, id wire.ID) []byte {
	if initiator {
		return t.signedRequest(t.setup.request, id)
	}
	return t.sa.prf().SignedOctets(t.sa.keys.P(false), t.setup.response, t.setup.ni, id.Octets())
}

// signedRequest are what the initiator's AUTH covers, if request is its own.
func (t *Tunnel) signedRequest(request []byte, id wire.ID) []byte {
	return t.sa.prf().SignedOctets(t.sa.keys.P(true), request, t.setup.nr, id.Octets())
}

// onAuthResponse checks who the responder is, and takes the first child.
func (t *Tunnel) onAuthResponse(sa *ikeSA, payloads []wire.Payload) {
	idr, auth := wire.Find[*wire.IDr](payloads), wire.Find[*wire.Auth](payloads)
	if idr == nil || auth == nil {
		t.onAuthRefused(payloads)
		return
	}
	t.remoteID = identityOf(idr.ID)
	if err := t.checkResponder(idr.ID, auth); err != nil {
		// "If the error occurs on the initiator, the notification MAY be returned
		// in a separate INFORMATIONAL exchange, usually with no other
		// payloads." RFC 7296 section 2.21.2.
		t.send(sa, wire.Informational, task{kind: taskDeleteIKE}, offer{}, &wire.Notify{Type: wire.AuthenticationFailed})
		t.finish(err)
		return
	}
	s := t.setup
	t.support = ourSync(t.conn).and(syncSupportOf(payloads))
	t.up()
	t.out.Established = &Established{Remote: t.remoteID}
	t.info("ike sa up", "remote", t.remote, "remote_id", text(t.remoteID.String), "suite", text(sa.suite.String), "nat", t.nat.encap)
	t.firstChild(s, payloads)
	if s.child == childNamed(t.conn, "").Name {
		for _, c := range t.conn.Children[1:] {
			t.enqueue(task{kind: taskCreate, child: c.Name})
		}
	}
}

// firstChild takes what the IKE_AUTH response says about the child. Whatever it
// is, the IKE SA stays.
func (t *Tunnel) firstChild(s *setup, payloads []wire.Payload) {
	conf := childNamed(t.conn, s.child)
	x := childExchange{sa: t.sa, ni: s.ni, nr: s.nr}
	if n := firstError(payloads); n != nil {
		t.childRefused(conf.Name, n)
		return
	}
	c, err := t.takeChild(conf, s.offer, x, payloads)
	if err != nil {
		t.childUnusable(conf.Name, c, err)
		return
	}
	t.installPair(c)
}

func (t *Tunnel) onAuthRefused(payloads []wire.Payload) {
	n := firstError(payloads)
	if n == nil {
		t.log().Warn("peer's ike_auth response lacked identity or proof", "remote", t.remote)
		t.fail(FailSyntax)
		t.finish(errors.New("ike: IKE_AUTH response without IDr or AUTH"))
		return
	}
	t.log().Warn("peer refused to authenticate us", "notify", n.Type.String(), "remote", t.remote, "our_id", t.localID.String(),
		"check", "psksecret, and that the peer expects our id")
	t.fail(failureOf(n.Type))
	t.finish(&PeerError{Notify: n.Type, During: "IKE_AUTH"})
}

func (t *Tunnel) checkResponder(id wire.ID, auth *wire.Auth) error {
	if !t.conn.RemoteID.Accepts(t.remoteID) {
		t.log().Warn("peer has another identity", "remote", t.remote, "remote_id", t.remoteID.String(),
			"want", t.conn.RemoteID.String(), "check", "peerid")
		t.fail(FailIdentity)
		return fmt.Errorf("ike: the peer is %v, want %v", t.remoteID, t.conn.RemoteID)
	}
	if auth.Method != wire.AuthSharedKey {
		t.log().Warn("peer authenticates in another way", "remote", t.remote, "method", auth.Method.String(),
			"check", "that the peer is set to a pre-shared key")
		t.fail(FailPSK)
		return fmt.Errorf("ike: the peer authenticates by %v, want a pre-shared key", auth.Method)
	}
	if !t.sa.prf().CheckSharedKeyAuth(t.conn.PSK, t.signedOctets(false, id), auth.Data) {
		t.log().Warn("peer's proof of identity did not verify", "remote", t.remote, "remote_id", t.remoteID.String(), "check", "psksecret")
		t.fail(FailPSK)
		return errors.New("ike: the peer's AUTH does not verify with our pre-shared key")
	}
	return nil
}

// onAuthRequest checks who the initiator is, answers, and makes the child that
// it asks for.
func (t *Tunnel) onAuthRequest(sa *ikeSA, payloads []wire.Payload) {
	if t.setup.refused != nil {
		t.drop(DropUnexpected)
		return
	}
	idi, auth := wire.Find[*wire.IDi](payloads), wire.Find[*wire.Auth](payloads)
	if idi == nil {
		t.respond(sa, wire.IKEAuth, &wire.Notify{Type: wire.InvalidSyntax})
		t.refusePeer(FailSyntax, errors.New("ike: IKE_AUTH request without IDi"))
		return
	}
	t.remoteID = identityOf(idi.ID)
	conn, err := t.authenticate(idi.ID, wire.Find[*wire.IDr](payloads), auth)
	if err != nil {
		t.respond(sa, wire.IKEAuth, &wire.Notify{Type: err.Notify})
		t.refusePeer(err.Failure, err)
		return
	}
	t.conn = conn
	t.logger = nil
	t.localID = ourIdentity(conn, t.local.Addr())
	t.fragments = t.fragments && !conn.NoFragmentation
	id := t.localID.body()
	answer := []wire.Payload{
		&wire.IDr{ID: id},
		&wire.Auth{Method: wire.AuthSharedKey, Data: sa.prf().SharedKeyAuth(conn.PSK, t.signedOctets(false, id))},
	}
	t.support = ourSync(t.conn).and(syncSupportOf(payloads))
	answer = append(answer, t.support.payloads()...)
	contact := wire.FindNotify(payloads, wire.InitialContact) != nil
	if contact {
		t.env.Stats.InitialContactsIn++
	}
	x := childExchange{sa: sa, ni: t.setup.ni, nr: t.setup.nr, first: true}
	t.up()
	t.out.Established = &Established{Remote: t.remoteID, InitialContact: contact}
	t.info("ike sa up", "remote", t.remote, "remote_id", text(t.remoteID.String), "suite", text(sa.suite.String), "nat", t.nat.encap)
	c, child, err := t.answerChild(x, nil, payloads)
	if err != nil {
		t.refuseChild(err)
		t.respond(sa, wire.IKEAuth, append(answer, err.payload())...)
		return
	}
	t.refusal = &refusal{sa: sa, child: c, exchange: wire.IKEAuth, rest: answer}
	t.installPair(c)
	t.respond(sa, wire.IKEAuth, append(answer, child...)...)
}

// authenticate finds the connection whose conditions and key the peer meets.
func (t *Tunnel) authenticate(idi wire.ID, idr *wire.IDr, auth *wire.Auth) (*Connection, *LocalError) {
	c := claim{id: t.remoteID}
	if idr != nil {
		c.want = identityOf(idr.ID)
	}
	all := t.env.policy.ForAddresses(t.local.Addr().Unmap(), t.remote.Addr().Unmap())
	fit := candidates(all, c, t.sa.suite.Proposal(), t.local.Addr())
	if len(fit) == 0 {
		t.log().Warn("no connection for the peer's identity", "remote", t.remote, "remote_id", c.id.String(), "asked_for", c.want.String(),
			"connections", wantedIDs(all), "check", "peerid and localid")
		return nil, refuse(wire.AuthenticationFailed, FailIdentity, "no connection for %v that asks for %v", c.id, c.want)
	}
	if auth == nil || auth.Method != wire.AuthSharedKey {
		method := "EAP"
		if auth != nil {
			method = auth.Method.String()
		}
		t.log().Warn("peer authenticates in another way", "remote", t.remote, "remote_id", c.id.String(), "method", method,
			"connections", connectionNames(fit), "check", "that the peer is set to a pre-shared key")
		return nil, refuse(wire.AuthenticationFailed, FailPSK, "%v authenticates by %s, want a pre-shared key", c.id, method)
	}
	for _, request := range [][]byte{t.setup.request, t.setup.withCookie} {
		if request == nil {
			continue
		}
		signed := t.signedRequest(request, idi)
		for _, conn := range fit {
			if conn.PSK.Len() > 0 && t.sa.prf().CheckSharedKeyAuth(conn.PSK, signed, auth.Data) {
				return conn, nil
			}
		}
	}
	t.log().Warn("peer's proof of identity did not verify", "remote", t.remote, "remote_id", c.id.String(),
		"connections", connectionNames(fit), "check", "psksecret")
	return nil, refuse(wire.AuthenticationFailed, FailPSK, "AUTH of %v does not verify with the pre-shared key of %s", c.id, connectionNames(fit))
}

// refusePeer leaves a half-open tunnel that has refused its peer, so that a
// retransmitted request finds the same answer.
func (t *Tunnel) refusePeer(f Failure, err error) {
	t.fail(f)
	t.setup.refused = err
	t.setup.deadline = t.now.Add(failedTime)
}
