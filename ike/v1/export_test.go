package v1

import (
	"time"

	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1/wire"
)

// Resume makes a tunnel that goes on exactly where the snapshot was made, for
// v1test.Twins.
func Resume(env ike.Env, p ike.Policy, snapshot []byte, now time.Time) (*Tunnel, error) {
	return restore(&env, p, snapshot, now)
}

// Forge is the first message of an exchange of phase 2, authentic and encrypted,
// with payloads that nobody has checked: rest, whose first one is of type first.
func (t *Tunnel) Forge(kind wire.ExchangeType, id uint32, first wire.PayloadType, rest []byte) []byte {
	hash := t.sa.keys.Hash1(id, rest)
	chain := append([]byte{byte(first), 0, 0, byte(4 + len(hash))}, hash...)
	x := &exchange{kind: kind, sa: t.sa, id: id, iv: t.sa.keys.ExchangeIV(t.sa.lastBlock, id)}
	return t.message(x, wire.PayloadHash, append(chain, rest...), true)
}
