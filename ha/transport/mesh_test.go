package transport

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha/transport/cert"
)

func TestTwoMembersTalk(t *testing.T) { // F7
	g := newGroup(t)
	ca, cb := g.config(1, 2), g.config(2, 1)
	ca.Capabilities, cb.Capabilities = 0b101, 0b11
	a, b := g.start(ca), g.start(cb)
	a.wantPeers(2)
	b.wantPeers(1)

	a.mustSend(2, Frame{Type: 7, Class: Control, Body: []byte("a claim")})
	b.mustSend(1, Frame{Type: 8, Class: Packet, Body: []byte("a packet")})
	a.mustSend(2, Frame{Type: 9, Class: Bulk})
	eventually(t, "B has both frames of A", func() bool { return len(b.received(1)) == 2 })
	eventually(t, "A has the frame of B", func() bool { return len(a.received(2)) == 1 })
	if f := b.received(1)[0]; f.Type != 7 || f.Class != Control || string(f.Body) != "a claim" {
		t.Errorf("B received %+v instead of what A sent.", f)
	}
	if f := a.received(2)[0]; f.Type != 8 || f.Class != Packet || string(f.Body) != "a packet" {
		t.Errorf("A received %+v instead of what B sent.", f)
	}
	if sa, sb := a.session(2), b.session(1); sa.ID != sb.ID || sa.ID == 0 || sa.Capabilities != 0b11 || sb.Capabilities != 0b101 || sa.Protocol != 1 {
		t.Errorf("Both ends should see the same session, and each other's capabilities; A has %+v, B has %+v.", sa, sb)
	}

	b.stop()
	eventually(t, "A knows that B is gone", func() bool { return len(a.connected()) == 0 })
	if err := a.ended()[0]; !errors.Is(err, ErrClosed) {
		t.Errorf("B stopped in good order, but A says: %v.", err)
	}
	if o := a.Send(2, text(Record, "late")); o != Away {
		t.Errorf("B is gone, but Send says %v.", o)
	}
	a.wantOrder(t)
	b.wantOrder(t)
}

func TestWhatIsQueuedLeavesBeforeTheEnd(t *testing.T) {
	g := newGroup(t)
	a, b := g.pair()
	for i := range 500 {
		a.mustSend(2, text(Record, "%d", i))
	}
	a.mustSend(2, text(Control, "goodbye"))
	a.stop()
	eventually(t, "B saw the end of the session", func() bool { return len(b.connected()) == 0 })
	if n := len(b.received(1)); n != 501 {
		t.Errorf("A stopped in good order after 501 frames, but B has %d.", n)
	}
}

func TestCountersOfStandalonePeers(t *testing.T) { // F17
	g := newGroup(t)
	a, b := g.pair()
	for class := range Classes {
		for range 3 {
			a.mustSend(2, text(Class(class), "12345"))
		}
	}
	eventually(t, "all frames have come", func() bool { return len(b.received(1)) == 12 })
	eventually(t, "A has counted what it has written", func() bool {
		sent := a.peer(g.addr(2)).Sent
		return !slices.ContainsFunc(sent[:], func(c Traffic) bool { return c.Frames < 3 })
	})
	sent, received := a.peer(g.addr(2)), b.peer(g.addr(1))
	if s, r := sent.SessionType(); s != 9 || r != 0 {
		t.Errorf("A sent 9 frames of session type and received none, but shows send=%d, recv=%d.", s, r)
	}
	if s, r := received.PacketType(); s != 0 || r != 3 {
		t.Errorf("B received 3 frames of packet type and sent none, but shows send=%d, recv=%d.", s, r)
	}
	if want := (Traffic{Frames: 3, Octets: 3 * (headerLen + 5)}); sent.Sent[Bulk] != want || received.Received[Bulk] != want {
		t.Errorf("Both ends should count %+v in bulk, got %+v and %+v.", want, sent.Sent[Bulk], received.Received[Bulk])
	}
	if *sent.Member != 2 || sent.Session == nil || sent.Session.Since.IsZero() || sent.Expires.Before(time.Now()) {
		t.Errorf("The status should say who is there since when and until when, got %+v.", sent)
	}
	eventually(t, "the round trip is measured", func() bool { return a.peer(g.addr(2)).RTT > 0 && b.peer(g.addr(1)).RTT > 0 })
}

