package transport

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha/transport/cert"
)

// connect opens a connection to member 1 from the address of a member.
func (g *group) connect(from ipsec.MemberID) net.Conn {
	g.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: g.addr(from).AsSlice()}}
	var c net.Conn
	eventually(g.t, "member 1 listens", func() bool {
		var err error
		c, err = d.DialContext(g.t.Context(), "tcp", g.addrPort(1).String())
		return err == nil
	})
	g.t.Cleanup(func() { c.Close() })
	return c
}

// wantClosed reads until the other end closes.
func wantClosed(t *testing.T, c net.Conn) []byte {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(c)
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		t.Error("The connection should have been closed.")
	}
	return b
}

// shake becomes a member of the group on a connection, up to TLS.
func (g *group) shake(c net.Conn, as ipsec.MemberID, change func(*tls.Config)) (*tls.Conn, error) {
	g.t.Helper()
	conf := &tls.Config{
		Certificates: []tls.Certificate{g.identity(as).TLS()}, NextProtos: []string{alpn}, InsecureSkipVerify: true,
	}
	change(conf)
	conn := tls.Client(c, conf)
	err := conn.HandshakeContext(g.t.Context())
	if err == nil { // a client hears late that it was refused
		conn.SetReadDeadline(time.Now().Add(patience))
		_, err = readFrame(conn, maxControl)
	}
	return conn, err
}

func same(*tls.Config) {}

func TestWhatIsNotTLS13IsRefused(t *testing.T) { // B4
	g := newGroup(t)
	us := g.start(g.config(1, 2))
	for name, first := range map[string]string{
		"HTTP":                "GET / HTTP/1.1\r\nHost: gateway\r\n\r\n",
		"zeros":               string(make([]byte, 4096)),
		"a hello without TLS": string(appendFrame(nil, hello{Min: 1, Max: 1}.frame())),
		"half a TLS record":   "\x16\x03\x01\x40\x00\x01",
		"nothing":             "",
	} {
		t.Run(name, func(t *testing.T) {
			before := us.peer(g.addr(2)).Refused[ReasonTLS]
			c := g.connect(2)
			io.WriteString(c, first)
			c.(*net.TCPConn).CloseWrite()
			if got := wantClosed(t, c); len(got) > 0 && got[0] != 21 {
				t.Errorf("The answer should be a TLS alert or nothing, got %q.", got)
			}
			eventually(t, "it is counted", func() bool { return us.peer(g.addr(2)).Refused[ReasonTLS] > before })
		})
	}
	for name, change := range map[string]func(*tls.Config){
		"TLS 1.2":         func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 },
		"no certificate":  func(c *tls.Config) { c.Certificates = nil },
		"no ALPN":         func(c *tls.Config) { c.NextProtos = nil },
		"another ALPN":    func(c *tls.Config) { c.NextProtos = []string{"h2"} },
		"a plain TLS 1.1": func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 },
	} {
		t.Run(name, func(t *testing.T) {
			before := us.peer(g.addr(2)).Refused[ReasonTLS]
			if _, err := g.shake(g.connect(2), 2, change); err == nil {
				t.Error("The handshake should have failed.")
			}
			eventually(t, "it is counted", func() bool { return us.peer(g.addr(2)).Refused[ReasonTLS] > before })
		})
	}
}

func TestNoTicketIsGiven(t *testing.T) { // B4: no resumption and no 0-RTT
	g := newGroup(t)
	g.start(g.config(1, 2))
	cache := &tickets{LRU: tls.NewLRUClientSessionCache(4)}
	c, err := g.shake(g.connect(2), 2, func(c *tls.Config) { c.ClientSessionCache, c.ServerName = cache, "member" })
	if err != nil {
		t.Fatalf("Member 2 should be let in: %v.", err)
	}
	c.Close()
	if cache.put {
		t.Error("The server gave a session ticket.")
	}
}

type tickets struct {
	LRU tls.ClientSessionCache
	put bool
}

func (c *tickets) Get(k string) (*tls.ClientSessionState, bool) { return c.LRU.Get(k) }
func (c *tickets) Put(_ string, s *tls.ClientSessionState)      { c.put = c.put || s != nil }

