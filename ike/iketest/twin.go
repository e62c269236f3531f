package iketest

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
)

// Resume makes a tunnel go on from a snapshot.
type Resume func(env ike.Env, p ike.Policy, snapshot []byte, now time.Time) (*ike.Tunnel, error)

// Twins gives every tunnel a twin before each step: made from its snapshot, with
// the same randomness to come. It must do the same as the original, octet by
// octet: that is what makes a snapshot the full state.
func Twins(r Resume) Option { return func(c *Config) { c.resume = r } }

// twin is the original's copy before a step, nil when there is to be none.
func (e *End) twin(t *ike.Tunnel, in ike.Input) *ike.Tunnel {
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
	env := e.Env
	env.Rand, env.Stats = e.rand.clone(), &ike.Stats{}
	twin, err := resume(env, e.Policy, t.Snapshot(e.Pair.Now), e.Pair.Now)
	if err != nil {
		e.Pair.TB.Fatalf("%s's tunnel does not come back from its snapshot: %v", e.Name, err)
	}
	return twin
}

// CopyInput keeps two tunnels from decrypting the same octets in place.
func CopyInput(in ike.Input) ike.Input {
	if r, ok := in.(ike.Received); ok {
		r.Datagram.Payload = append([]byte(nil), r.Datagram.Payload...)
		return r
	}
	return in
}

// Compare holds what a tunnel and its twin ask for against each other.
func (g *Gateway) Compare(in ike.Input, r, twin ike.Ready) {
	g.TB.Helper()
	differ := func(what string) {
		g.TB.Helper()
		g.TB.Fatalf("after %T %s's tunnel and its twin differ in what they %s:\n%+v\n%+v", in, g.Name, what, r, twin)
	}
	if !slices.EqualFunc(r.Send, twin.Send, sameDatagram) {
		differ("send")
	}
	if !slices.EqualFunc(r.Install, twin.Install, sameSA) {
		differ("install")
	}
	if !slices.Equal(r.Remove, twin.Remove) {
		differ("remove")
	}
	if r.Done != twin.Done || r.Publish != twin.Publish || (r.Move == nil) != (twin.Move == nil) || (r.Shift == nil) != (twin.Shift == nil) || (r.Established == nil) != (twin.Established == nil) {
		differ("announce")
	}
}

func sameDatagram(a, b ike.Datagram) bool {
	return a.Local == b.Local && a.Remote == b.Remote && bytes.Equal(a.Payload, b.Payload)
}

func sameSA(a, b ipsec.SA) bool {
	return a.ID == b.ID && a.Generation == b.Generation && a.Encryption.Equal(b.Encryption) && a.Integrity.Equal(b.Integrity) &&
		a.Lifetime == b.Lifetime && a.Mode == b.Mode && a.Pair == b.Pair
}

// clone is a stream with the same octets to come.
func (s *stream) clone() *stream {
	state, err := s.chacha.MarshalBinary()
	if err != nil {
		panic(err)
	}
	c := &rand.ChaCha8{}
	if err := c.UnmarshalBinary(state); err != nil {
		panic(err)
	}
	return &stream{chacha: c, nonces: slices.Clone(s.nonces)}
}
