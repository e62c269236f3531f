package ike

import (
	"time"

	"github.com/evergate/evergate/ike/wire"
)

// Synchronization of Message IDs and replay counters, RFC 6311: the side of the
// peer, whose gateway is a cluster and has failed over.

// syncAnswer is what became of the last synchronization that the peer asked for.
type syncAnswer struct {
	send    uint32       // its M1
	request messageTrace // to tell its repetition from others
	packets [][]byte     // the response as it was sent
	// count synchronizations were taken since since.
	count int
	since time.Time
}

// Limits of what a peer may ask for: each costs us the exchange in flight.
const (
	maxSyncs   = 8
	syncPeriod = 10 * time.Second
	// maxShift is the largest delta that is followed. For more the children are
	// rekeyed, which begins their numbers anew.
	maxShift = 1 << 28
)

// onAskedIDs answers a synchronization request, or drops it without a word.
func (t *Tunnel) onAskedIDs(sa *ikeSA, payloads []wire.Payload) {
	ids, counters, ok := t.readSync(payloads)
	if !ok {
		return
	}
	switch last := sa.synced; {
	case last != nil && last.request == trace(t.from.Payload) && sa.recvID == last.send:
		// It is the very request that was answered last, and nothing has followed:
		// the answer got lost. RFC 7296 section 2.1 wants it repeated.
		t.env.Stats.Repeated++
		t.env.Stats.Sync.Sent++
		t.transmit(t.from.Local, t.from.Remote, last.packets)
		return
	case t.staleSync(sa, ids):
		t.drop(DropSync)
		return
	case last != nil && last.count >= maxSyncs && t.now.Sub(last.since) < syncPeriod:
		t.drop(DropSyncRate)
		return
	}
	t.env.Stats.RequestsIn.count(wire.Informational)
	t.env.Stats.Sync.Received++
	t.heard()
	t.confirm(sa)
	t.answerIDs(sa, ids)
	if counters != nil {
		t.goAhead(*counters)
	}
}

// readSync reads a request. One that is not as it should be is dropped.
//
// "Both the request and the response MUST NOT contain any additional payloads,
// other than an optional IPSEC_REPLAY_COUNTER_SYNC notification in the request."
// RFC 6311 section 5.1.
func (t *Tunnel) readSync(payloads []wire.Payload) (ids wire.MessageIDs, counters *wire.ReplayCounters, ok bool) {
	bad := func(d Drop) (wire.MessageIDs, *wire.ReplayCounters, bool) {
		t.drop(d)
		return wire.MessageIDs{}, nil, false
	}
	seen := 0
	for _, p := range payloads {
		n, isNotify := p.(*wire.Notify)
		var err error
		switch {
		case isNotify && n.Type == wire.MessageIDSync:
			ids, err = wire.ParseMessageIDs(n.Data)
			seen++
		case isNotify && n.Type == wire.IPsecReplayCounterSync && t.support.counters && counters == nil:
			var c wire.ReplayCounters
			c, err = wire.ParseReplayCounters(n.Data)
			if err == nil && !t.uniform(c.Extended) {
				t.env.Stats.Sync.BadLength++
				return bad(DropMalformed)
			}
			counters = &c
		default:
			return bad(DropSync)
		}
		if err != nil {
			t.env.Stats.Sync.BadLength++
			return bad(DropMalformed)
		}
	}
	if seen != 1 {
		return bad(DropSync)
	}
	return ids, counters, true
}

// staleSync tells whether a request is one of before, or asks for numbers that
// no Message ID should reach.
func (t *Tunnel) staleSync(sa *ikeSA, ids wire.MessageIDs) bool {
	return ids.Send < sa.recvID || sa.synced != nil && ids.Send <= sa.synced.send || max(ids.Send, ids.Recv) >= maxMessageID
}

// answerIDs moves the windows and says where they are.
//
// "M2 MUST be at least the higher of the received M1, and one more than the
// highest sender value received from the cluster. [...] P2 MUST be the higher of
// the received P1 value, and one more than the highest sender value used by the
// peer." RFC 6311 section 5.1. What we have asked for ourselves counts as used:
// both ends may be clusters that fail over together. "The request and the
// response MUST both be sent with a Message ID value of zero."
func (t *Tunnel) answerIDs(sa *ikeSA, ids wire.MessageIDs) {
	request := trace(t.from.Payload)
	m2, p2 := max(ids.Send, sa.recvID), max(ids.Recv, sa.sendID, sa.claimed)
	t.log().Info("peer synchronized message ids", "remote", t.remote, "next_request", p2, "next_expected", m2)
	t.setIDs(sa, p2, m2)
	packets, err := t.encode(sa, sa.header(wire.Informational, true, 0),
		[]wire.Payload{wire.MessageIDs{Nonce: ids.Nonce, Send: sa.sendID, Recv: m2}.Notify()})
	if err != nil {
		t.log().Error("message could not be encoded", "exchange", "message id sync", "error", err)
		return
	}
	a := &syncAnswer{send: ids.Send, request: request, packets: packets, count: 1, since: t.now}
	if last := sa.synced; last != nil && t.now.Sub(last.since) < syncPeriod {
		a.count, a.since = last.count+1, last.since
	}
	sa.synced = a
	t.env.Stats.ResponsesOut.count(wire.Informational)
	t.env.Stats.Sync.Sent++
	t.transmit(t.from.Local, t.from.Remote, packets)
}

// goAhead goes ahead with the sequence numbers of what we send, as the peer
// asks: "The sender requests that the peer should increment all the Child SA
// Replay Counters for the sender's incoming traffic by this value." RFC 6311
// section 6.4.
func (t *Tunnel) goAhead(c wire.ReplayCounters) {
	switch {
	case c.Delta == 0:
	case c.Delta <= maxShift:
		t.shift(Shift{Out: c.Delta})
	default:
		for _, child := range t.children {
			if child.state == childUp {
				t.enqueue(task{kind: taskRekeyChild, spi: child.in})
			}
		}
	}
}
