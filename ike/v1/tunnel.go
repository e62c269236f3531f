package v1

import (
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1/wire"
)

// Tunnel is the ISAKMP SA with one peer, its ESP SAs, and their successors by
// rekeying: what ike.Tunnel is for IKEv2, with the same inputs and outputs. One
// goroutine owns it. Demux.Initiate, Demux.Route and Restore make tunnels.
type Tunnel struct {
	env    *ike.Env
	policy ike.Policy
	pool   Addresses // nil for none
	// demux knows the other tunnels, of which this one may be the rekeying; nil
	// when it is in none.
	demux *Demux
	log   *slog.Logger

	id        ipsec.TunnelID
	conn      *ike.Connection // the first candidate until the peer has an identity
	initiator bool            // of the first ISAKMP SA
	state     ike.State
	standby   bool // restored and not taken over
	takeovers uint32

	local, remote     netip.AddrPort
	localID, remoteID ike.Identity
	user              string     // whom XAUTH let in
	internal          netip.Addr // what mode config assigned, to us or to the peer
	peer              features
	nat               nat

	setup      *setup      // nil once the first ISAKMP SA is up
	sa         *isakmpSA   // the current one
	others     []*isakmpSA // candidates and predecessors
	exchanges  []*exchange // of phase 2
	children   []*childSA  // pairs of ESP SAs
	tasks      []task      // exchanges that wait for their turn
	probe      *probe      // dead peer detection under way, nil when not
	probes     uint32      // the sequence number of the last one
	rekeyTries int         // of phase 1 that failed one after the other
	parts      *parts      // fragments of the message that is coming in
	fragment   uint16      // the number of our last fragmented message

	generation uint64 // of the newest SA description
	// When something was last heard from the peer and sent to it by IKE, and
	// what the dataplane told about ESP.
	lastIn, lastOut, espIn, espOut time.Time
	// takenAt is when we took the tunnel over, and probeAt when the peer is asked
	// because of that; zero once it was heard or asked.
	takenAt, probeAt time.Time

	unknown []byte // fields of a newer version's snapshot, kept for ours

	// What follows lives for one step, and for the Refused that may come next.
	now     time.Time
	from    ike.Datagram // the message that is being handled
	out     ike.Ready
	last    ike.Ready // of the step before
	refusal *refusal
}

// setup is what a tunnel knows until its first ISAKMP SA is up.
type setup struct {
	started, deadline time.Time

	// Of an initiator.
	child          string // what Initiate asked for
	want           *ipsec.Selectors
	initialContact bool

	// Of a responder.
	first *firstMessage // until it is answered
	// contact: the peer said INITIAL-CONTACT.
	contact bool
	// reported: that the proof did not verify was told, and counted.
	reported bool
	// refused is set when the peer was refused; the tunnel ends with it at the
	// deadline.
	refused error
}

// ID names the tunnel, whatever its ISAKMP SA is by now.
func (t *Tunnel) ID() ipsec.TunnelID { return t.id }

// Remote is where the peer is.
func (t *Tunnel) Remote() netip.AddrPort { return t.remote }

// Connection is what the tunnel follows. Before the peer has proven its
// identity it is the first that it might be.
func (t *Tunnel) Connection() *ike.Connection { return t.conn }

// Established tells whether the tunnel is up, on a standby too.
func (t *Tunnel) Established() bool { return t.state == ike.StateUp }

// Standby tells whether the tunnel was restored and waits for Takeover.
func (t *Tunnel) Standby() bool { return t.standby }

// LocalSPIs are the cookies of ours by which messages for this tunnel are known.
func (t *Tunnel) LocalSPIs() []ipsec.IKESPI {
	if t.state == ike.StateClosed {
		return nil
	}
	var out []ipsec.IKESPI
	for _, sa := range t.all() {
		out = append(out, sa.local())
	}
	return out
}

// Step handles one input. What it returns is to be carried out in the order of
// Ready's fields; its slices belong to the caller.
func (t *Tunnel) Step(now time.Time, in ike.Input) ike.Ready {
	// A tunnel that another one has handed its ISAKMP SA to has work in out already.
	t.now = now
	if _, ok := in.(ike.Refused); !ok {
		t.Installed()
	}
	switch {
	case t.state == ike.StateClosed:
	case t.standby:
		t.stepStandby(in)
	default:
		t.handle(in)
		t.pump()
	}
	out := t.out
	t.last, t.out, t.from = out, ike.Ready{}, ike.Datagram{}
	if len(out.Install) == 0 {
		t.Installed() // nothing can be refused
	}
	return out
}

