package transport

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// minBackoff is the first pause after a failed attempt; it doubles up to
// Config.MaxBackoff.
const minBackoff = 20 * time.Millisecond

// peer is a configured address and what is known of who is there.
type peer struct {
	mesh *Mesh
	addr netip.AddrPort
	// addrs are its addresses by way, the first of them addr.
	addrs []netip.AddrPort
	log   *slog.Logger
	n     peerCounters

	ctx        context.Context //nolint:containedctx // ends when the peer is removed or Run ends
	cancel     context.CancelFunc
	handshakes atomic.Int32 // inbound connections that are not a session yet

	// Under mesh.mu.
	pin     *ipsec.MemberID
	current *session // admitted and not finished
	lost    uint64   // hello.Lost
	removed bool

	mu        sync.Mutex
	last      *beatKeys // of the present or last session
	previous  *beatKeys // of the one before: its datagrams may still come
	lastErr   error
	lastErrAt time.Time
	logged    bool   // lastErr is in the log, and later ones like it need not be
	reason    Reason // of lastErr
}

// add makes a peer. The caller holds mu, or is New.
func (m *Mesh) add(c Peer) {
	addr := netip.AddrPortFrom(c.Addr.Unmap(), m.cfg.Local.Port())
	p := &peer{mesh: m, addr: addr, pin: c.Member, log: m.log.With("peer", addr.Addr())}
	p.addrs = m.addrsOf(c)
	m.peers[addr.Addr()] = p
	for _, a := range p.addrs {
		if a.IsValid() {
			m.at[a.Addr()] = p
		}
	}
	if m.ctx != nil {
		m.launch(p)
	}
}

// addrsOf are the addresses of a peer by way.
func (m *Mesh) addrsOf(c Peer) []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(m.ways))
	addrs[0] = netip.AddrPortFrom(c.Addr.Unmap(), m.cfg.Local.Port())
	for i, a := range c.Links {
		if a.IsValid() {
			addrs[i+1] = netip.AddrPortFrom(a.Unmap(), m.cfg.Local.Port())
		}
	}
	return addrs
}

// launch starts to dial. The caller holds mu, in Run or while it runs.
func (m *Mesh) launch(p *peer) {
	p.ctx, p.cancel = context.WithCancel(m.ctx)
	m.work.Go(p.keep)
}

// remove forgets a peer: its session ends, its heartbeats are a stranger's. The
// caller holds mu.
func (m *Mesh) remove(p *peer) {
	delete(m.peers, p.addr.Addr())
	for _, a := range p.addrs {
		delete(m.at, a.Addr())
	}
	p.removed = true
	if p.cancel != nil {
		p.cancel()
	}
	if p.current != nil {
		p.current.end(errors.New("transport: the peer is no longer configured"))
	}
	for i := range m.beats {
		m.beats[i].CompareAndSwap(p, nil)
	}
}

// accepts tells whether the peer may stay when it is configured anew. The
// caller holds mesh.mu.
func (p *peer) accepts(c Peer) bool {
	return slices.Equal(p.addrs, p.mesh.addrsOf(c)) &&
		(c.Member == nil || p.current == nil || p.current.info.Member == *c.Member)
}

// peerAt finds the peer with that address, when Run has begun to serve it.
func (m *Mesh) peerAt(a net.Addr) *peer {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return nil
	}
	return m.peerOf(tcp.AddrPort().Addr().Unmap())
}

func (m *Mesh) peerOf(addr netip.Addr) *peer {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.at[addr]
	if p == nil || p.ctx == nil {
		return nil
	}
	return p
}

// keep dials whenever there is no session.
func (p *peer) keep() {
	defer p.cancel()
	var failures int
	for p.ctx.Err() == nil {
		began := time.Now()
		if s := p.session(); s != nil {
			select {
			case <-s.finished:
			case <-p.ctx.Done():
				return
			}
		} else if err := p.dial(p.way(failures)); err != nil {
			p.failed(err)
		}
		if time.Since(began) > p.mesh.cfg.MaxBackoff {
			failures = (failures + 1) % len(p.addrs)
			continue // it has lived, or the attempt itself was long enough
		}
		pause(p.ctx, p.backoff(failures))
		failures++
	}
}

// backoff grows, and differs from member to member so that they do not dial in
// step for ever.
func (p *peer) backoff(failures int) time.Duration {
	d := min(minBackoff<<min(failures, 16), p.mesh.cfg.MaxBackoff)
	return d/2 + rand.N(d/2+1) //nolint:gosec // jitter is no secret
}

func (p *peer) session() *session {
	p.mesh.mu.Lock()
	defer p.mesh.mu.Unlock()
	return p.current
}

// dial connects over a way and serves the session to its end; the error is why
// there was none.
func (p *peer) dial(way int) error {
	ctx, cancel := context.WithTimeout(p.ctx, p.mesh.cfg.Handshake)
	defer cancel()
	w := p.mesh.ways[way]
	conn, err := w.net.dial(ctx, w.local.Addr(), p.addrs[way])
	if err != nil {
		return p.refusal(ReasonUnreachable, err)
	}
	defer conn.Close()
	s, err := p.handshake(ctx, conn, true)
	if err != nil {
		return err
	}
	cancel()
	s.run()
	return nil
}

// answer is dial's other end.
func (p *peer) answer(conn net.Conn) {
	defer conn.Close()
	ctx, cancel := context.WithTimeout(p.ctx, p.mesh.cfg.Handshake)
	defer cancel()
	s, err := p.handshake(ctx, conn, false)
	p.handshakes.Add(-1)
	if err != nil {
		p.failed(err)
		return
	}
	cancel()
	s.run()
}

// failed notes why there was no session, and logs it when it is another reason
// than the last time: a peer that is off would fill the log.
func (p *peer) failed(err error) {
	if p.ctx.Err() != nil {
		return
	}
	reason := ReasonOther
	if r, ok := errors.AsType[*Refusal](err); ok {
		reason = r.Reason
	}
	p.n.refused[reason].Add(1)
	if reason == ReasonCrossed {
		return
	}
	p.mu.Lock()
	news := !p.logged || p.reason != reason
	p.lastErr, p.lastErrAt, p.reason, p.logged = err, time.Now(), reason, true
	p.mu.Unlock()
	if news {
		p.log.Warn("peer not connected", "reason", reason, "err", err)
	}
}

// ended notes how a session ended; the next failure is news again.
func (p *peer) ended(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastErr, p.lastErrAt, p.logged = err, time.Now(), false
}
