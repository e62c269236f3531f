package transport

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha/transport/cert"
)

const (
	testPort = 7708 // below the ports that the kernel hands out
	// patience bounds every wait of a test: what is waited for takes
	// milliseconds, on a machine that is not busy.
	patience = 30 * time.Second
)

// group is a group of members on loopback addresses of their own.
type group struct {
	t         *testing.T
	authority *cert.Authority
	net       [3]byte
	members   map[ipsec.MemberID]*member
}

func newGroup(t *testing.T) *group {
	t.Helper()
	return &group{
		t: t, authority: newAuthority(t, 1), members: make(map[ipsec.MemberID]*member),
		net: [3]byte{127, byte(1 + rand.IntN(254)), byte(rand.IntN(256))},
	}
}

func newAuthority(t testing.TB, group uint8) *cert.Authority {
	t.Helper()
	a, err := cert.NewAuthority(group, time.Now(), time.Hour)
	if err != nil {
		t.Fatalf("There is no authority: %v.", err)
	}
	return a
}

// addr is where member id lives.
func (g *group) addr(id ipsec.MemberID) netip.Addr {
	return netip.AddrFrom4([4]byte{g.net[0], g.net[1], g.net[2], byte(id) + 1})
}

func (g *group) addrPort(id ipsec.MemberID) netip.AddrPort {
	return netip.AddrPortFrom(g.addr(id), testPort)
}

func (g *group) identity(id ipsec.MemberID) *cert.Identity {
	g.t.Helper()
	return issue(g.t, g.authority, g.authority, cert.Member{ID: id, Valid: time.Minute}, time.Now())
}

// issue makes an identity by one authority that trusts another.
func issue(t testing.TB, by, trusts *cert.Authority, m cert.Member, now time.Time) *cert.Identity {
	t.Helper()
	c, key, err := by.Issue(m, now)
	if err != nil {
		t.Fatalf("Member %d gets no certificate: %v.", m.ID, err)
	}
	ca, _, _ := trusts.PEM()
	own, _, _ := by.PEM()
	i, err := cert.New(slices.Concat(ca, own), c, key, now)
	if err != nil {
		t.Fatalf("The certificate of member %d is no identity: %v.", m.ID, err)
	}
	return i
}

// config is what a member has when nothing special is tested: the others are
// its peers, and it is patient on a busy machine.
func (g *group) config(id ipsec.MemberID, others ...ipsec.MemberID) Config {
	g.t.Helper()
	c := Config{Identity: g.identity(id), Local: g.addrPort(id), MaxBackoff: 50 * time.Millisecond, Stall: patience}
	for _, o := range others {
		c.Peers = append(c.Peers, Peer{Addr: g.addr(o)})
	}
	return c
}

// member is a running Mesh with what it received.
type member struct {
	*Mesh
	*inbox
	t    *testing.T
	id   ipsec.MemberID
	wire *wire
	stop func()
}

// start runs a member to the end of the test.
func (g *group) start(c Config) *member {
	g.t.Helper()
	in := newInbox()
	if c.Receiver == nil {
		c.Receiver = in
	}
	mesh, err := New(c)
	if err != nil {
		g.t.Fatalf("The configuration is good, but: %v.", err)
	}
	w := &wire{network: mesh.ways[0].net}
	mesh.ways[0].net = w
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mesh.Run(ctx) }()
	m := &member{Mesh: mesh, inbox: in, t: g.t, id: c.Identity.Name().Member, wire: w}
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			g.t.Errorf("Member %d did not end in good order: %v.", m.id, err)
		}
	})
	g.t.Cleanup(m.stop)
	g.members[m.id] = m
	return m
}

// pair runs two members that see each other.
func (g *group) pair() (a, b *member) {
	g.t.Helper()
	a, b = g.start(g.config(1, 2)), g.start(g.config(2, 1))
	a.wantPeers(2)
	b.wantPeers(1)
	return a, b
}

// eventually waits until the sentence is true.
func eventually(t *testing.T, sentence string, true func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !true() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("This did not come true: %s.", sentence)
		}
	}
}

// wantPeers waits for sessions with exactly these members.
func (m *member) wantPeers(ids ...ipsec.MemberID) {
	m.t.Helper()
	eventually(m.t, fmt.Sprintf("member %d is connected with %v; it says %v", m.id, ids, m.errors()), func() bool {
		return slices.Equal(m.connected(), ids)
	})
}

func (m *member) errors() (all []error) {
	for _, p := range m.Peers() {
		all = append(all, p.LastError)
	}
	return all
}

// peer is the status of the peer at the address of a member.
func (m *member) peer(addr netip.Addr) PeerStatus {
	m.t.Helper()
	for _, p := range m.Peers() {
		if p.Addr.Addr() == addr {
			return p
		}
	}
	m.t.Fatalf("Member %d has no peer %v.", m.id, addr)
	return PeerStatus{}
}

// inbox is a Receiver that remembers.
type inbox struct {
	mu     sync.Mutex
	up     map[ipsec.MemberID]Session
	ups    []Session
	downs  []error
	frames map[ipsec.MemberID][]Frame
	beats  []Heartbeat
	rooms  []Class
	broken []string

	block chan struct{} // when set, ReceiveFrame waits until it is closed
}