func TestSlowHandshakesAreCutOff(t *testing.T) {
	g := newGroup(t)
	c := g.config(1, 2)
	c.Handshake = time.Second // that of a good peer fits in on a busy machine
	c.Limits.Handshakes = 2
	us := g.start(c)
	var slow []net.Conn
	for range 8 {
		conn := g.connect(2)
		io.WriteString(conn, "\x16\x03\x01") // and never the rest
		slow = append(slow, conn)
	}
	for _, conn := range slow {
		wantClosed(t, conn)
	}
	eventually(t, "those above the limit were closed at once, the others in time", func() bool {
		p := us.peer(g.addr(2))
		return p.Refused[ReasonBusy] > 0 && p.Refused[ReasonTimeout] > 0
	})
	g.start(g.config(2, 1))
	us.wantPeers(2)
}

func TestStrangersAreClosedUnread(t *testing.T) {
	g := newGroup(t)
	us := g.start(g.config(1, 2))
	c := g.connect(9)
	if got := wantClosed(t, c); len(got) > 0 {
		t.Errorf("A stranger should get no octet, got %q.", got)
	}
	eventually(t, "the stranger is counted", func() bool { return us.Stats().Strangers == 1 })
}

// A member breaks the protocol behind a good handshake.
func TestHellosThatAreNone(t *testing.T) {
	g := newGroup(t)
	us := g.start(g.config(1, 2))
	for name, first := range map[string][]byte{
		"a frame instead":     appendFrame(nil, text(Record, "hello")),
		"a short hello":       appendFrame(nil, Frame{Type: typeHello, Body: make([]byte, helloLen-1)}),
		"a huge hello":        {0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0, 0},
		"half a hello":        hello{Min: 1, Max: 1}.frame().Body[:7],
		"versions turned":     appendFrame(nil, hello{Min: 2, Max: 1}.frame()),
		"nothing":             nil,
		"a frame out of turn": appendFrame(nil, Frame{Type: typeAccept}),
	} {
		t.Run(name, func(t *testing.T) {
			before := us.peer(g.addr(2)).Refused[ReasonHello]
			conn, err := g.shake(g.connect(2), 2, same)
			if err != nil {
				t.Fatalf("Member 2 should be let in: %v.", err)
			}
			conn.Write(first)
			conn.CloseWrite()
			wantClosed(t, conn)
			eventually(t, "it is counted", func() bool { return us.peer(g.addr(2)).Refused[ReasonHello] > before })
		})
	}
	t.Run("the hello of another", func(t *testing.T) {
		conn, err := g.shake(g.connect(2), 2, same)
		if err != nil {
			t.Fatalf("Member 2 should be let in: %v.", err)
		}
		h := hello{Name: g.identity(3).Name(), Min: 1, Max: 1}
		conn.Write(appendFrame(nil, h.frame()))
		f, err := readFrame(conn, maxControl)
		if err != nil || parseVerdict(f) == nil {
			t.Errorf("Member 2 said that it is member 3, and was not refused: %v.", err)
		}
		eventually(t, "it is counted", func() bool { return us.peer(g.addr(2)).Refused[ReasonMember] > 0 })
	})
}

// join is a member that speaks by hand, past its handshake with member 1.
func (g *group) join(id ipsec.MemberID) *tls.Conn {
	g.t.Helper()
	conn, err := g.shake(g.connect(id), id, same)
	if err != nil {
		g.t.Fatalf("Member %d should be let in: %v.", id, err)
	}
	h := hello{Name: g.identity(id).Name(), Min: 1, Max: 1, Start: 99}
	conn.Write(appendFrame(nil, h.frame()))
	if f, err := readFrame(conn, maxControl); err != nil || parseVerdict(f) != nil {
		g.t.Fatalf("Member 1 should accept member %d: %v.", id, errors.Join(err, parseVerdict(f)))
	}
	return conn
}

func TestFramesThatEndASession(t *testing.T) {
	good := appendFrame(nil, text(Record, "good"))
	for name, bad := range map[string][]byte{
		"above the limit":         {0xff, 0xff, 0xff, 0xff, 0, 1, 0, 0},
		"a ping above the limit":  {0, 0, 0x40, 0, 0xff, 3, 0, 0},
		"cut off in the header":   good[:5],
		"cut off behind a header": good[:headerLen],
		"cut off in the body":     good[:headerLen+2],
	} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t)
			us := g.start(g.config(1, 2))
			conn := g.join(2)
			us.wantPeers(2)
			conn.Write(slices.Concat(good, bad))
			conn.CloseWrite()
			eventually(t, "the session ends", func() bool { return len(us.ended()) == 1 })
			if err := us.ended()[0]; errors.Is(err, ErrClosed) {
				t.Error("This is no end in good order.")
			}
			if n := len(us.received(2)); n != 1 {
				t.Errorf("The good frame before should have come, and nothing else; got %d.", n)
			}
			us.wantOrder(t)
		})
	}
}