func TestExportedKeysAreSharedByBothEndsOfASession(t *testing.T) { // B4
	g := newGroup(t)
	a, b, c := g.start(g.config(1, 2, 3)), g.start(g.config(2, 1, 3)), g.start(g.config(3, 1, 2))
	a.wantPeers(2, 3)
	b.wantPeers(1, 3)
	c.wantPeers(1, 2)
	key := func(m *member, with ipsec.MemberID, label string, context string) ipsec.Key {
		k, session, err := m.Export(with, label, []byte(context), 36)
		if err != nil || session != m.session(with).ID {
			t.Fatalf("Member %d exports no key for %d of the present session: %v.", m.id, with, err)
		}
		return k
	}
	ab := key(a, 2, "esp", "1")
	if !ab.Equal(key(b, 1, "esp", "1")) || ab.Len() != 36 {
		t.Error("Both ends of a session should have the same key of 36 octets.")
	}
	for name, other := range map[string]ipsec.Key{
		"another context": key(a, 2, "esp", "2"),
		"another label":   key(a, 2, "ike", "1"),
		"another peer":    key(a, 3, "esp", "1"),
		"others":          key(b, 3, "esp", "1"),
	} {
		if ab.Equal(other) {
			t.Errorf("The key for %s should be another one.", name)
		}
	}
	if _, _, err := a.Export(9, "esp", nil, 32); err == nil {
		t.Error("There is no session with member 9, but a key was exported.")
	}
}

func TestSixteenMembers(t *testing.T) {
	const n = ipsec.MaxMembers
	g := newGroup(t)
	var all []*member
	for id := range ipsec.MemberID(n) {
		c := g.config(id, others(id)...)
		c.Handshake = patience // 240 handshakes at once, on a processor or two
		all = append(all, g.start(c))
	}
	for _, m := range all {
		m.wantPeers(others(m.id)...)
	}
	for _, m := range all {
		for _, to := range others(m.id) {
			for i := range 20 {
				m.mustSend(to, text(Record, "%d to %d: %d", m.id, to, i))
			}
		}
	}
	for _, m := range all {
		for _, from := range others(m.id) {
			eventually(t, fmt.Sprintf("member %d has all that %d sent", m.id, from), func() bool { return len(m.received(from)) == 20 })
			for i, f := range m.received(from) {
				if want := fmt.Sprintf("%d to %d: %d", from, m.id, i); string(f.Body) != want {
					t.Fatalf("Member %d received %q where %q was next.", m.id, f.Body, want)
				}
			}
		}
	}
	for _, m := range all {
		m.wantOrder(t)
		if ended := m.ended(); len(ended) > 0 {
			t.Errorf("Both ends of each pair dial, but no session should end by that; member %d saw %v.", m.id, ended)
		}
	}
}

// others are all members but one.
func others(id ipsec.MemberID) (ids []ipsec.MemberID) {
	for o := range ipsec.MemberID(ipsec.MaxMembers) {
		if o != id {
			ids = append(ids, o)
		}
	}
	return ids
}

func TestUnknownFramesReachTheCaller(t *testing.T) {
	g := newGroup(t)
	a, b := g.pair()
	a.mustSend(2, Frame{Type: 0xfeff, Class: Record, Body: []byte("of a later version")})
	eventually(t, "B has it", func() bool { return len(b.received(1)) == 1 })
	if f := b.received(1)[0]; f.Type != 0xfeff || !bytes.Equal(f.Body, []byte("of a later version")) {
		t.Errorf("B received %+v.", f)
	}
	for name, f := range map[string]Frame{
		"a reserved type": {Type: FirstReserved},
		"no class":        {Class: Classes},
		"too long":        {Body: make([]byte, a.cfg.Limits.Frame+1)},
	} {
		if o := a.Send(2, f); o != TooLong {
			t.Errorf("A frame with %s should not be sent, got %v.", name, o)
		}
	}
	if o := a.Send(200, Frame{}); o != Away {
		t.Errorf("There is no member 200, but Send says %v.", o)
	}
}

