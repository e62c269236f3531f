package ike

import (
	"errors"
	"fmt"
	"time"

	"github.com/evergate/evergate/ike/wire"
)

// onDatagram handles what came from the network. Nothing in it is trusted
// before it is known to be authentic, and what is not is dropped without a
// word.
func (t *Tunnel) onDatagram(d Datagram) {
	t.from = d
	h, err := wire.ParseHeader(d.Payload)
	if err != nil {
		t.drop(DropMalformed)
		return
	}
	sa := t.lookup(h)
	if sa == nil {
		t.drop(DropUnknownSPI)
		return
	}
	// The Initiator flag names the original initiator of the IKE SA, so what has
	// ours was sent by us.
	if h.Flags.Initiator() == sa.initiator {
		t.drop(DropReflected)
		return
	}
	if h.Flags.Response() {
		t.onResponse(sa, h)
	} else {
		t.onRequest(sa, h)
	}
}

func (t *Tunnel) onResponse(sa *ikeSA, h wire.Header) {
	if payloads := t.syncMessage(sa, h); payloads != nil {
		t.onIDs(sa, payloads)
		return
	}
	r := sa.pending
	if r == nil || h.MessageID != r.id || h.Exchange != r.exchange || sa.role == roleDead {
		t.drop(DropMessageID)
		return
	}
	if h.Exchange == wire.IKESAInit {
		t.onInitResponse(sa, h)
		return
	}
	payloads, err := t.open(sa, &sa.reParts)
	if errors.Is(err, errNothing) {
		return
	}
	t.env.Stats.ResponsesIn.count(h.Exchange)
	t.heard()
	sa.pending, sa.reParts = nil, nil
	t.publish()
	if err == nil && wire.FindNotify(payloads, wire.InvalidSyntax) != nil {
		err = &PeerError{Notify: wire.InvalidSyntax, During: h.Exchange.String()}
	}
	if err != nil {
		t.onBadResponse(r, err)
		return
	}
	t.onAnswer(sa, r, payloads)
}

// onAnswer hands an authentic response to whoever asked.
func (t *Tunnel) onAnswer(sa *ikeSA, r *request, payloads []wire.Payload) {
	switch r.task.kind {
	case taskAuth:
		t.onAuthResponse(sa, payloads)
	case taskCreate, taskRekeyChild:
		t.onChildResponse(sa, r, payloads)
	case taskRekeyIKE:
		t.onIKERekeyed(sa, r, payloads)
	case taskDeleteChild:
		t.onChildDeleted(r, payloads)
	case taskDeleteIKE:
		t.onIKEDeleted(sa)
	case taskInit, taskProbe:
		// That an answer came is all.
	}
}

// onBadResponse ends a tunnel whose peer answers nonsense, or takes what we say
// for nonsense (RFC 7296 section 2.21.3). A response cannot be answered, so there
// is nobody to tell.
func (t *Tunnel) onBadResponse(r *request, err error) {
	t.log().Warn("exchange made no sense", "exchange", r.exchange.String(), "error", err)
	t.fail(FailSyntax)
	t.finish(err)
}

func (t *Tunnel) onRequest(sa *ikeSA, h wire.Header) {
	if h.Exchange == wire.IKESAInit {
		t.onInitRequest(sa)
		return
	}
	if sa.opener == nil {
		t.drop(DropUnexpected)
		return
	}
	if sa.role != roleDead && (t.state == StateUp || t.state == StateClosing) {
		if payloads := t.syncMessage(sa, h); payloads != nil {
			t.onAskedIDs(sa, payloads)
			return
		}
	}
	if h.MessageID+1 == sa.recvID && sa.answer != nil {
		t.repeatAnswer(sa)
		return
	}
	if h.MessageID != sa.recvID || sa.role == roleDead {
		t.drop(DropMessageID)
		if h.MessageID > sa.recvID && sa.role != roleDead {
			if _, d := t.authentic(sa); d == NotDropped {
				t.doubt(sa)
			}
		}
		return
	}
	payloads, err := t.open(sa, &sa.inParts)
	if errors.Is(err, errNothing) {
		return
	}
	t.env.Stats.RequestsIn.count(h.Exchange)
	t.heard()
	t.confirm(sa)
	if err != nil {
		t.onBadRequest(sa, h, err)
		return
	}
	switch {
	case h.Exchange == wire.IKEAuth && t.state == StateAuth && !t.initiator:
		t.onAuthRequest(sa, payloads)
	case h.Exchange == wire.CreateChildSA && t.setup == nil:
		t.onCreateChild(sa, payloads)
	case h.Exchange == wire.Informational && t.setup == nil:
		t.onInformational(sa, payloads)
	default:
		t.badSyntax(sa, h.Exchange, fmt.Errorf("ike: %v request makes no sense now", h.Exchange))
	}
}

// badSyntax refuses an authentic request that makes no sense, and ends the
// tunnel: RFC 7296 section 2.21.3 makes INVALID_SYNTAX fatal at both ends,
// "meaning that the IKE SA is deleted without needing an explicit Delete
// payload".
func (t *Tunnel) badSyntax(sa *ikeSA, x wire.ExchangeType, err error) {
	t.log().Warn("peer's request made no sense", "exchange", x.String(), "error", err)
	t.respond(sa, x, &wire.Notify{Type: wire.InvalidSyntax})
	t.fail(FailSyntax)
	t.finish(err)
}

