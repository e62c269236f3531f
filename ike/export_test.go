package ike

import (
	"bytes"
	"errors"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/wire"
)

// Resume makes a tunnel that goes on exactly where the snapshot was made, as if
// nothing had happened; Restore makes a silent one.
func Resume(env Env, p Policy, snapshot []byte, now time.Time) (*Tunnel, error) {
	env.policy = p
	return restore(&env, snapshot, now)
}

// Say makes a tunnel send a request of the test's own: what a faulty or newer
// peer might say.
func Say(t *Tunnel, now time.Time, x wire.ExchangeType, payloads ...wire.Payload) []Datagram {
	t.begin(now, false)
	t.send(t.sa, x, task{kind: taskProbe}, offer{}, payloads...)
	return t.out.Send
}

// SayInstead is Say with the message ID of the request that t has sent last.
func SayInstead(t *Tunnel, now time.Time, x wire.ExchangeType, payloads ...wire.Payload) []Datagram {
	t.sa.sendID--
	return Say(t, now, x, payloads...)
}

// Answer makes a tunnel answer a request as the test wants, without a look at it.
func Answer(t *Tunnel, now time.Time, request Datagram, x wire.ExchangeType, payloads ...wire.Payload) []Datagram {
	t.begin(now, false)
	t.from = request
	t.respond(t.sa, x, payloads...)
	return t.out.Send
}

// SayAnything seals a request of t's whose contents are no payloads of ours: the
// first four octets and those after them, at least four in all, are as given.
func SayAnything(t *Tunnel, now time.Time, x wire.ExchangeType, first wire.PayloadType, contents []byte) (Datagram, error) {
	const skHeader, body = wire.HeaderLen, wire.HeaderLen + 4
	said := Say(t, now, x, &wire.Unknown{Type: 200, Body: contents[4:]})
	if len(said) != 1 {
		return Datagram{}, errors.New("the contents do not fit into one message")
	}
	message := said[0].Payload
	o, err := suite.NewOpener(t.sa.suite, t.sa.keys.From(t.sa.initiator))
	if err != nil {
		return Datagram{}, err
	}
	plain, err := o.Open(message, body)
	if err != nil {
		return Datagram{}, err
	}
	copy(plain, contents)
	message[skHeader] = byte(first)
	return said[0], t.sa.sealer.Seal(message, body)
}

// SetMessageID lets the exchanges that a begins go on from id.
func SetMessageID(a, b *Tunnel, id uint32) { a.sa.sendID, b.sa.recvID = id, id }

// MaxDeparted is how many last answers are kept.
const MaxDeparted = maxDeparted

// FarewellOf is what answers a request.
func FarewellOf(request Datagram, sent []Datagram) *Farewell {
	f, _ := farewell(request, sent)
	return f
}

// Complaint is what the log says of a reason.
func Complaint(d Drop) (text, check string) { return d.complaint() }

// ESPProposals are proposals as they are offered, first in IKE_AUTH.
func ESPProposals(ps []ipsec.Proposal, first bool) []ipsec.Proposal { return espProposals(ps, first) }

// Plain is a message for t, decrypted: its header, and its payloads as they were on
// the wire but for the padding. The message stays as it is.
func Plain(t *Tunnel, message []byte) (header, payloads []byte, err error) {
	m, err := wire.Decode(bytes.Clone(message))
	if err != nil {
		return nil, nil, err
	}
	sk := wire.Find[*wire.SK](m.Payloads)
	if sk == nil {
		return nil, nil, errors.New("the message is not encrypted")
	}
	plain, err := sk.Open(t.sa.opener)
	return message[:wire.HeaderLen], plain, err
}

// Ask makes a tunnel send a request of the test's own with the Message ID zero.
func Ask(t *Tunnel, now time.Time, payloads ...wire.Payload) ([]Datagram, error) {
	packets, err := t.encode(t.sa, t.sa.header(wire.Informational, false, 0), payloads)
	t.begin(now, false)
	t.transmit(t.local, t.remote, packets)
	return t.out.Send, err
}

// Forbid6311 makes tunnels that have not announced synchronizations.
func Forbid6311(tunnels ...*Tunnel) {
	for _, t := range tunnels {
		t.support = syncSupport{}
	}
}

// SetMessageIDs sets both windows.
func SetMessageIDs(t *Tunnel, send, recv uint32) { t.sa.sendID, t.sa.recvID = send, recv }

// Turning tells whether t has what belongs to a step.
func Turning(t *Tunnel) bool { return t.turn != nil }
