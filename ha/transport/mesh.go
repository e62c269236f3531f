package transport

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha/transport/cert"
)

// Receiver gets what arrives. Calls about one member's sessions (PeerUp,
// ReceiveFrame, PeerDown) come one after the other, each before the next
// begins; all others, and those about other members, come at the same time.
// What blocks in ReceiveFrame stops reading from that member. No call may wait
// for the end of Run.
type Receiver interface {
	// PeerUp begins a session. Send works from now on.
	PeerUp(s Session)
	// PeerDown ends it. The error is ErrClosed, or what went wrong.
	PeerDown(s Session, err error)
	// ReceiveFrame takes a frame, whose Body belongs to the Receiver. Types and
	// classes may be ones that this version does not know.
	ReceiveFrame(from ipsec.MemberID, f Frame)
	// ReceiveHeartbeat takes a heartbeat. All members' come one after the other,
	// so it must be quick.
	ReceiveHeartbeat(h Heartbeat)
	// Room says that a class of which Send had returned Full is half empty; it is
	// not said when the session ends instead. What blocks there stops writing to
	// that member.
	Room(to ipsec.MemberID, c Class)
}

// Session is one authenticated stream with a member.
type Session struct {
	Member ipsec.MemberID
	Addr   netip.AddrPort // Peer.Addr
	// Via is the address that the session is with, one of Peer.Links or Addr.
	Via netip.Addr
	// ID is the same at both ends and differs from session to session.
	ID uint64
	// Protocol is the version of frames that both ends speak.
	Protocol     uint16
	Capabilities uint64 // the peer's
	Since        time.Time
}

// Outcome of Send and Heartbeat.
type Outcome uint8

// The outcomes.
const (
	// Away: there is no session with that member; for a heartbeat: and never was.
	Away Outcome = iota
	// Queued: it will be sent unless the session ends before; a heartbeat is on
	// its way.
	Queued
	// Full: the queue of that member and class is full, or for a heartbeat the
	// kernel's. It was dropped and counted.
	Full
	// TooLong: it is above Limits.Frame, or MaxHeartbeat, or not of a class and
	// type that callers have.
	TooLong
)

// String is the outcome's name in metrics.
func (o Outcome) String() string {
	switch o {
	case Queued:
		return "queued"
	case Full:
		return "full"
	case TooLong:
		return "too_long"
	default:
		return "away"
	}
}

// ErrClosed is how a session ends that the peer closed, or that ended because
// Run did. Whoever can write on the link can close a stream: only a frame proves
// that a member means to leave.
var ErrClosed = errors.New("transport: session closed")

// errReplaced ends a session that has a successor.
var errReplaced = errors.New("transport: the member began another session")

// Mesh connects this member with the others. It is safe for concurrent use.
type Mesh struct {
	cfg     Config
	us      cert.Name
	log     *slog.Logger
	ways    []*way // the sync interface, and Config.Links
	started time.Time
	start   uint64 // hello.Start

	identity atomic.Pointer[cert.Identity]
	// open are the sessions between PeerUp and PeerDown, beats the peers that
	// have keys for heartbeats, both by member.
	open  [ipsec.MaxMembers]atomic.Pointer[session]
	beats [ipsec.MaxMembers]atomic.Pointer[peer]
	n     meshCounters

	work sync.WaitGroup // everything that Run started

	mu       sync.Mutex
	ctx      context.Context            //nolint:containedctx // Run's, while it runs: for peers that are added
	peers    map[netip.Addr]*peer       // by Peer.Addr
	at       map[netip.Addr]*peer       // by every address
	sessions [ipsec.MaxMembers]*session // admitted and not finished
}

// New checks the configuration. Nothing happens before Run.
func New(cfg Config) (*Mesh, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.Local = netip.AddrPortFrom(cfg.Local.Addr().Unmap(), cfg.Local.Port())
	var start [8]byte
	if _, err := rand.Read(start[:]); err != nil {
		return nil, fmt.Errorf("transport: draw a number: %w", err)
	}
	m := &Mesh{
		cfg:     cfg,
		us:      cfg.Identity.Name(),
		log:     cfg.Log.With("subsystem", "ha_transport"),
		ways:    waysOf(cfg),
		started: time.Now(),
		start:   binary.BigEndian.Uint64(start[:]),
		peers:   make(map[netip.Addr]*peer),
		at:      make(map[netip.Addr]*peer),
	}
	m.identity.Store(cfg.Identity)
	for _, p := range cfg.Peers {
		m.add(p)
	}
	return m, nil
}

