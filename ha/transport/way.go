package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// way is the sync interface, or one of Config.Links: where we listen and send.
type way struct {
	local netip.AddrPort
	name  string // of the interface, empty for any
	net   network

	listener net.Listener // Run's
	udp      atomic.Pointer[beatSocket]
}

// waysOf are the ways of a configuration, the sync interface first.
func waysOf(c Config) []*way {
	ways := []*way{{local: c.Local, name: c.Interface, net: kernel{c.Interface}}}
	for _, l := range c.Links {
		local := netip.AddrPortFrom(l.Local.Unmap(), c.Local.Port())
		ways = append(ways, &way{local: local, name: l.Interface, net: kernel{l.Interface}})
	}
	return ways
}

// open opens the sockets.
func (w *way) open(ctx context.Context) error {
	listener, err := w.net.listen(ctx, w.local)
	if err != nil {
		return fmt.Errorf("transport: listen on %v: %w", w.local, err)
	}
	udp, err := w.net.datagrams(ctx, w.local)
	if err != nil {
		return errors.Join(fmt.Errorf("transport: open UDP %v: %w", w.local, err), listener.Close())
	}
	w.listener = listener
	w.udp.Store(&beatSocket{udp})
	return nil
}

// closeAll closes what open has opened. Closing UDP once more is no mistake: the end
// of listenBeats may have done it.
func closeAll(ways []*way) error {
	var errs []error
	for _, w := range ways {
		errs = append(errs, w.listener.Close())
		if err := w.udp.Load().Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// heardLately is how young the last heartbeat over a way is that works.
const heardLately = time.Second

// way chooses over which way to dial next: the first one that works, and with every
// failure another one.
func (p *peer) way(failures int) int {
	now := time.Since(p.mesh.started)
	var works, rest []int
	for i, a := range p.addrs {
		switch at := p.n.ways[i].at.Load(); {
		case !a.IsValid():
		case at != 0 && now-time.Duration(at) < heardLately:
			works = append(works, i)
		default:
			rest = append(rest, i)
		}
	}
	all := slices.Concat(works, rest)
	return all[failures%len(all)]
}

// LinkStatus is one way to a peer.
type LinkStatus struct {
	// Interface is ours, empty for any; Local and Addr are our address there and the
	// peer's.
	Interface   string
	Local, Addr netip.Addr
	// Received counts heartbeats, Unsent those to the peer that the kernel did not
	// take. Last is when the last one came, zero for never.
	Received, Unsent uint64
	Last             time.Time
	// Session: it is the one that the session goes over.
	Session bool
}

// wayCounters is LinkStatus in the making.
type wayCounters struct {
	received, unsent atomic.Uint64
	at               atomic.Int64 // since mesh.started, 0 for never
}

// links describes all ways to a peer; via is the address that its session is with.
func (p *peer) links(via netip.Addr) []LinkStatus {
	var out []LinkStatus
	for i, w := range p.mesh.ways {
		if !p.addrs[i].IsValid() {
			continue
		}
		n := &p.n.ways[i]
		s := LinkStatus{
			Interface: w.name, Local: w.local.Addr(), Addr: p.addrs[i].Addr(), Received: n.received.Load(), Unsent: n.unsent.Load(),
			Session: p.addrs[i].Addr() == via,
		}
		if at := n.at.Load(); at != 0 {
			s.Last = p.mesh.started.Add(time.Duration(at))
		}
		out = append(out, s)
	}
	return out
}
