package softesp

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/softesp/packet"
)

// The limits of what waits for successors.
const (
	// maxHeldPackets bounds what waits in one tunnel, so that none takes all the room.
	maxHeldPackets = 512
	// maxHeldOctets bounds what waits in all of them.
	maxHeldOctets = 16 << 20
	// maxHeldTime is for how long a packet waits: who sent it sends it again by then.
	maxHeldTime = 30 * time.Second
)

// holder keeps packets that an SA without a number left would have sent, until its
// successor is there. The packet path comes here with packets of such SAs only; all
// others find any at zero.
type holder struct {
	stats *counters
	// due is how many packets are to be sent again.
	due atomic.Int64

	mu      sync.Mutex
	octets  int
	waiting map[ipsec.TunnelID][]heldPacket
	// released have a successor, or must find out that they have none.
	released []heldPacket
}

// heldPacket is an inner packet that found no number at sa.
type heldPacket struct {
	sa    *association
	inner []byte
	since time.Duration
}

// keep has the segments of a super-packet wait, from one to the one before another.
// What finds no room is dropped.
func (h *holder) keep(a *association, s *packet.Super, from, to int, now time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := from; i < to; i++ {
		inner := make([]byte, s.Largest())
		inner = inner[:s.Segment(inner, i)]
		if len(h.waiting[a.tunnel.id]) >= maxHeldPackets || h.octets+len(inner) > maxHeldOctets {
			h.expire(now)
		}
		if len(h.waiting[a.tunnel.id]) >= maxHeldPackets || h.octets+len(inner) > maxHeldOctets {
			h.lose(a, to-i)
			return
		}
		if h.waiting == nil {
			h.waiting = make(map[ipsec.TunnelID][]heldPacket)
		}
		h.waiting[a.tunnel.id] = append(h.waiting[a.tunnel.id], heldPacket{a, inner, now})
		h.octets += len(inner)
		a.held.Add(1)
		h.stats.held.Add(1)
	}
}

// lose counts n packets that waited in vain.
func (h *holder) lose(a *association, n int) {
	a.drop(dropQueue, n)
	h.stats.heldLost.Add(uint64(n))
}

// expire drops what has waited too long. The caller holds mu.
func (h *holder) expire(now time.Duration) {
	for id, list := range h.waiting {
		n := 0
		for n < len(list) && now-list[n].since > maxHeldTime {
			h.octets -= len(list[n].inner)
			h.lose(list[n].sa, 1)
			n++
		}
		if n == len(list) {
			delete(h.waiting, id)
		} else if n > 0 {
			h.waiting[id] = slices.Clone(list[n:])
		}
	}
}

// any tells whether something waits.
func (h *holder) any() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.waiting) > 0
}

// release has what waits in a tunnel be sent again; false when nothing does.
func (h *holder) release(id ipsec.TunnelID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.waiting[id]
	delete(h.waiting, id)
	h.released = append(h.released, list...)
	h.due.Store(int64(len(h.released)))
	return len(list) > 0
}

// take moves up to n packets that are to be sent again to out.
func (h *holder) take(out []heldPacket, n int) []heldPacket {
	h.mu.Lock()
	defer h.mu.Unlock()
	n = min(n, len(h.released))
	out = append(out, h.released[:n]...)
	if h.released = h.released[n:]; len(h.released) == 0 {
		h.released = nil
	}
	for _, p := range out {
		h.octets -= len(p.inner)
	}
	h.due.Store(int64(len(h.released)))
	return out
}

// succeed has the packets that waited for SAs which are installed now be sent, by the
// first transmitter.
func (e *Engine) succeed(placed []offload.Placement) {
	if !e.held.any() {
		return
	}
	e.drain() // no packet comes to wait any more that has seen the old SAs only
	released := false
	for _, p := range placed {
		a := e.sas[p.ID]
		if a != nil && p.Err == nil && a.Direction == ipsec.Outbound && a.Link == nil && a.active() {
			released = e.held.release(a.tunnel.id) || released
		}
	}
	if released {
		e.network.tx[0].wake.Signal()
	}
}

// relinquish has what waits in a group be sent again, which its SAs cannot any more:
// they stand by.
func (e *Engine) relinquish(g *group) {
	if !e.held.any() {
		return
	}
	released := false
	for _, t := range e.tunnels {
		for _, a := range *t.sas.Load() {
			if a.group.Load() == g {
				released = e.held.release(t.id) || released
				break
			}
		}
	}
	if released {
		e.network.tx[0].wake.Signal()
	}
}

// resend sends again what has waited, and returns how many packets that were. They
// are dealt with like new ones: what still finds no number waits on, as from now.
func (t *transmitter) resend() int {
	if t.user.queue != 0 || t.e.held.due.Load() == 0 {
		return 0
	}
	t.again = t.e.held.take(t.again[:0], maxFrames)
	for _, p := range t.again {
		switch {
		case t.now-p.since > maxHeldTime:
			t.e.held.lose(p.sa, 1)
		case t.super.ParsePacket(p.inner):
			t.forward()
		}
	}
	n := len(t.again)
	clear(t.again)
	return n
}