func TestFramesOfTheFutureArePassedOver(t *testing.T) {
	g := newGroup(t)
	us := g.start(g.config(1, 2))
	conn := g.join(2)
	future := appendFrame(nil, Frame{Type: 0xfffe, Body: []byte("?")})
	future = appendFrame(future, Frame{Type: typePong, Body: []byte("not ours")})
	future = appendFrame(future, Frame{Type: typePong, Body: []byte("short")})
	future = appendFrame(future, Frame{Type: 3, Class: 77, Body: []byte("class")})
	conn.Write(future)
	eventually(t, "the frame of an unknown class is delivered", func() bool { return len(us.received(2)) == 1 })
	p := us.peer(g.addr(2))
	if p.Ignored != 1 || p.Unknown.Frames != 1 || p.RTT != 0 {
		t.Errorf("One frame should be ignored, one of an unknown class, and no round trip measured; got %+v.", p)
	}
	if _, r := p.SessionType(); r != 1 {
		t.Errorf("Session type should count it, got %d.", r)
	}
}

// A dead peer does not close: it is silent.
func TestSilentPeerIsGivenUp(t *testing.T) {
	g := newGroup(t)
	c := g.config(1, 2)
	c.Stall, c.Ping = 2*time.Second, 500*time.Millisecond
	us := g.start(c)
	g.join(2)
	us.wantPeers(2)
	eventually(t, "its session ends", func() bool { return len(us.ended()) > 0 })
	if ne, ok := errors.AsType[net.Error](us.ended()[0]); !ok || !ne.Timeout() {
		t.Errorf("The session should end by a timeout, got: %v.", us.ended()[0])
	}
}

func TestSessionIsRenewedBeforeItsKeysAreWornOut(t *testing.T) {
	g := newGroup(t)
	ca := g.config(1, 2)
	ca.Limits.Session = 1 << 20
	a, b := g.start(ca), g.start(g.config(2, 1))
	b.wantPeers(1)
	a.wantPeers(2)
	first := a.session(2).ID
	body := make([]byte, 64<<10)
	eventually(t, "there is another session", func() bool {
		a.Send(2, Frame{Class: Bulk, Body: body})
		id := a.session(2).ID
		return id != first && id != 0
	})
	a.wantOrder(t)
	b.wantOrder(t)
}

func TestHandshakeEndsWithRun(t *testing.T) {
	g := newGroup(t)
	us := g.start(g.config(1, 2))
	conn := g.connect(2)
	io.WriteString(conn, "\x16\x03\x01")
	eventually(t, "the handshake is under way", func() bool {
		p := us.peerOf(g.addr(2))
		return p != nil && p.handshakes.Load() > 0
	})
	us.stop() // goleak sees whether it waited
	wantClosed(t, conn)
	if _, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", g.addrPort(1).String()); err == nil {
		t.Error("The port should be closed.")
	}
}

// The certificate was good when TLS looked at it, and is not any more when the
// session would begin.
func TestIdentityChangesDuringAHandshake(t *testing.T) { // B4
	g := newGroup(t)
	us := g.start(g.config(1, 2))
	conn, err := g.shake(g.connect(2), 2, same)
	if err != nil {
		t.Fatalf("Member 2 should be let in: %v.", err)
	}
	next := newAuthority(t, 1)
	if err := us.SetIdentity(issue(t, next, next, cert.Member{ID: 1, Valid: time.Minute}, time.Now())); err != nil {
		t.Fatalf("The next identity should be taken: %v.", err)
	}
	conn.Write(appendFrame(nil, hello{Name: g.identity(2).Name(), Min: 1, Max: 1}.frame()))
	if f, err := readFrame(conn, maxControl); err != nil || parseVerdict(f) == nil {
		t.Errorf("Member 2 should be refused by the new identity, with a word: %v.", err)
	}
	eventually(t, "it is counted", func() bool { return us.peer(g.addr(2)).Refused[ReasonCertificate] > 0 })
}
