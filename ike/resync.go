package ike

import (
	"bytes"
	"time"

	"github.com/evergate/evergate/ike/wire"
)

// Synchronization of Message IDs and replay counters after a takeover, RFC 6311:
// the side of the cluster. resync_answer.go has the peer's.
//
// It is the repair, not the rule. State is published before the peer hears what
// follows from it, so a takeover knows the Message IDs exactly and asks nothing.
// It asks when the last owner may have gone on alone: when it is told so
// (Takeover.Behind), and when the peer shows it, by a request beyond our window
// or by silence to what we ask.

// syncSupport is what both ends have announced in IKE_AUTH.
type syncSupport struct {
	ids      bool // IKEV2_MESSAGE_ID_SYNC_SUPPORTED
	counters bool // IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED
}

// payloads announce s.
func (s syncSupport) payloads() []wire.Payload {
	var out []wire.Payload
	if s.ids {
		out = append(out, &wire.Notify{Type: wire.MessageIDSyncSupported})
	}
	if s.counters {
		out = append(out, &wire.Notify{Type: wire.IPsecReplayCounterSyncSupported})
	}
	return out
}

// ourSync is what we announce ourselves.
func ourSync(c *Connection) syncSupport {
	return syncSupport{ids: !c.NoMessageIDSync, counters: !c.NoMessageIDSync}
}

// and is what both can.
func (s syncSupport) and(o syncSupport) syncSupport {
	return syncSupport{ids: s.ids && o.ids, counters: s.counters && o.counters}
}

// syncSupportOf is what the peer announces.
func syncSupportOf(payloads []wire.Payload) syncSupport {
	return syncSupport{
		ids:      wire.FindNotify(payloads, wire.MessageIDSyncSupported) != nil,
		counters: wire.FindNotify(payloads, wire.IPsecReplayCounterSyncSupported) != nil,
	}
}

// resync is our synchronization under way. It has a Message ID of its own, zero,
// so it is outside of the windows.
type resync struct {
	ids    wire.MessageIDs // M1 and P1 of the newest request
	delta  uint64          // asked of the peer's sequence numbers, 0 for nothing
	nextAt time.Time       // of the next request
	tries  int             // requests so far
	since  time.Time       // of the first one
}

const (
	// resyncEvery is the least time between two synchronizations that the peer's
	// behaviour causes.
	resyncEvery = 10 * time.Second
	// resyncDelta is how far the peer is asked to go ahead: more packets than an
	// SA receives between two checkpoints of its replay window.
	resyncDelta = 1 << 22
)

// Shift moves the sequence numbers of all Child SAs (RFC 6311 section 5.2).
type Shift struct {
	// In is what the inbound SAs have to expect: the peer goes on that much above
	// what it has sent, and what is below comes from before.
	In uint64
	// Out is by how much the outbound SAs go ahead.
	Out uint64
}

// resyncLater asks the peer as soon as the turn of this takeover has come. A
// request in flight has its chance before: a peer that has answered nothing later
// repeats its answer, and that is worth more than a new number.
func (t *Tunnel) resyncLater(slot time.Time) {
	if !t.support.ids || t.state != StateUp {
		return
	}
	t.resyncAt = slot
	if r := t.sa.pending; r != nil {
		t.resyncAt = later(slot, t.now.Add(2*t.conn.Retransmit.first()))
	}
}

// doubt asks the peer for the Message IDs where it behaves as if the last owner
// had gone further than we know.
func (t *Tunnel) doubt(sa *ikeSA) {
	inherited := !t.takenAt.IsZero() && !sa.born.After(t.takenAt)
	recent := !t.resynced.IsZero() && t.now.Sub(t.resynced) < resyncEvery
	if !t.support.ids || sa != t.sa || t.state != StateUp || !inherited || recent || sa.resync != nil {
		return
	}
	t.log().Info("peer is ahead of the state that was taken over", "remote", t.remote, "next_request", sa.sendID, "next_expected", sa.recvID)
	t.askIDs(sa)
}