// Run opens the sockets, connects to all peers and serves until ctx ends or
// the sockets cannot be used; then it lets queues empty for Config.Linger and
// ends every session. Run once.
func (m *Mesh) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, w := range m.ways {
		if err := w.open(ctx); err != nil {
			return errors.Join(err, closeAll(m.ways[:i]))
		}
	}
	m.log.Info("sync opened", "local", m.cfg.Local, "group", m.us.Group, "member", m.us.Member)
	m.mu.Lock()
	m.ctx = ctx
	for _, p := range m.peers {
		m.launch(p)
	}
	m.mu.Unlock()
	for i, w := range m.ways {
		m.work.Go(func() { m.accept(ctx, w.listener) })
		m.work.Go(func() { m.listenBeats(ctx, i) })
	}
	<-ctx.Done()
	err := closeAll(m.ways)
	m.mu.Lock()
	m.ctx = nil // nothing is launched from now on
	m.mu.Unlock()
	m.work.Wait()
	m.log.Info("sync closed", "local", m.cfg.Local)
	return err
}

// Send queues a frame for a member and does not wait. When it returns Queued
// the Body belongs to the Mesh: it must not change any more, but may be sent to
// others as well.
func (m *Mesh) Send(to ipsec.MemberID, f Frame) Outcome {
	if to >= ipsec.MaxMembers {
		return Away
	}
	if f.Class >= Classes || f.Type >= FirstReserved || len(f.Body) > m.cfg.Limits.Frame {
		return TooLong
	}
	s := m.open[to].Load()
	if s == nil {
		return Away
	}
	o := s.out.put(f)
	if o == Full {
		s.peer.n.full[f.Class].Add(1)
	}
	return o
}

// Export derives key material of n octets that both ends of the present
// session with a member share, and nobody else knows: for the keys of the
// members' own ESP. Other labels, contexts and sessions give other keys; a
// caller that needs one per direction puts the sender into the context.
//
// "Label values beginning with "EXPERIMENTAL" MAY be used for private use
// without registration." RFC 5705 section 4.
func (m *Mesh) Export(with ipsec.MemberID, label string, context []byte, n int) (key ipsec.Key, session uint64, err error) {
	if with >= ipsec.MaxMembers {
		return ipsec.Key{}, 0, fmt.Errorf("transport: export a key: no member has the id %d", with)
	}
	s := m.open[with].Load()
	if s == nil {
		return ipsec.Key{}, 0, fmt.Errorf("transport: export a key: no session with member %d", with)
	}
	b, err := s.export("caller "+label, context, n)
	if err != nil {
		return ipsec.Key{}, 0, fmt.Errorf("transport: export a key for member %d: %w", with, err)
	}
	return ipsec.NewKey(b), s.info.ID, nil
}

// SetIdentity changes our certificate and whom we trust, of the same member.
// Sessions go on, but for those whose peer the new identity would refuse.
func (m *Mesh) SetIdentity(id *cert.Identity) error {
	if id.Name() != m.us {
		return fmt.Errorf("transport: change the certificate: it is of %v, and we are %v", id.Name(), m.us)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.identity.Store(id)
	now := time.Now()
	for _, s := range m.sessions {
		if s == nil {
			continue
		}
		if _, err := id.Verify(s.chain, s.info.Via, now); err != nil {
			s.end(fmt.Errorf("transport: after a change of certificates: %w", err))
		}
	}
	return nil
}

// SetPeers changes who the other members are. Sessions with those that stay go
// on.
func (m *Mesh) SetPeers(peers []Peer) error {
	if err := m.cfg.checkPeers(peers); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	stay := make(map[netip.Addr]bool)
	for _, p := range peers {
		addr := p.Addr.Unmap()
		if old := m.peers[addr]; old != nil && old.accepts(p) {
			old.pin = p.Member
			stay[addr] = true
		}
	}
	for addr, p := range m.peers {
		if !stay[addr] {
			m.remove(p)
		}
	}
	for _, p := range peers {
		if !stay[p.Addr.Unmap()] {
			m.add(p)
		}
	}
	return nil
}

// accept serves connections from peers until the listener is closed.
func (m *Mesh) accept(ctx context.Context, l net.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			m.n.acceptErrors.Add(1) // no file descriptor left, for instance
			pause(ctx, acceptPause)
			continue
		}
		p := m.peerAt(conn.RemoteAddr())
		switch {
		case p == nil:
			m.n.strangers.Add(1)
			m.log.Debug("connection of a stranger closed", "addr", conn.RemoteAddr())
			conn.Close()
		case p.handshakes.Add(1) > int32(m.cfg.Limits.Handshakes):
			p.handshakes.Add(-1)
			conn.Close()
			p.failed(p.refusal(ReasonBusy, errors.New("it has too many unfinished handshakes")))
		default:
			m.work.Go(func() { p.answer(conn) })
		}
	}
}

const acceptPause = 100 * time.Millisecond

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
