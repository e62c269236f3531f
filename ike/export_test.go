package ike

import (
	"time"

	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/wire"
)

// Resume makes a tunnel that goes on exactly where the snapshot was made, as if
// nothing had happened; Restore makes a silent one.
func Resume(env Env, p Policy, snapshot []byte, now time.Time) (*Tunnel, error) {
	return restore(&env, p, snapshot, now)
}

// Say makes a tunnel send a request of the test's own: what a faulty or newer
// peer might say.
func Say(t *Tunnel, now time.Time, x wire.ExchangeType, payloads ...wire.Payload) []Datagram {
	t.now, t.out = now, Ready{}
	t.send(t.sa, x, task{kind: taskProbe}, offer{}, payloads...)
	return t.out.Send
}

// Mislabel changes the type of the first payload inside a sealed message of t's,
// so that it is authentic and makes no sense.
func Mislabel(t *Tunnel, message []byte, first wire.PayloadType) error {
	const skHeader, body = wire.HeaderLen, wire.HeaderLen + 4
	o, err := suite.NewOpener(t.sa.suite, t.sa.keys.From(t.sa.initiator))
	if err != nil {
		return err
	}
	if _, err := o.Open(message, body); err != nil {
		return err
	}
	message[skHeader] = byte(first)
	return t.sa.sealer.Seal(message, body)
}