// Installed answers Ready.Install: the dataplane has taken all of it, so that
// Refused does not follow. Without it the tunnel finds out with its next step,
// and keeps what it would need until then.
func (t *Tunnel) Installed() { t.last, t.refusal = ike.Ready{}, nil }

func (t *Tunnel) handle(in ike.Input) {
	switch in := in.(type) {
	case ike.Received:
		t.onDatagram(in.Datagram)
	case ike.Timeout:
		t.onTimers()
	case ike.Initiate:
		t.initiate(in)
	case ike.RekeyIKE:
		t.enqueue(task{kind: taskRekeyIKE})
	case ike.RekeyChild:
		t.rekeyByID(in.ID)
	case ike.CloseChild:
		t.closeByID(in.ID)
	case ike.Close:
		t.close(in.Reason)
	case ike.Superseded:
		t.log.Info("tunnel superseded", "reason", in.Reason)
		t.finish(nil)
	case ike.Refused:
		t.onRefused(in)
	case ike.Expired:
		t.onExpired(in)
	case ike.Activity:
		t.onActivity(in)
	case ike.PeerMoved:
		if t.state == ike.StateUp && in.Remote != t.remote && t.mayMove() {
			t.move(t.local, in.Remote)
		}
	case ike.Takeover:
		// Ours already.
	}
}

// stepStandby keeps a standby silent (invariant I7).
func (t *Tunnel) stepStandby(in ike.Input) {
	switch in := in.(type) {
	case ike.Takeover:
		t.takeOver(in)
		t.pump()
	case ike.Superseded:
		t.finish(nil)
	case ike.Received:
		t.drop(ike.DropStandby)
	case ike.Activity:
		t.espIn, t.espOut = later(t.espIn, in.In), later(t.espOut, in.Out)
	}
}

// takeOver makes a restored tunnel ours.
//
// IKEv1 numbers no messages, so there is nothing to synchronize when the last owner
// may have gone on after the snapshot. What it changed then shows as silence: the
// peer has another ISAKMP SA, and the question of dead peer detection, which is on
// the old one, has no answer.
func (t *Tunnel) takeOver(in ike.Takeover) {
	t.standby = false
	t.takenAt, t.probeAt = t.now, later(t.now, in.Probe)
	t.takeovers++
	if t.env.Takeovers != nil {
		t.takeovers = t.env.Takeovers(t.id, t.takeovers-1)
	}
	for _, x := range t.exchanges {
		x.inherited = x.initiator
	}
	t.env.Stats.Takeovers++
	if t.state == ike.StateUp {
		t.env.Stats.Tunnels++
	}
	t.log.Info("tunnel taken over", "remote", t.remote, "behind", in.Behind)
	t.publish()
}

// initiate starts the tunnel, or asks for a child on one that is up.
func (t *Tunnel) initiate(in ike.Initiate) {
	switch {
	case t.state == ike.StateIdle && t.initiator:
		t.env.Stats.Started[0]++
		t.state = ike.StateInit
		t.setup.started = t.now
		t.setup.child, t.setup.want = in.Child, in.For
		if err := t.startPhase1(t.sa); err != nil {
			t.finish(err)
		}
	case t.state == ike.StateUp:
		t.createNamed(in)
	case t.setup != nil && t.initiator && in.Child != t.setup.child && childNamed(t.conn, in.Child) != nil:
		t.enqueue(task{kind: taskAll, child: in.Child}) // once the tunnel is up
	}
}

// close ends the tunnel from our side, and tells the peer where there is an
// ISAKMP SA to tell it on. IKEv1 acknowledges nothing of it.
func (t *Tunnel) close(reason string) {
	t.log.Info("tunnel closing", "reason", reason, "state", t.state.String())
	t.say()
	t.finish(nil)
}

