package ike

import (
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/wire"
)

// State is how far a tunnel is.
type State uint8

// The states, in the order in which a tunnel goes through them.
const (
	StateIdle    State = iota // made, nothing was sent or answered yet
	StateInit                 // IKE_SA_INIT is under way
	StateAuth                 // IKE_AUTH is under way
	StateUp                   // the IKE SA is up
	StateClosing              // our Delete is under way, or a refusal is repeated
	StateClosed               // over
)

// String is a label such as "up".
func (s State) String() string {
	switch s {
	case StateIdle:
		return "idle"
	case StateInit:
		return "init"
	case StateAuth:
		return "auth"
	case StateUp:
		return "up"
	case StateClosing:
		return "closing"
	case StateClosed:
		return "closed"
	default:
		return "invalid"
	}
}

// Tunnel is the IKE SA with one peer, its Child SAs, and their successors by
// rekeying. One goroutine owns it. Demux.Initiate, Demux.Route and Restore make
// tunnels.
type Tunnel struct {
	env *Env

	id        ipsec.TunnelID
	conn      *Connection // the first candidate until the peer has an identity
	initiator bool        // of the first IKE SA
	state     State
	standby   bool // restored and not taken over
	takeovers uint32

	local, remote     netip.AddrPort
	localID, remoteID Identity
	nat               nat
	fragments         bool // RFC 7383 was agreed on
	packet            int  // the largest that is sent, where larger ones were lost; 0 for any
	support           syncSupport

	why      error    // of StateClosing
	setup    *setup   // nil once the IKE SA is up
	sa       *ikeSA   // the current one
	others   []*ikeSA // candidates and predecessors
	children []*childSA
	tasks    []task

	generation uint64 // of the newest SA description
	// When something was last heard from the peer and sent to it by IKE, and
	// what the dataplane told about ESP.
	lastIn, lastOut, espIn, espOut time.Time
	// takenAt is when we took the tunnel over, and probeAt when the peer is asked
	// because of that; zero once it was heard or asked.
	takenAt, probeAt time.Time
	// resyncAt is when the peer is asked for the Message IDs because what was taken
	// over may be behind, zero for never; resynced is when it was asked last.
	resyncAt, resynced time.Time

	// unknown are fields of a newer version's snapshot, kept for ours.
	unknown []byte

	steps uint64
	// turn is set during a step, and after one whose Ready may be Refused.
	*turn
}

// ID names the tunnel, whatever its IKE SA is by now.
func (t *Tunnel) ID() ipsec.TunnelID { return t.id }

// Connection is what the tunnel follows. Before the peer has proven its
// identity it is the first that it might be.
func (t *Tunnel) Connection() *Connection { return t.conn }

// Established tells whether the IKE SA is up, on a standby too.
func (t *Tunnel) Established() bool { return t.state == StateUp }

// Standby tells whether the tunnel was restored and waits for Takeover.
func (t *Tunnel) Standby() bool { return t.standby }

// Step handles one input. What it returns is to be carried out in the order of
// Ready's fields; its slices belong to the caller.
func (t *Tunnel) Step(now time.Time, in Input) Ready {
	_, refused := in.(Refused)
	t.begin(now, refused)
	t.steps++
	switch {
	case t.state == StateClosed:
	case t.standby:
		t.stepStandby(in)
	default:
		t.handle(in)
		t.pump()
	}
	out := t.out
	if len(out.Install) == 0 {
		t.Installed() // nothing can be refused
	}
	return out
}

func (t *Tunnel) handle(in Input) {
	switch in := in.(type) {
	case Received:
		t.onDatagram(in.Datagram)
	case Timeout:
		t.onTimers()
	case Initiate:
		t.initiate(in)
	case RekeyIKE:
		t.enqueue(task{kind: taskRekeyIKE})
	case RekeyChild:
		t.rekeyByID(in.ID)
	case CloseChild:
		t.closeByID(in.ID)
	case Close:
		t.close(in.Reason)
	case Superseded:
		t.log().Info("tunnel superseded", "reason", in.Reason)
		t.finish(nil)
	case Refused:
		t.onRefused(in)
	case Expired:
		t.onExpired(in)
	case Activity:
		t.onActivity(in)
	case PeerMoved:
		if t.state == StateUp && in.Remote != t.remote && t.mayMove() {
			t.move(t.local, in.Remote)
		}
	case Takeover:
		// Ours already.
	}
}

