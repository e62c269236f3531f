package ike

import (
	"time"

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