// doubtSilence is doubt about a request that finds no answer, when half of its
// time is over.
func (t *Tunnel) doubtSilence(sa *ikeSA) {
	if r := sa.pending; r.tries > t.maxTries(r)/2 {
		t.doubt(sa)
	}
}

// askIDs sends a synchronization request. Each has a nonce and numbers of its
// own, also a repetition, because the peer takes none twice: it "MUST silently
// drop any received synchronization message if M1 is lower than or equal to the
// highest value it has seen from the cluster. This includes any previous received
// synchronization messages." RFC 6311 section 5.1. They go up in growing steps,
// as nobody knows how far the last owner went, and those who stand by know each
// before it leaves, so that the next owner goes above it.
func (t *Tunnel) askIDs(sa *ikeSA) {
	r := sa.resync
	if r == nil {
		r = &resync{since: t.now}
		sa.resync = r
		t.env.Stats.Sync.Resyncs++
	}
	t.resyncAt, t.resynced = time.Time{}, t.now
	r.ids.Send = max(sa.sendID, sa.claimed) + syncStep(r.tries)
	r.ids.Recv = sa.recvID
	r.delta = t.shiftToAsk() // children come and go between two requests
	readRandom(t.env.Rand, r.ids.Nonce[:])
	sa.claimed = r.ids.Send
	r.tries++
	r.nextAt = t.now.Add(t.resyncInterval(r.tries))
	if end := t.resyncEnd(r); !end.IsZero() && end.Before(r.nextAt) {
		r.nextAt = end
	}
	payloads := []wire.Payload{r.ids.Notify()}
	if r.delta > 0 {
		payloads = append(payloads, wire.ReplayCounters{Delta: r.delta, Extended: t.children[0].algorithms.ESN}.Notify())
	}
	packets, err := t.encode(sa, sa.header(wire.Informational, false, 0), payloads)
	if err != nil {
		t.log().Error("message could not be encoded", "exchange", "message id sync", "error", err)
		return
	}
	t.env.Stats.RequestsOut.count(wire.Informational)
	t.env.Stats.Sync.Sent++
	t.transmit(t.local, t.remote, packets)
	t.publish()
}

// syncStep is how far M1 goes above what is known to be used: 16, 256, 4096 and
// so on, short of what a Message ID can hold.
func syncStep(tries int) uint32 { return 1 << (4 * (min(tries, 5) + 1)) }

// resyncInterval is the time until the next request.
func (t *Tunnel) resyncInterval(tries int) time.Duration {
	d := t.conn.Retransmit.first()
	for n := tries - 1; n > 0 && d < t.conn.Retransmit.max(); n-- {
		d = min(2*d, t.conn.Retransmit.max())
	}
	return d + t.env.spread(d/8)
}

// repeatResync asks once more, or gives up: on the peer, unless a request of
// another kind is under way, whose own end that is.
func (t *Tunnel) repeatResync(sa *ikeSA) {
	r := sa.resync
	over := r.tries > t.conn.Retransmit.tries()
	if end := t.resyncEnd(r); !end.IsZero() {
		over = !t.now.Before(end)
	}
	if !over {
		t.askIDs(sa)
		return
	}
	t.env.Stats.TimedOut++
	sa.resync = nil
	if sa.pending != nil {
		t.publish()
		return
	}
	t.env.Stats.DeadPeers++
	t.log().Warn("peer is dead", "unanswered", r.tries, "remote", t.remote)
	t.finish(ErrDeadPeer)
}

// resyncEnd is when a peer that has not answered is dead: as soon as dead peer
// detection would have found that; zero where it is off.
func (t *Tunnel) resyncEnd(r *resync) time.Time {
	if t.conn.DPD.Mode == DPDOff {
		return time.Time{}
	}
	return r.since.Add(t.conn.DPD.interval() * time.Duration(t.conn.DPD.retries()+1))
}

// shiftToAsk is the delta that goes with a request, 0 where none can.
//
// The size of the field depends on the Child SAs having extended sequence
// numbers, so all of them must have them, or none (RFC 6311 section 6.4).
func (t *Tunnel) shiftToAsk() uint64 {
	if !t.support.counters || len(t.children) == 0 || !t.uniform(t.children[0].algorithms.ESN) {
		return 0
	}
	return resyncDelta
}

