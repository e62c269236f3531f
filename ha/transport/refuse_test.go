package transport

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha/transport/cert"
)

// TestWhoIsNotAMemberIsRefused has member 1 meet somebody at the address of
// member 2 who is not what it should be. Neither end gets a session, and both
// say why.
func TestWhoIsNotAMemberIsRefused(t *testing.T) { // B4
	now := time.Now()
	cases := []struct {
		name     string
		impostor func(t *testing.T, g *group, ours, c *Config)
		reason   Reason
		says     string
	}{
		{"a foreign authority", func(t *testing.T, g *group, _, c *Config) {
			c.Identity = issue(t, newAuthority(t, 1), g.authority, cert.Member{ID: 2, Valid: time.Minute}, now)
		}, ReasonCertificate, "unknown authority"},
		{"an expired certificate", func(t *testing.T, g *group, _, c *Config) {
			c.Identity = issue(t, g.authority, g.authority, cert.Member{ID: 2, Valid: time.Minute}, now.Add(-50*time.Minute))
		}, ReasonCertificate, "expired"},
		{"a certificate of the future", func(t *testing.T, g *group, _, c *Config) {
			later := now.Add(90 * time.Minute)
			a, err := cert.NewAuthority(1, later, 5*time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			c.Identity = issue(t, a, a, cert.Member{ID: 2, Valid: time.Minute}, later)
		}, ReasonCertificate, "certificate"},
		{"another group, though we trust its authority", func(t *testing.T, g *group, ours, c *Config) {
			other := newAuthority(t, 2)
			ours.Identity = issue(t, g.authority, other, cert.Member{ID: 1, Valid: time.Minute}, now)
			c.Identity = issue(t, other, g.authority, cert.Member{ID: 2, Valid: time.Minute}, now)
		}, ReasonGroup, "evergate:group/2/member/2"},
		{"our own member id", func(t *testing.T, g *group, _, c *Config) {
			c.Identity = g.identity(1)
		}, ReasonMember, "our own member id"},
		{"a certificate for another address", func(t *testing.T, g *group, _, c *Config) {
			c.Identity = issue(t, g.authority, g.authority, cert.Member{ID: 2, Valid: time.Minute, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.7")}}, now)
		}, ReasonCertificate, "192.0.2.7"},
		{"a member that is not the one configured for the address", func(t *testing.T, g *group, _, c *Config) {
			c.Identity = g.identity(3)
		}, ReasonMember, "it is member 3, and 2 is configured"},
		{"a later protocol", func(_ *testing.T, _ *group, _, c *Config) {
			c.MinProtocol, c.MaxProtocol = 7, 8
		}, ReasonProtocol, "versions 7 to 8, we speak 1 to 1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := newGroup(t)
			ours := g.config(1, 2)
			ours.Peers[0].Member = new(ipsec.MemberID(2))
			theirs := g.config(2, 1)
			c.impostor(t, g, &ours, &theirs)
			us, impostor := g.start(ours), g.start(theirs)
			eventually(t, "we refuse for "+c.reason.String(), func() bool {
				p := us.peer(g.addr(2))
				return p.Refused[c.reason] > 0 && p.LastError != nil && strings.Contains(p.LastError.Error(), c.says) &&
					strings.Contains(p.LastError.Error(), g.addr(2).String())
			})
			eventually(t, "the other end knows, and says whom it asked", func() bool {
				err := impostor.peer(g.addr(1)).LastError
				return err != nil && strings.Contains(err.Error(), g.addr(1).String())
			})
			if len(us.connected())+len(impostor.connected()) > 0 {
				t.Error("There should be no session.")
			}
		})
	}
}

// Two hosts show the certificate of one member: a copied disk, for instance.
func TestOneMemberAtTwoAddresses(t *testing.T) { // B4
	g := newGroup(t)
	us := g.start(g.config(1, 2, 3))
	g.start(g.config(2, 1))
	us.wantPeers(2)
	twin := g.config(2, 1)
	twin.Local = g.addrPort(3)
	g.start(twin)
	eventually(t, "we refuse the second", func() bool {
		p := us.peer(g.addr(3))
		return p.Refused[ReasonDuplicate] > 0 && strings.Contains(p.LastError.Error(), "connected from "+g.addr(2).String())
	})
	if ended := us.ended(); len(ended) > 0 {
		t.Errorf("The first should not suffer from it, but: %v.", ended)
	}
	us.wantPeers(2)
}

// One end is a release ahead: N and N-1 work together.
func TestProtocolVersionsMeet(t *testing.T) {
	g := newGroup(t)
	next, old := g.config(1, 2), g.config(2, 1)
	next.MinProtocol, next.MaxProtocol = 4, 5
	old.MinProtocol, old.MaxProtocol = 3, 4
	a, b := g.start(next), g.start(old)
	a.wantPeers(2)
	b.wantPeers(1)
	if va, vb := a.session(2).Protocol, b.session(1).Protocol; va != 4 || vb != 4 {
		t.Errorf("Both speak version 4, but they chose %d and %d.", va, vb)
	}
}

func TestGroupSecretMakesMembers(t *testing.T) { // B4
	g := newGroup(t)
	secret := func(s string, id ipsec.MemberID) *cert.Identity {
		i, err := cert.FromSecret(ipsec.NewKey([]byte(s)), cert.Name{Group: 1, Member: id})
		if err != nil {
			t.Fatalf("Member %d cannot derive its identity: %v.", id, err)
		}
		return i
	}
	ca, cb, cc := g.config(1, 2, 3), g.config(2, 1, 3), g.config(3, 1, 2)
	ca.Identity = secret("correct horse battery staple", 1)
	cb.Identity = secret("correct horse battery staple", 2)
	cc.Identity = secret("correct horse battery stable", 3)
	a, b, c := g.start(ca), g.start(cb), g.start(cc)
	a.wantPeers(2)
	b.wantPeers(1)
	eventually(t, "who has another secret is refused", func() bool {
		return a.peer(g.addr(3)).Refused[ReasonCertificate] > 0
	})
	c.wantPeers()
}
