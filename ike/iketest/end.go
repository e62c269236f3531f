package iketest

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
)

// End is one gateway: its Demux, the tunnel that the test is about, and a
// dataplane that only keeps what it is given.
type End struct {
	Gateway
	Pair   *Pair
	Demux  *ike.Demux
	Tunnel *ike.Tunnel // the newest one; it stays after it is Done

	Shifts []ike.Shift
	Drops  []ike.Drop // of Route

	rand *stream
}

func newEnd(p *Pair, name string, m ipsec.MemberID, c *ike.Connection, l ike.Limits) *End {
	e := &End{Pair: p, rand: newStream(p.config.Seed, name)}
	env := ike.Env{Member: m, Rand: e.rand, Log: p.config.Log.With("end", name)}
	e.Gateway = NewGateway(p.TB, e, name, env, c)
	e.Demux = ike.NewDemux(e.Env, e.Policy, l)
	return e
}

// Initiate dials with the first connection and its first child.
func (e *End) Initiate() {
	e.Pair.TB.Helper()
	e.Tunnel = e.Demux.Initiate(e.Pair.Now, e.Policy.Connections[0])
	e.Done, e.Why = false, nil
	e.Do(ike.Initiate{})
}

// Nonces sets the first octets of the end's next nonces.
func (e *End) Nonces(first ...byte) { e.rand.nonces = append(e.rand.nonces, first...) }

// Do gives the end's tunnel an input and carries out what it asks for; its
// messages are then on their way.
func (e *End) Do(in ike.Input) {
	e.Pair.TB.Helper()
	e.step(e.Tunnel, in)
}

func (e *End) step(t *ike.Tunnel, in ike.Input) {
	e.Pair.TB.Helper()
	twin := e.twin(t, in)
	var again ike.Ready
	if twin != nil {
		again = twin.Step(e.Pair.Now, CopyInput(in))
	}
	r := e.Demux.Step(e.Pair.Now, t, in)
	if twin != nil {
		e.Compare(in, r, again)
		if a, b := t.NextTimeout(), twin.NextTimeout(); !a.Equal(b) {
			e.Pair.TB.Fatalf("after %T %s's next timer is at %v, its twin's at %v", in, e.Name, a, b)
		}
	}
	for refused := e.carryOut(t, r); refused != nil; refused = e.carryOut(t, r) {
		r = e.Demux.Step(e.Pair.Now, t, *refused)
	}
}

// Crash ends the owner of the end's tunnel; another one takes over with what was
// published last. The dataplane goes on.
func (e *End) Crash() {
	e.Pair.TB.Helper()
	if e.Done || e.Snapshot == nil {
		return
	}
	e.Succeed(e.Snapshot, ike.Takeover{})
}

// Succeed ends the owner of the end's tunnel; another one takes over with a
// snapshot of its choice.
func (e *End) Succeed(snapshot []byte, in ike.Takeover) {
	e.Pair.TB.Helper()
	e.Env.Boot++
	t, err := ike.Restore(e.Env, e.Policy, snapshot, e.Pair.Now)
	if err != nil {
		e.Pair.TB.Fatalf("%s's tunnel does not come back from what it published: %v", e.Name, err)
	}
	e.Demux.Forget(e.Tunnel)
	e.Tunnel = t
	e.Demux.Adopt(t)
	e.Do(in)
}

// carryOut does what a Ready asks for, in its order. An SA that is refused ends
// it.
func (e *End) carryOut(t *ike.Tunnel, r ike.Ready) *ike.Refused {
	e.Pair.TB.Helper()
	if r.Established != nil {
		e.Established = append(e.Established, *r.Established)
	}
	if refused := e.Install(r.Install); refused != nil {
		return refused
	}
	t.Installed()
	if r.Move != nil {
		e.Moves = append(e.Moves, *r.Move)
	}
	if r.Shift != nil {
		e.Shifts = append(e.Shifts, *r.Shift)
	}
	if r.Publish {
		e.Snapshot = t.Snapshot(e.Pair.Now)
	}
	for _, d := range r.Send {
		e.Pair.Send(e, d)
	}
	for _, id := range r.Remove {
		delete(e.Installed, id)
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
		e.Drops = append(e.Drops, r.Drop)
		return
	}
	if e.Tunnel != r.Tunnel && (e.Tunnel == nil || e.Demux.ByID(e.Tunnel.ID()) == nil || r.Tunnel.Status(e.Pair.Now).State == ike.StateIdle) {
		e.Tunnel, e.Done, e.Why = r.Tunnel, false, nil
	}
	e.step(r.Tunnel, ike.Received{Datagram: d})
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
	var due []*ike.Tunnel
	for t := range e.Demux.Tunnels {
		if at := t.NextTimeout(); !at.IsZero() && !at.After(e.Pair.Now) {
			due = append(due, t)
		}
	}
	for _, t := range due {
		e.step(t, ike.Timeout{})
	}
}

// Current implements iketest.Machine.
func (e *End) Current() Tunnel {
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