// onBadRequest answers an authentic request that cannot be read.
//
// "If the critical flag is set and the payload type is unrecognized, the
// message MUST be rejected and the response to the IKE request containing that
// payload MUST include a Notify payload UNSUPPORTED_CRITICAL_PAYLOAD". RFC 7296
// section 2.5. The IKE SA goes on; not so with INVALID_SYNTAX.
func (t *Tunnel) onBadRequest(sa *ikeSA, h wire.Header, err error) {
	var bad *wire.Error
	if errors.As(err, &bad) && bad.Notify == wire.UnsupportedCriticalPayload {
		t.log().Warn("peer's request had an unknown critical payload", "exchange", h.Exchange.String(), "error", err)
		t.respond(sa, h.Exchange, &wire.Notify{Type: bad.Notify, Data: []byte{byte(bad.Payload)}})
		if t.setup != nil {
			t.refusePeer(FailSyntax, err)
		}
		return
	}
	t.badSyntax(sa, h.Exchange, err)
}

// repeatAnswer sends the last response again, octet by octet, when a request
// that it answers comes again. Of a fragmented one only the first fragment
// counts (RFC 7383 section 2.6.1), or each would bring a whole response.
func (t *Tunnel) repeatAnswer(sa *ikeSA) {
	switch number, d := t.authentic(sa); {
	case d != NotDropped:
		t.drop(d)
	case number == 1:
		t.env.Stats.Repeated++
		t.transmit(t.from.Local, t.from.Remote, sa.answer)
	}
}

// authentic tells why the message that is being handled is not from the peer,
// NotDropped when it is, and which fragment it is, 1 for a whole one. Its octets
// are of no use after that.
func (t *Tunnel) authentic(sa *ikeSA) (number uint16, d Drop) {
	m, err := wire.Decode(t.from.Payload)
	if err != nil {
		return 0, DropMalformed
	}
	number = 1
	if f := wire.Find[*wire.SKF](m.Payloads); f != nil {
		number = f.Number
		_, err = f.Open(sa.opener)
	} else if sk := wire.Find[*wire.SK](m.Payloads); sk != nil {
		_, err = sk.Open(sa.opener)
	} else {
		return 0, DropUnprotected
	}
	if err != nil {
		return 0, DropIntegrity
	}
	return number, NotDropped
}

// errNothing says that there is nothing to handle: a message is not authentic, or
// not yet whole.
var errNothing = errors.New("ike: nothing to handle")

// open authenticates and decrypts the message that is being handled, one
// fragment at a time. All errors but errNothing are about the contents of an
// authentic one.
func (t *Tunnel) open(sa *ikeSA, p **parts) ([]wire.Payload, error) {
	m, err := wire.Decode(t.from.Payload)
	if err != nil {
		return nil, t.ignore(DropMalformed)
	}
	var first wire.PayloadType
	var plain []byte
	switch f, sk := wire.Find[*wire.SKF](m.Payloads), wire.Find[*wire.SK](m.Payloads); {
	case sk != nil:
		first = sk.First
		plain, err = sk.Open(sa.opener)
	case f != nil && t.fragments:
		first, plain, err = t.openFragment(sa, p, f)
	default:
		// Anybody can send an INVALID_IKE_SPI, so it changes nothing: dead peer
		// detection finds out whether there is something in it.
		if wire.FindNotify(m.Payloads, wire.InvalidIKESPI) != nil {
			t.env.Stats.InvalidSPIsIn++
		}
		return nil, t.ignore(DropUnprotected)
	}
	var bad *wire.Error
	switch {
	case err == nil:
		return wire.DecodePayloads(first, plain)
	case errors.As(err, &bad), errors.Is(err, errNothing):
		return nil, err
	default:
		return nil, t.ignore(DropIntegrity)
	}
}

// openFragment returns the whole contents with the last fragment.
func (t *Tunnel) openFragment(sa *ikeSA, p **parts, f *wire.SKF) (wire.PayloadType, []byte, error) {
	plain, err := f.Open(sa.opener)
	if err != nil {
		return 0, nil, err
	}
	t.env.Stats.FragmentsIn++
	if *p == nil {
		*p = &parts{}
	}
	first, all, whole, err := (*p).join(f, plain)
	switch {
	case err != nil:
		return 0, nil, t.ignore(DropFragment)
	case !whole:
		return 0, nil, errNothing
	default:
		return first, all, nil
	}
}

func (t *Tunnel) ignore(d Drop) error {
	t.drop(d)
	return errNothing
}

// heard notes that a fresh authentic message came.
func (t *Tunnel) heard() {
	t.lastIn, t.probeAt = t.now, time.Time{}
	t.follow(t.from)
}

// firstError returns the first error notification of a response, nil when there
// is none.
func firstError(payloads []wire.Payload) *wire.Notify {
	for _, p := range payloads {
		if n, ok := p.(*wire.Notify); ok && n.Type.IsError() {
			return n
		}
	}
	return nil
}