// stepStandby keeps a standby silent (invariant I7).
func (t *Tunnel) stepStandby(in Input) {
	switch in := in.(type) {
	case Takeover:
		t.takeOver(in)
		t.pump()
	case Superseded:
		t.finish(nil)
	case Received:
		t.drop(DropStandby)
	case Activity:
		t.onActivity(in)
	}
}

// close ends the tunnel from our side. The SAs go at once; the peer is told
// where there is an IKE SA to tell it on.
func (t *Tunnel) close(reason string) {
	switch t.state {
	case StateUp:
		t.log().Info("tunnel closing", "reason", reason)
		t.state = StateClosing
		t.env.Stats.Tunnels--
		t.removeAll()
		t.tasks = []task{{kind: taskDeleteIKE}}
		t.publish()
	case StateClosing, StateClosed:
	default:
		t.log().Info("tunnel given up before it was up", "reason", reason)
		t.finish(nil)
	}
}

// finish ends the tunnel at once, without a word to the peer.
func (t *Tunnel) finish(why error) {
	if t.state == StateClosed {
		return
	}
	if t.state == StateUp && !t.standby {
		t.env.Stats.Tunnels--
	}
	t.removeAll()
	t.state = StateClosed
	t.tasks = nil
	t.sa.wipe()
	for _, sa := range t.others {
		sa.wipe()
	}
	t.setup.wipe()
	t.out.Done, t.out.Why = true, why
	t.out.Publish = false
}

// fail counts a negotiation that came to nothing.
func (t *Tunnel) fail(f Failure) {
	t.env.Stats.Failures[f]++
	if t.setup != nil {
		t.env.Stats.Failed[t.side()]++
	}
}

// side is the index of Stats.Started and its like.
func (t *Tunnel) side() int {
	if t.initiator {
		return 0
	}
	return 1
}

// publish notes that the state has changed. What is not up yet is no business
// of a standby's: it dies with us, and the peer begins again.
func (t *Tunnel) publish() {
	if t.state == StateUp || t.state == StateClosing {
		t.out.Publish = true
	}
}

// drop counts a message that is ignored. Before the IKE SA is up it may be why it
// never will be, so the operator hears of it.
func (t *Tunnel) drop(d Drop) {
	t.env.Stats.Drops[d]++
	if t.setup != nil && t.env.complaints != nil {
		t.env.complaints.complain(t.now, t.log(), d, t.from, "state", t.state.String())
	}
}

// forget drops a predecessor.
func (t *Tunnel) forget(sa *ikeSA) {
	for i, o := range t.others {
		if o == sa {
			t.others = append(t.others[:i:i], t.others[i+1:]...)
			sa.wipe()
			t.publish()
			return
		}
	}
}

// lookup finds the IKE SA that a message belongs to, nil when there is none.
func (t *Tunnel) lookup(h wire.Header) *ikeSA {
	fits := func(sa *ikeSA) bool {
		if sa.initiator {
			return sa.spiI == h.SPIi && (sa.spiR == h.SPIr || sa.spiR == 0)
		}
		return sa.spiI == h.SPIi && (sa.spiR == h.SPIr || h.SPIr == 0 && h.Exchange == wire.IKESAInit)
	}
	if fits(t.sa) {
		return t.sa
	}
	for _, sa := range t.others {
		if fits(sa) {
			return sa
		}
	}
	return nil
}

// spis are the SPIs of ours by which messages find the tunnel.
func (t *Tunnel) spis() []ipsec.IKESPI {
	if t.state == StateClosed {
		return nil
	}
	out := []ipsec.IKESPI{t.sa.local()}
	for _, sa := range t.others {
		out = append(out, sa.local())
	}
	return out
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
