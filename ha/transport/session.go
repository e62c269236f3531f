package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha/transport/cert"
)

// session is one stream with a member, after its handshake.
type session struct {
	peer  *peer
	raw   net.Conn
	tls   *tls.Conn
	state tls.ConnectionState
	chain []*x509.Certificate
	trust *cert.Identity // what the chain was verified by
	hello hello
	info  Session
	keys  *beatKeys

	in    *bufio.Reader
	out   *outbox
	after []<-chan struct{} // sessions whose PeerDown must come first
	begun bool              // under mesh.mu: PeerUp was, or is being called

	rtt atomic.Int64 // of the stream, smoothed

	once     sync.Once
	err      error         // why it ended, once done is closed
	done     chan struct{} // closed by end
	finished chan struct{} // closed when PeerDown has returned
}

// end breaks the connection. The first reason counts.
func (s *session) end(err error) {
	s.once.Do(func() {
		s.err = err
		s.out.close()
		s.raw.Close()
		close(s.done)
	})
}

func (s *session) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// run serves an admitted session to its end.
func (s *session) run() {
	p := s.peer
	m := p.mesh
	defer close(s.finished)
	for _, before := range s.after {
		<-before
	}
	if s.ended() { // before it began
		m.release(s)
		return
	}
	p.useKeys(s.keys)
	s.info.Since = time.Now()
	m.begin(s)
	p.log.Info("peer connected", "member", s.info.Member, "protocol", s.info.Protocol, "expires", s.chain[0].NotAfter)
	m.cfg.Receiver.PeerUp(s.info)

	var writer sync.WaitGroup
	writer.Go(func() {
		if err := s.write(p.ctx); err != nil {
			s.end(fmt.Errorf("transport: write to member %d: %w", s.info.Member, err))
		}
	})
	s.end(s.read())
	writer.Wait()
	m.release(s)
	p.ended(s.err)
	p.log.Info("peer disconnected", "member", s.info.Member, "err", s.err)
	m.cfg.Receiver.PeerDown(s.info, s.err)
}

// read delivers frames until the stream ends, and says how.
func (s *session) read() error {
	m, n := s.peer.mesh, &s.peer.n
	var octets uint64
	for {
		f, err := readFrame(s.in, m.cfg.Limits.Frame)
		switch {
		case errors.Is(err, io.EOF):
			return ErrClosed
		case err != nil:
			return fmt.Errorf("transport: read from member %d: %w", s.info.Member, err)
		}
		octets += uint64(headerLen + len(f.Body))
		if octets > m.cfg.Limits.Session {
			return fmt.Errorf("transport: member %d: the session has carried %d octets and is renewed", s.info.Member, octets)
		}
		if f.Type >= FirstReserved {
			s.control(f)
			continue
		}
		n.received.count(f)
		m.cfg.Receiver.ReceiveFrame(s.info.Member, f)
	}
}

// control takes a frame of the transport's own.
func (s *session) control(f Frame) {
	switch f.Type {
	case typePing:
		s.out.answer(f.Body)
	case typePong:
		if len(f.Body) == 8 {
			s.measured(time.Since(s.peer.mesh.started) - time.Duration(binary.BigEndian.Uint64(f.Body)))
		}
	default:
		s.peer.n.ignored.Add(1)
	}
}

// measured smooths the round trip as RFC 6298 section 2 does: the newest
// measurement is an eighth of it.
func (s *session) measured(r time.Duration) {
	if r < 0 || r > time.Hour {
		return // not what we sent
	}
	if old := s.rtt.Load(); old != 0 {
		r = time.Duration(old) + (r-time.Duration(old))/8
	}
	s.rtt.Store(int64(max(r, 1)))
}

func (s *session) ping() Frame {
	now := uint64(time.Since(s.peer.mesh.started))
	return Frame{Type: typePing, Body: binary.BigEndian.AppendUint64(nil, now)}
}

// write sends what is queued until the session ends or ctx does; then it sends
// the rest and says goodbye, which makes the peer close.
func (s *session) write(ctx context.Context) error {
	m := s.peer.mesh
	ticks := time.NewTicker(m.cfg.Ping)
	defer ticks.Stop()
	var b batch
	if m.decides(s) {
		if err := s.writeNow(Frame{Type: typeAccept}); err != nil {
			return err
		}
	}
	next := appendFrame(nil, s.ping())
	var octets uint64
	for {
		if err := s.flush(ctx, &b, next, &octets); err != nil {
			return err
		}
		next = nil
		select {
		case <-s.out.wake:
		case <-ticks.C:
			next = appendFrame(nil, s.ping())
		case <-s.done:
			return nil
		case <-ctx.Done():
			return s.goodbye(context.WithoutCancel(ctx), &b, &octets)
		}
	}
}

// flush writes own, and batches until the queues are empty or ctx ends.
func (s *session) flush(ctx context.Context, b *batch, own []byte, octets *uint64) error {
	m := s.peer.mesh
	ping := time.Now().Add(m.cfg.Ping)
	for ctx.Err() == nil {
		s.out.take(b)
		b.data = append(b.data, own...)
		own = nil
		if len(b.data) == 0 {
			break
		}
		if now := time.Now(); now.After(ping) { // the queues have not been empty for so long
			b.data = appendFrame(b.data, s.ping())
			ping = now.Add(m.cfg.Ping)
		}
		if _, err := s.tls.Write(b.data); err != nil {
			return err
		}
		s.wrote(b)
		if *octets += uint64(len(b.data)); *octets > m.cfg.Limits.Session {
			return fmt.Errorf("the session has carried %d octets and is renewed", *octets)
		}
		if cap(b.data) > 4*batchOctets { // a large frame has passed
			b.data = nil
		}
	}
	return nil
}

// wrote counts a batch and tells who waits for room.
func (s *session) wrote(b *batch) {
	s.peer.n.sent.add(b)
	for c, room := range b.room {
		if room {
			s.peer.mesh.cfg.Receiver.Room(s.info.Member, Class(c))
		}
	}
}

func (s *session) goodbye(ctx context.Context, b *batch, octets *uint64) error {
	m := s.peer.mesh
	last := time.AfterFunc(m.cfg.Linger, func() { s.end(ErrClosed) })
	defer last.Stop()
	if err := s.flush(ctx, b, nil, octets); err != nil {
		return err
	}
	if err := s.tls.CloseWrite(); err != nil {
		return err
	}
	<-s.done // the peer closed, or lingered
	return nil
}

// writeNow writes one frame of our own, past the queues.
func (s *session) writeNow(f Frame) error {
	_, err := s.tls.Write(appendFrame(nil, f))
	return err
}

// beatKeys derives the keys of this session's heartbeats, one per direction.
func (s *session) beatKeys(us ipsec.MemberID) (*beatKeys, error) {
	out, err := s.export("heartbeat", []byte{byte(us)}, 32)
	if err != nil {
		return nil, err
	}
	in, err := s.export("heartbeat", []byte{byte(s.info.Member)}, 32)
	if err != nil {
		return nil, err
	}
	return newBeatKeys(s.info.ID, us, s.info.Member, out, in)
}