// uniform tells whether all children have extended sequence numbers, or none.
func (t *Tunnel) uniform(esn bool) bool {
	for _, c := range t.children {
		if c.algorithms.ESN != esn {
			return false
		}
	}
	return true
}

// syncMessage returns the payloads of the message that is being handled if it is
// a synchronization, nil if it is not. One with Message ID zero may also be the
// first exchange of a rekeyed IKE SA, so it is opened to tell, and left as it is.
func (t *Tunnel) syncMessage(sa *ikeSA, h wire.Header) []wire.Payload {
	if h.MessageID != 0 || h.Exchange != wire.Informational || !t.support.ids || sa.opener == nil {
		return nil
	}
	m, err := wire.Decode(bytes.Clone(t.from.Payload))
	if err != nil {
		return nil
	}
	sk := wire.Find[*wire.SK](m.Payloads)
	if sk == nil {
		return nil
	}
	plain, err := sk.Open(sa.opener)
	if err != nil {
		return nil
	}
	payloads, err := wire.DecodePayloads(sk.First, plain)
	if err != nil || wire.FindNotify(payloads, wire.MessageIDSync) == nil {
		return nil
	}
	return payloads
}

// onIDs takes the answer to our request.
//
// "A response MUST be silently dropped if the received nonce does not match the
// one that was sent": RFC 6311 section 5.1. So the answer to an earlier request
// of ours is not taken; the peer has had, or will have, the newer one.
func (t *Tunnel) onIDs(sa *ikeSA, payloads []wire.Payload) {
	ids, err := wire.ParseMessageIDs(wire.FindNotify(payloads, wire.MessageIDSync).Data)
	if err != nil {
		t.env.Stats.Sync.BadLength++
		t.drop(DropMalformed)
		return
	}
	r := sa.resync
	if r == nil || ids.Nonce != r.ids.Nonce || ids.Recv < r.ids.Send || ids.Send < r.ids.Recv {
		t.drop(DropSync)
		return
	}
	t.env.Stats.ResponsesIn.count(wire.Informational)
	t.env.Stats.Sync.Received++
	t.heard()
	sa.resync = nil
	t.log().Info("message ids synchronized", "remote", t.remote, "next_request", ids.Recv, "next_expected", ids.Send)
	t.setIDs(sa, ids.Recv, ids.Send)
	if r.delta > 0 {
		t.shift(Shift{In: r.delta})
	}
}

// setIDs moves both windows of sa to where the two ends have agreed.
//
// What was in flight will not be answered any more: the peer does not wait for
// it either (RFC 6311 section 8.1).
func (t *Tunnel) setIDs(sa *ikeSA, send, recv uint32) {
	t.env.Stats.Sync.Synced++
	sa.sendID = max(sa.sendID, send)
	if recv > sa.recvID {
		sa.recvID, sa.answer, sa.inParts = recv, nil, nil
	}
	if sa.pending != nil {
		r := sa.pending
		sa.pending, sa.reParts = nil, nil
		t.restart(sa, r)
	}
	t.publish()
}

// restart begins an exchange again that came to no end. The peer may have made
// its half of a pair, of which it is told that we have none.
func (t *Tunnel) restart(sa *ikeSA, r *request) {
	r.offer.wipe()
	switch {
	case sa != t.sa:
		if r.task.kind == taskDeleteIKE {
			t.startDeleteIKE(sa)
		}
	case r.task.kind == taskCreate, r.task.kind == taskRekeyChild:
		t.enqueue(task{kind: taskDeleteChild, spi: r.offer.spi})
		t.enqueue(r.task)
	case r.task.kind != taskProbe:
		t.enqueue(r.task)
	}
}

// shift moves the sequence numbers of the children.
func (t *Tunnel) shift(s Shift) {
	t.env.Stats.Sync.Shifted += uint64(len(t.children))
	t.out.Shift = &s
}
