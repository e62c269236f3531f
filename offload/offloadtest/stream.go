package offloadtest

import (
	"context"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// A stream reads the events of a plane for a clause.
type stream struct {
	events chan offload.Event // closed at its end
	err    error              // why it ended; read after events was closed
	cancel context.CancelFunc
}

// streamBuffer is more than any clause leaves unread on purpose.
const streamBuffer = 1024

// watch opens the stream of events, which ends with the clause.
func (p *probe) watch() *stream {
	ctx, cancel := context.WithCancel(p.ctx)
	s := &stream{events: make(chan offload.Event, streamBuffer), cancel: cancel}
	events := p.Engine.Events(ctx)
	go func() {
		defer close(s.events)
		for ev, err := range events {
			if err != nil {
				s.err = err
				return
			}
			select {
			case s.events <- ev:
			case <-ctx.Done():
				return
			}
		}
	}()
	p.streams = append(p.streams, s)
	return s
}

// end closes the stream and waits for its end.
func (s *stream) end() {
	s.cancel()
	for range s.events {
	}
}

// next returns the next event; it ends the clause when none comes.
func (p *probe) next(s *stream, waitingFor string) offload.Event {
	select {
	case ev, ok := <-s.events:
		if !ok {
			p.fatalf("The stream of events ended (%v) before %s.", s.err, waitingFor)
		}
		return ev
	case <-p.ctx.Done():
		p.fatalf("No event came while the clause waited for %s.", waitingFor)
		return nil
	}
}

// until reads events up to the one that matches, and returns those before it.
func (p *probe) until(s *stream, waitingFor string, match func(offload.Event) bool) (before []offload.Event, ev offload.Event) {
	for {
		ev := p.next(s, waitingFor)
		if match(ev) {
			return before, ev
		}
		before = append(before, ev)
	}
}

// is matches one event exactly.
func is(want offload.Event) func(offload.Event) bool {
	return func(got offload.Event) bool { return got == want }
}

// barrierTunnel is the tunnel that barrier uses; clauses stay below it.
const barrierTunnel = 60000

// barrier makes the plane send one more event, and returns all that came before
// it: what an earlier packet was going to cause has been caused.
func (p *probe) barrier(s *stream, n uint32) []offload.Event {
	const group = offload.MaxGroups - 1
	in := p.inbound(barrierTunnel+n, group)
	p.install(epoch(1), offload.Standby, in)
	p.deliver(in, 1)
	before, _ := p.until(s, "the first packet of a standby SA", is(offload.FirstPacket{
		ID: in.ID, Tunnel: in.Tunnel, Group: group,
	}))
	return before
}

// eventsOf keeps the events of one SA, or of its tunnel.
func eventsOf(sa ipsec.SA, events []offload.Event) []offload.Event {
	var mine []offload.Event
	for _, ev := range events {
		switch ev := ev.(type) {
		case offload.FirstPacket:
			if ev.Tunnel == sa.Tunnel {
				mine = append(mine, ev)
			}
		case offload.Activated:
			if ev.Tunnel == sa.Tunnel {
				mine = append(mine, ev)
			}
		case offload.Expired:
			if ev.ID == sa.ID {
				mine = append(mine, ev)
			}
		case offload.LeaseLow:
			if ev.ID == sa.ID {
				mine = append(mine, ev)
			}
		}
	}
	return mine
}
