package v1test

import (
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
	"github.com/evergate/evergate/ike/v1"
)

// End is one gateway: its Demux, the tunnel that the test is about, and a
// dataplane that only keeps what it is given.
type End struct {
	iketest.Gateway
	Pair  *Pair
	Demux *v1.Demux
	// Tunnel is the newest one that came up, or, before one did, the newest; it
	// stays after it is Done.
	Tunnel *v1.Tunnel
	Routed []v1.Routed // what found no tunnel

	rand      *rand.ChaCha8
	snapshots map[ipsec.TunnelID][]byte // the newest of each tunnel
}

// Policy is a list of connections.
type Policy = iketest.Policy

func newEnd(p *Pair, name string, m ipsec.MemberID, c *ike.Connection) *End {
	var key [32]byte
	copy(key[:], name)
	binary.BigEndian.PutUint64(key[24:], p.config.Seed)
	e := &End{Pair: p, rand: rand.NewChaCha8(key), snapshots: make(map[ipsec.TunnelID][]byte)}
	env := ike.Env{Member: m, Rand: e.rand, Log: p.config.Log.With("end", name)}
	e.Gateway = iketest.NewGateway(p.TB, e, name, env, c)
	e.Demux = v1.NewDemux(e.Env, e.Policy, p.config.Limits, v1.NewPool(0, 1))
	return e
}

// Initiate dials with the first connection.
func (e *End) Initiate() {
	e.Pair.TB.Helper()
	e.Tunnel = e.Demux.Initiate(e.Pair.Now, e.Policy.Connections[0])
	e.Done, e.Why = false, nil
	e.Do(ike.Initiate{})
}

// Do gives the end's tunnel an input and carries out what it asks for; its
// messages are then on their way.
func (e *End) Do(in ike.Input) {
	e.Pair.TB.Helper()
	e.step(e.Tunnel, in)
}

func (e *End) step(t *v1.Tunnel, in ike.Input) {
	e.Pair.TB.Helper()
	e.stepWith(t, e.twin(t, in), in)
}

// stepWith compares t with its twin, where it has one.
func (e *End) stepWith(t, twin *v1.Tunnel, in ike.Input) {
	e.Pair.TB.Helper()
	var again ike.Ready
	if twin != nil {
		again = twin.Step(e.Pair.Now, iketest.CopyInput(in))
	}
	r := e.Demux.Step(e.Pair.Now, t, in)
	woken := e.Demux.Woken()
	if twin != nil && len(woken) == 0 {
		e.Compare(in, r, again)
		if a, b := t.NextTimeout(), twin.NextTimeout(); !a.Equal(b) {
			e.Pair.TB.Fatalf("after %T %s's next timer is at %v, its twin's at %v", in, e.Name, a, b)
		}
	}
	for refused := e.carryOut(t, r); refused != nil; refused = e.carryOut(t, r) {
		r = e.Demux.Step(e.Pair.Now, t, *refused)
	}
	for _, w := range woken {
		e.stepWith(w, nil, ike.Timeout{}) // what woke it is in no snapshot
	}
}

// Crash ends the owner of the end's tunnels; another one takes over with what was
// published last. The dataplane goes on. What was half-open is lost.
func (e *End) Crash() {
	e.Pair.TB.Helper()
	e.Succeed(ike.Takeover{})
}

// CrashBack is Crash, and all that the end has published of its tunnel since older is
// lost, which the new owner begins with. It asks its peer at once.
func (e *End) CrashBack(older []byte) {
	e.Pair.TB.Helper()
	e.snapshots[e.Tunnel.ID()] = older
	e.Succeed(ike.Takeover{Probe: e.Pair.Now, Behind: true})
}

// Succeed is Crash with what the new owner is told.
func (e *End) Succeed(in ike.Takeover) {
	e.Pair.TB.Helper()
	e.Env.Boot++
	for _, t := range e.tunnels() {
		e.Demux.Forget(t)
		snapshot := e.snapshots[t.ID()]
		if snapshot == nil {
			continue
		}
		again, err := v1.Restore(e.Env, e.Policy, snapshot, e.Pair.Now)
		if err != nil {
			e.Pair.TB.Fatalf("%s's tunnel does not come back from what it published: %v", e.Name, err)
		}
		e.Demux.Adopt(again)
		if e.Tunnel == t {
			e.Tunnel = again
		}
		e.step(again, in)
	}
}

// carryOut does what a Ready asks for, in its order. An SA that is refused ends
// it.
func (e *End) carryOut(t *v1.Tunnel, r ike.Ready) *ike.Refused {
	e.Pair.TB.Helper()
	if r.Established != nil {
		e.Established = append(e.Established, *r.Established)
		e.Tunnel, e.Done, e.Why = t, false, nil
	}
	if refused := e.Install(r.Install); refused != nil {
		return refused
	}
	t.Installed()
	if r.Move != nil {
		e.Moves = append(e.Moves, *r.Move)
	}
	if r.Publish {
		e.Snapshot = t.Snapshot(e.Pair.Now)
		e.snapshots[t.ID()] = e.Snapshot
	}
	for _, d := range r.Send {
		e.Pair.Send(e, d)
	}
	for _, id := range r.Remove {
		delete(e.Installed, id)
	}
	if r.Done {
		delete(e.snapshots, t.ID())
	}
	if r.Done && t == e.Tunnel {
		e.Done, e.Why = true, r.Why
	}
	return nil
}

// Receive takes a datagram.
func (e *End) Receive(d ike.Datagram) {
	e.Pair.TB.Helper()
	r := e.Demux.Route(e.Pair.Now, d)
	for _, d := range r.Reply {
		e.Pair.Send(e, d)
	}
	if r.Tunnel == nil {
		e.Routed = append(e.Routed, r)
		return
	}
	if e.Tunnel == nil || e.Demux.ByID(e.Tunnel.ID()) == nil || !e.Tunnel.Established() {
		e.Tunnel, e.Done, e.Why = r.Tunnel, false, nil
	}
	e.step(r.Tunnel, ike.Received{Datagram: d})
}

// tunnels are those of the Demux, in an order that is always the same.
func (e *End) tunnels() []*v1.Tunnel {
	var out []*v1.Tunnel
	for t := range e.Demux.Tunnels {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *v1.Tunnel) int { return cmp.Compare(a.ID(), b.ID()) })
	return out
}

// NextTimeout is when a timer is due, zero for never.
func (e *End) NextTimeout() time.Time {
	var next time.Time
	for t := range e.Demux.Tunnels {
		if at := t.NextTimeout(); next.IsZero() || !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	return next
}

// Tick fires the timers that are due.
func (e *End) Tick() {
	e.Pair.TB.Helper()
	var due []*v1.Tunnel
	for _, t := range e.tunnels() {
		if at := t.NextTimeout(); !at.IsZero() && !at.After(e.Pair.Now) {
			due = append(due, t)
		}
	}
	for _, t := range due {
		e.step(t, ike.Timeout{})
	}
}

// Current implements iketest.Machine.
func (e *End) Current() iketest.Tunnel {
	if e.Tunnel == nil {
		return nil
	}
	return e.Tunnel
}

// Clock implements iketest.Machine.
func (e *End) Clock() time.Time { return e.Pair.Now }

// Described implements iketest.Machine.
func (e *End) Described() []ipsec.SA {
	var all []ipsec.SA
	for t := range e.Demux.Tunnels {
		all = append(all, t.SAs(e.Pair.Now)...)
	}
	return all
}
