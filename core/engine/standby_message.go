package engine

import (
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ike"
)

// onAnswer keeps the last answer of a tunnel that another member has ended.
func (r *Replica) onAnswer(now time.Time, b []byte) {
	f, err := ike.ParseFarewell(b)
	if err != nil {
		r.log.Error("last answer of another member was not understood", "error", err)
		return
	}
	r.departed.Keep(now, f)
}

// onGone forgets a tunnel that another member has ended. The peer may be asking
// for just that, because it got no answer.
func (r *Replica) onGone(now time.Time, id ipsec.TunnelID) {
	waiting := r.waiting[id]
	r.drop(id)
	r.hush(id)
	routes, _ := r.recall(id)
	r.onLeft(id, Left{Routes: routes})
	r.toShard(id, Lose{Tunnel: id, Gone: true})
	for _, dg := range waiting {
		r.answerAgain(now, dg)
	}
}

// answerAgain repeats the last answer of another member's tunnel to a request
// that comes again, and tells whether it did.
func (r *Replica) answerAgain(now time.Time, dg ike.Datagram) bool {
	again := r.departed.Repeat(now, dg)
	if again == nil {
		return false
	}
	r.stats.Repeated++
	r.rd.Send = append(r.rd.Send, again...)
	return true
}

// onStrange finds the member that a message is for. While its owner lives it goes
// there; without one, it makes the tunnel ours where we stand by for it.
func (r *Replica) onStrange(now time.Time, in Strange) {
	id, known := r.bySPI[in.SPI]
	if !known && in.Other != 0 {
		id, known = r.bySPI[in.Other]
	}
	if in.Tunnel != 0 {
		id, known = in.Tunnel, true
	}
	if in.Relayed {
		r.stats.RelayedBy++
	}
	if r.answerAgain(now, in.Datagram) {
		return
	}
	if !known {
		r.onUnknown(in)
		return
	}
	status, ok := r.node.Tunnel(id)
	switch {
	case !ok:
		r.stats.NoOwner++
		if in.Tunnel != 0 && r.addresses != nil {
			r.addresses.Release(in.Tunnel) // it has ended; the peer asks again
		}
	case status.Owned || status.Orphan:
		// On its way to our shard, or ours for the asking.
		if w := r.waiting[id]; len(w) < maxWaiting {
			r.waiting[id] = append(w, in.Datagram)
		}
		r.step(now, ha.Stray{Tunnel: id})
	case !in.Relayed:
		r.relay(status.Owner, in.Datagram)
	default:
		r.stats.NoOwner++
	}
}

// onUnknown is for messages of tunnels that we know nothing of: a handshake under
// way, or one that we may not know. The member that made the SPI may.
func (r *Replica) onUnknown(in Strange) {
	if in.Relayed {
		r.stats.NoOwner++
		return
	}
	to := []ipsec.MemberID{in.SPI.Member()}
	if other := in.Other.Member(); in.Other != 0 && other != to[0] {
		to = append(to, other)
	}
	to = slices.DeleteFunc(to, func(m ipsec.MemberID) bool { return m == r.member })
	if len(to) == 0 {
		r.stats.NoOwner++
	}
	for _, m := range to {
		r.relay(m, in.Datagram)
	}
}

func (r *Replica) relay(to ipsec.MemberID, dg ike.Datagram) {
	r.stats.RelayedTo++
	r.rd.Relay = append(r.rd.Relay, Relay{To: to, Datagram: dg})
}
