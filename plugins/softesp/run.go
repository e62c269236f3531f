package softesp

import (
	"time"

	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/softesp/packet"
)

// run gathers what consecutive packets of one SA have in common, within a batch:
// what they count, so that the SA's own counters, which goroutines share, are
// touched once for all of them.
type run struct {
	sa             *association
	packets, bytes uint64
}

// count notes n packets that passed.
func (r *run) count(n, bytes int) {
	r.packets += uint64(n)
	r.bytes += uint64(bytes)
}

// settle ends a run: what it counted goes to the SA, and what that leads to is
// told.
func (r *run) settle(e *Engine, now time.Duration) {
	if r.packets > 0 {
		soft, hard := r.sa.account(r.packets, r.bytes, now)
		e.tellExpired(r.sa, soft, hard)
		if r.sa.out != nil && r.sa.out.low() {
			e.events.add(offload.LeaseLow{ID: r.sa.ID, Next: r.sa.out.next.Load()})
		}
	}
	*r = run{}
}

// decision remembers, within a batch, which SA the last packet went through:
// packets come in bursts of a flow. The zero value remembers nothing.
type decision struct {
	header packet.Header
	sa     *association
}

// holds tells whether a packet is of the same flow.
func (d *decision) holds(h *packet.Header) bool { return d.sa != nil && d.header.SameFlow(h) }

// tellExpired reports limits that were reached.
func (e *Engine) tellExpired(a *association, soft, hard bool) {
	if soft {
		e.events.add(offload.Expired{ID: a.ID})
	}
	if hard {
		e.events.add(offload.Expired{ID: a.ID, Hard: true})
	}
}
