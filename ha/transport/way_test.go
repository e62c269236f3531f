package transport

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
)

// onLink is where member id lives on the second link.
func (g *group) onLink(id byte) netip.Addr {
	return netip.AddrFrom4([4]byte{g.net[0], g.net[1], g.net[2], id + 101})
}

// linked is config with a second link to the other member.
func (g *group) linked(id, other byte) Config {
	c := g.config(ipsec.MemberID(id), ipsec.MemberID(other))
	c.Links = []Link{{Local: g.onLink(id)}}
	c.Peers[0].Links = []netip.Addr{g.onLink(other)}
	return c
}

func TestSecondLinkCarriesOnWhenTheFirstFails(t *testing.T) { // FGCP: a member is dead when all links are silent
	g := newGroup(t)
	a, b := g.start(g.linked(1, 2)), g.start(g.linked(2, 1))
	a.wantPeers(2)
	b.wantPeers(1)
	beat := func() {
		a.Heartbeat(2, []byte("alive"))
		b.Heartbeat(1, []byte("alive"))
	}
	eventually(t, "heartbeats come over both links", func() bool {
		beat()
		for _, l := range append(a.peer(g.addr(2)).Links, b.peer(g.addr(1)).Links...) {
			if l.Received == 0 || l.Last.IsZero() {
				return false
			}
		}
		return true
	})
	if l := a.peer(g.addr(2)).Links; len(l) != 2 || !l[0].Session && !l[1].Session || l[1].Addr != g.onLink(2) || l[1].Local != g.onLink(1) {
		t.Errorf("A describes its links as %+v.", l)
	}

	for _, m := range []*member{a, b} {
		m.wire.deaf.Store(true)
		m.wire.silence(true)
	}
	for _, m := range []*member{a, b} {
		m.wantNoOther()
		m.wire.cut()
	}
	eventually(t, "the session goes over the second link", func() bool {
		beat()
		return a.session(2).Via == g.onLink(2) && b.session(1).Via == g.onLink(1)
	})
	first, second := a.peer(g.addr(2)).Links[0].Received, a.peer(g.addr(2)).Links[1].Received
	eventually(t, "heartbeats come over the second link only", func() bool {
		beat()
		l := a.peer(g.addr(2)).Links
		if l[0].Received != first { // one that was under way
			first, second = l[0].Received, l[1].Received
		}
		return l[1].Received > second+3
	})
	if l := a.peer(g.addr(2)).Links; l[0].Session || !l[1].Session {
		t.Errorf("The first link is cut, and A describes its links as %+v.", l)
	}
	if a.session(2).Addr != g.addrPort(2) {
		t.Errorf("The member's address became %v with the link.", a.session(2).Addr)
	}
	a.mustSend(2, text(Record, "over the second link"))
	eventually(t, "a frame arrives over the second link", func() bool { return len(b.received(1)) == 1 })
	a.wantOrder(t)
	b.wantOrder(t)
}

func TestLinksAreChecked(t *testing.T) {
	g := newGroup(t)
	for want, change := range map[string]func(*Config){
		"needs our address there":  func(c *Config) { c.Links[0].Local = netip.Addr{} },
		"is there twice":           func(c *Config) { c.Links[0].Local = c.Local.Addr() },
		"2 addresses for 1 links":  func(c *Config) { c.Peers[0].Links = append(c.Peers[0].Links, g.onLink(9)) },
		"different families":       func(c *Config) { c.Peers[0].Links[0] = netip.IPv6Loopback() },
		"twice, or our own":        func(c *Config) { c.Peers[0].Links[0] = c.Peers[0].Addr },
		"9 links are above 8":      func(c *Config) { c.Links = make([]Link, 9) },
		"link-local address with ": func(c *Config) { c.Links[0].Local = netip.MustParseAddr("fe80::1%lo") },
	} {
		c := g.linked(1, 2)
		change(&c)
		c.Receiver = newInbox()
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("A mistake about links should be told with %q, got %v.", want, err)
		}
	}
}
