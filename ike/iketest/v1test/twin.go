package v1test

import (
	"math/rand/v2"
	"time"

	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1"
)

// Resume makes a tunnel go on from a snapshot.
type Resume func(env ike.Env, p ike.Policy, snapshot []byte, now time.Time) (*v1.Tunnel, error)

// Twins gives every tunnel a twin before each step: made from its snapshot, with
// the same randomness to come. It must do the same as the original, octet by
// octet: that is what makes a snapshot the full state. A twin knows no other
// tunnels and assigns no addresses, so steps that need them are not compared.
func Twins(r Resume) Option { return func(c *Config) { c.resume = r } }

// twin is the original's copy before a step, nil when there is to be none.
func (e *End) twin(t *v1.Tunnel, in ike.Input) *v1.Tunnel {
	e.Pair.TB.Helper()
	resume := e.Pair.config.resume
	if resume == nil || t.Standby() {
		return nil
	}
	switch t.Status(e.Pair.Now).State {
	case ike.StateIdle, ike.StateClosed:
		return nil
	default:
	}
	if _, refused := in.(ike.Refused); refused {
		return nil // it belongs to the step before, and so to who made that
	}
	state, err := e.rand.MarshalBinary()
	if err != nil {
		e.Pair.TB.Fatalf("the randomness of %s cannot be copied: %v", e.Name, err)
	}
	stream := &rand.ChaCha8{}
	if err := stream.UnmarshalBinary(state); err != nil {
		e.Pair.TB.Fatalf("the randomness of %s cannot be copied: %v", e.Name, err)
	}
	env := e.Env
	env.Rand, env.Stats = stream, &ike.Stats{}
	twin, err := resume(env, e.Policy, t.Snapshot(e.Pair.Now), e.Pair.Now)
	if err != nil {
		e.Pair.TB.Fatalf("%s's tunnel does not come back from its snapshot: %v", e.Name, err)
	}
	return twin
}