// say tells the peer that everything is over.
func (t *Tunnel) say() {
	if t.state != ike.StateUp {
		return
	}
	var spis [][]byte
	for _, c := range t.children {
		if c.state != childGone && len(spis) < wire.MaxDeleteSPIs {
			spis = append(spis, wire.SPIBytes(c.in))
		}
	}
	if len(spis) > 0 {
		t.inform(t.sa, &wire.Delete{Protocol: wire.ProtocolESP, SPIs: spis})
	}
	for _, sa := range t.all() {
		if sa.alive() {
			t.deleteISAKMP(sa)
		}
	}
}

func (t *Tunnel) deleteISAKMP(sa *isakmpSA) {
	t.inform(sa, &wire.Delete{Protocol: wire.ProtocolISAKMP, SPIs: [][]byte{wire.Cookies(sa.cookieI, sa.cookieR)}})
}

// finish ends the tunnel at once.
func (t *Tunnel) finish(why error) {
	if t.state == ike.StateClosed {
		return
	}
	if t.state == ike.StateUp && !t.standby {
		t.env.Stats.Tunnels--
	}
	t.removeAll()
	if t.pool != nil {
		t.pool.Release(t.id)
	}
	t.state = ike.StateClosed
	t.tasks, t.probe = nil, nil
	for _, sa := range t.all() {
		sa.wipe()
	}
	for _, x := range t.exchanges {
		x.wipe()
	}
	t.exchanges = nil
	t.out.Done, t.out.Why = true, why
	t.out.Publish = false
}

// up ends the set-up: phase 1, XAUTH and mode config are done.
func (t *Tunnel) up(sa *isakmpSA) {
	if p := t.predecessor(); p != nil {
		p.inherit(t)
		return
	}
	s := t.setup
	t.setup = nil
	t.env.Stats.Established[t.side()]++
	t.env.Stats.SetupTime += t.now.Sub(s.started)
	t.env.Stats.Tunnels++
	t.state = ike.StateUp
	t.log.Info("tunnel is up", "remote", t.remote, "remote_id", t.remoteID.String(), "user", t.user, "suite", sa.suite.String())
	if s.contact {
		t.env.Stats.InitialContactsIn++
	}
	t.out.Established = &ike.Established{Remote: t.principal(), InitialContact: s.contact}
	t.publish()
	if t.initiator && len(t.conn.Children) > 0 {
		t.createNamed(ike.Initiate{Child: s.child, For: s.want})
	}
}

// principal is who the peer is to the rest of the gateway: the user, where XAUTH
// has found one, because a group shares its phase 1 identity.
func (t *Tunnel) principal() ike.Identity {
	if t.user != "" {
		return ike.Identity{Type: ike.IDKeyID, Data: t.user}
	}
	return t.remoteID
}

// fail counts a negotiation that came to nothing.
func (t *Tunnel) fail(f ike.Failure) {
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

// publish notes that the state has changed. What is not up yet is no business of
// a standby's.
func (t *Tunnel) publish() {
	if t.state == ike.StateUp {
		t.out.Publish = true
	}
}

func (t *Tunnel) drop(d ike.Drop) { t.env.Stats.Drops[d]++ }

// all are the ISAKMP SAs of the tunnel, the current one first.
func (t *Tunnel) all() []*isakmpSA { return append([]*isakmpSA{t.sa}, t.others...) }

// lookup finds the ISAKMP SA that a message belongs to, nil when there is none.
func (t *Tunnel) lookup(h wire.Header) *isakmpSA {
	for _, sa := range t.all() {
		if sa.cookieI != h.CookieI {
			continue
		}
		if sa.cookieR == h.CookieR || sa.initiator && sa.cookieR == 0 || !sa.initiator && h.CookieR == 0 {
			return sa
		}
	}
	return nil
}

// forget drops an ISAKMP SA that is not the current one, with its exchanges.
func (t *Tunnel) forget(sa *isakmpSA) {
	for i, o := range t.others {
		if o == sa {
			t.others = append(t.others[:i:i], t.others[i+1:]...)
			t.dropExchanges(func(x *exchange) bool { return x.sa == sa })
			sa.wipe()
			t.publish()
			return
		}
	}
}

// errRefused is what ends a tunnel whose peer was refused.
var errRefused = errors.New("ike/v1: the peer was refused")

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