func TestLargestFrame(t *testing.T) {
	g := newGroup(t)
	a, b := g.pair()
	body := bytes.Repeat([]byte("0123456789abcdef"), a.cfg.Limits.Frame/16)
	a.mustSend(2, Frame{Type: 1, Class: Bulk, Body: body})
	eventually(t, "B has it", func() bool { return len(b.received(1)) == 1 })
	if !bytes.Equal(b.received(1)[0].Body, body) {
		t.Error("The largest frame came out changed.")
	}
}

func TestPeersComeAndGo(t *testing.T) {
	g := newGroup(t)
	a, b := g.pair()
	c := g.start(g.config(3, 1, 2))
	eventually(t, "A turns the stranger C away", func() bool { return a.Stats().Strangers > 0 })
	first := a.session(2).ID

	both := []Peer{{Addr: g.addr(2)}, {Addr: g.addr(3)}}
	if err := a.SetPeers(both); err != nil {
		t.Fatalf("A should take C for a peer: %v.", err)
	}
	a.wantPeers(2, 3)
	c.wantPeers(1)
	if a.session(2).ID != first {
		t.Error("The session with B should have gone on.")
	}
	if err := a.SetPeers(both[1:]); err != nil {
		t.Fatalf("A should forget B: %v.", err)
	}
	a.wantPeers(3)
	b.wantPeers()
	if err := a.SetPeers(append(both, both[0])); err == nil {
		t.Error("A peer that is there twice should be an error.")
	}
	a.wantOrder(t)
}

func TestCertificatesAreRotated(t *testing.T) { // B4
	g := newGroup(t)
	a, b := g.pair()
	first := a.session(2).ID
	if err := a.SetIdentity(g.identity(1)); err != nil {
		t.Fatalf("A new certificate of the same member should be taken: %v.", err)
	}
	if a.session(2).ID != first {
		t.Error("The session should go on over a new certificate of the same authority.")
	}
	if err := a.SetIdentity(g.identity(3)); err == nil {
		t.Error("The certificate of another member should be refused.")
	}

	// The group changes its authority: A no longer trusts the one of B.
	next := newAuthority(t, 1)
	if err := a.SetIdentity(issue(t, next, next, cert.Member{ID: 1, Valid: time.Minute}, time.Now())); err != nil {
		t.Fatalf("A takes a certificate of the next authority: %v.", err)
	}
	a.wantPeers()
	eventually(t, "A refuses B for its certificate", func() bool {
		return a.peer(g.addr(2)).Refused[ReasonCertificate] > 0
	})
	if err := b.SetIdentity(issue(t, next, next, cert.Member{ID: 2, Valid: time.Minute}, time.Now())); err != nil {
		t.Fatalf("B follows: %v.", err)
	}
	a.wantPeers(2)
	b.wantPeers(1)
	a.wantOrder(t)
	b.wantOrder(t)
}

func TestConfigurationMistakes(t *testing.T) { // F13
	g := newGroup(t)
	for name, breakIt := range map[string]func(*Config){
		"no identity":           func(c *Config) { c.Identity = nil },
		"no receiver":           func(c *Config) { c.Receiver = nil },
		"every address":         func(c *Config) { c.Local = netip.AddrPortFrom(netip.IPv4Unspecified(), testPort) },
		"versions upside down":  func(c *Config) { c.MinProtocol, c.MaxProtocol = 3, 2 },
		"a negative time":       func(c *Config) { c.Linger = -1 },
		"pings that are seldom": func(c *Config) { c.Ping = c.Stall },
		"frames that are huge":  func(c *Config) { c.Limits.Frame = maxFrame + 1 },
		"too many peers":        func(c *Config) { c.Peers = make([]Peer, MaxPeers+1) },
		"itself":                func(c *Config) { c.Peers[0].Addr = c.Local.Addr() },
		"itself by id":          func(c *Config) { c.Peers[0].Member = new(ipsec.MemberID(1)) },
		"a peer twice":          func(c *Config) { c.Peers = append(c.Peers, c.Peers[0]) },
	} {
		c := g.config(1, 2)
		c.Receiver = newInbox()
		breakIt(&c)
		if _, err := New(c); err == nil {
			t.Errorf("A configuration with %s should be refused.", name)
		}
	}
}
