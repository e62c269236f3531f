//go:build dpdk

package dpdk

import (
	"context"
	"iter"
	"sync"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/dpdk/loop"
)

// maxEvents bounds the events that wait for a reader.
const maxEvents = 8192

// events keeps what was noticed for one reader at a time. Nobody waits for the
// reader: what does not fit is counted, and the reader is told.
type events struct {
	mu      sync.Mutex
	waiting []offload.Event
	lost    uint64
	wake    chan struct{} // has room for one token
	reader  chan struct{} // closed when another reader comes
}

func newEvents() *events { return &events{wake: make(chan struct{}, 1)} }

// add queues events, then a gap of lost ones.
func (q *events) add(lost uint64, es ...offload.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range es {
		if len(q.waiting) < maxEvents && q.lost == 0 {
			q.waiting = append(q.waiting, e)
		} else {
			q.lost++
		}
	}
	q.lost += lost
	q.signal()
}

func (q *events) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next takes one event; the gap, if any, comes behind all others.
func (q *events) next() (offload.Event, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) > 0 {
		e := q.waiting[0]
		q.waiting = q.waiting[1:]
		return e, true
	}
	if q.lost > 0 {
		e := offload.Overrun{Lost: q.lost}
		q.lost = 0
		return e, true
	}
	return nil, false
}

// takeOver ends the stream before this one.
func (q *events) takeOver() chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.reader != nil {
		close(q.reader)
	}
	q.reader = make(chan struct{})
	q.signal() // the reader before may have taken the token
	return q.reader
}

// stream yields events until ctx ends, another stream begins, or closed is.
func (q *events) stream(ctx context.Context, closed <-chan struct{}) iter.Seq2[offload.Event, error] {
	return func(yield func(offload.Event, error) bool) {
		ended := q.takeOver()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ended:
				return
			case <-closed:
				yield(nil, offload.ErrDown)
				return
			case <-q.wake:
			}
			if !q.drainTo(ctx, ended, yield) {
				return
			}
		}
	}
}

func (q *events) drainTo(ctx context.Context, ended <-chan struct{}, yield func(offload.Event, error) bool) bool {
	for ctx.Err() == nil {
		select {
		case <-ended:
			q.signal() // for the one that took over
			return false
		default:
		}
		e, ok := q.next()
		if !ok {
			return true
		}
		if !yield(e, nil) {
			return false
		}
	}
	q.signal()
	return false
}

// Events yields what the dataplane noticed.
func (e *Engine) Events(ctx context.Context) iter.Seq2[offload.Event, error] {
	return e.events.stream(ctx, e.closed)
}

// pump hands over what workers noticed. What was noticed before is queued when it
// returns.
func (e *Engine) pump(p *loop.Plane) {
	e.pumping.Lock()
	defer e.pumping.Unlock()
	noticed, lost := p.Events()
	var out []offload.Event
	for _, n := range noticed {
		if event := e.translate(n); event != nil {
			out = append(out, event)
		}
	}
	if len(out) > 0 || lost > 0 {
		e.events.add(lost, out...)
	}
}

// translate returns nil for an event of an SA that is gone.
func (e *Engine) translate(n loop.Event) offload.Event {
	switch n.Kind {
	case loop.Activated:
		return offload.Activated{Tunnel: n.Tunnel, Group: offload.Group(n.Group), Epoch: offload.Epoch(n.Value)}
	case loop.Acquire:
		return acquire(n)
	default: // of one SA
	}
	e.names.RLock()
	id, there := e.serials[n.Serial]
	e.names.RUnlock()
	if !there {
		return nil
	}
	switch n.Kind {
	case loop.FirstPacket:
		return offload.FirstPacket{ID: id, Tunnel: n.Tunnel, Group: offload.Group(n.Group)}
	case loop.ExpiredSoft, loop.ExpiredHard:
		return offload.Expired{ID: id, Hard: n.Kind == loop.ExpiredHard}
	case loop.LeaseLow, loop.LeaseEnd:
		return offload.LeaseLow{ID: id, Next: n.Value, Exhausted: n.Kind == loop.LeaseEnd}
	case loop.MTUChanged:
		return offload.MTUChanged{ID: id, MTU: uint16(n.Value)}
	case loop.PeerMoved:
		return offload.PeerMoved{ID: id, Remote: n.Remote}
	default:
		return nil
	}
}

// acquire names the packet's own selectors, what RFC 7296 section 2.9 puts first
// into TSi and TSr.
func acquire(n loop.Event) offload.Acquire {
	local := ipsec.TrafficSelector{Proto: n.Proto, Min: n.Local.Addr(), Max: n.Local.Addr(), PortMin: n.Local.Port(), PortMax: n.Local.Port()}
	remote := ipsec.TrafficSelector{Proto: n.Proto, Min: n.Remote.Addr(), Max: n.Remote.Addr(), PortMin: n.Remote.Port(), PortMax: n.Remote.Port()}
	if !n.HasPorts {
		local.PortMin, local.PortMax = 0, 65535
		remote.PortMin, remote.PortMax = 0, 65535
	}
	return offload.Acquire{Local: local, Remote: remote}
}