func newInbox() *inbox {
	return &inbox{up: make(map[ipsec.MemberID]Session), frames: make(map[ipsec.MemberID][]Frame)}
}

func (i *inbox) PeerUp(s Session) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, twice := i.up[s.Member]; twice {
		i.broken = append(i.broken, fmt.Sprintf("PeerUp of member %d came before the PeerDown of its last session", s.Member))
	}
	i.up[s.Member] = s
	i.ups = append(i.ups, s)
}

func (i *inbox) PeerDown(s Session, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.up[s.Member].ID != s.ID {
		i.broken = append(i.broken, fmt.Sprintf("PeerDown of member %d is not of the session that is up", s.Member))
	}
	delete(i.up, s.Member)
	i.downs = append(i.downs, err)
}

func (i *inbox) ReceiveFrame(from ipsec.MemberID, f Frame) {
	if i.block != nil {
		<-i.block
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, up := i.up[from]; !up {
		i.broken = append(i.broken, fmt.Sprintf("a frame of member %d came outside of a session", from))
	}
	i.frames[from] = append(i.frames[from], f)
}

func (i *inbox) ReceiveHeartbeat(h Heartbeat) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.beats = append(i.beats, h)
}

func (i *inbox) Room(_ ipsec.MemberID, c Class) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.rooms = append(i.rooms, c)
}

func (i *inbox) connected() (ids []ipsec.MemberID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for id := range i.up {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (i *inbox) session(with ipsec.MemberID) Session {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.up[with]
}

func (i *inbox) received(from ipsec.MemberID) []Frame {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.frames[from])
}

func (i *inbox) heard() []Heartbeat {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.beats)
}

func (i *inbox) ended() []error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.downs)
}

// wantOrder fails when callbacks came out of turn.
func (i *inbox) wantOrder(t *testing.T) {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, sentence := range i.broken {
		t.Errorf("Out of turn: %s.", sentence)
	}
}

// wire is the kernel's network with scissors and ears.
type wire struct {
	network
	deaf     atomic.Bool  // dials fail
	dialing  atomic.Int32 // dials under way
	mu       sync.Mutex
	conns    []*heardConn
	beats    [][]byte // sent
	silenced bool     // heartbeats are heard but not sent
}

var errCut = errors.New("the test has cut the wire")

func (w *wire) dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	w.dialing.Add(1)
	defer w.dialing.Add(-1)
	if w.deaf.Load() {
		return nil, errCut
	}
	c, err := w.network.dial(ctx, from, to)
	if err != nil {
		return nil, err
	}
	return w.hear(c), nil
}

func (w *wire) listen(ctx context.Context, local netip.AddrPort) (net.Listener, error) {
	l, err := w.network.listen(ctx, local)
	return heardListener{l, w}, err
}

func (w *wire) datagrams(ctx context.Context, local netip.AddrPort) (datagrams, error) {
	d, err := w.network.datagrams(ctx, local)
	return heardDatagrams{d, w}, err
}

func (w *wire) hear(c net.Conn) net.Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := &heardConn{Conn: c}
	w.conns = append(w.conns, h)
	return h
}

// cut breaks all streams of the member.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

// wantNoOther waits until a member that dials no more has no stream but its session's:
// both ends dial, and one that crosses could become the next session.
func (m *member) wantNoOther() {
	m.t.Helper()
	eventually(m.t, fmt.Sprintf("member %d has one stream", m.id), func() bool { return m.wire.dialing.Load() == 0 && m.wire.open() <= 1 })
}

// open counts the streams that this end has not closed.
func (w *wire) open() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		if !c.closed.Load() {
			n++
		}
	}
	return n
}

func (w *wire) sentBeats() [][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.beats)
}

// silence lets no heartbeat through, but records them.
func (w *wire) silence(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silenced = on
}

type heardListener struct {
	net.Listener
	w *wire
}

func (l heardListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.w.hear(c), nil
}

type heardDatagrams struct {
	datagrams
	w *wire
}

func (d heardDatagrams) send(b []byte, to netip.AddrPort) error {
	d.w.mu.Lock()
	d.w.beats = append(d.w.beats, slices.Clone(b))
	silenced := d.w.silenced
	d.w.mu.Unlock()
	if silenced {
		return nil
	}
	return d.datagrams.send(b, to)
}

// heardConn records what passes, both ways.
type heardConn struct {
	net.Conn
	closed  atomic.Bool
	mu      sync.Mutex
	in, out []byte
}

func (c *heardConn) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}

func (c *heardConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in = append(c.in, b[:n]...)
	return n, err
}

func (c *heardConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.out = append(c.out, b...)
	c.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *heardConn) CloseWrite() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return errors.New("not TCP")
}

// text is a frame with something to read.
func text(class Class, format string, args ...any) Frame {
	return Frame{Type: 1, Class: class, Body: fmt.Appendf(nil, format, args...)}
}

func (m *member) mustSend(to ipsec.MemberID, f Frame) {
	m.t.Helper()
	if o := m.Send(to, f); o != Queued {
		m.t.Fatalf("Member %d should have queued a frame for %d, but: %v.", m.id, to, o)
	}
}
