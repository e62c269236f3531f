package v1_test

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest/v1test"
	"github.com/evergate/evergate/ike/v1"
)

// withUser makes B a dialup server, and A one of its users.
func withUser(c *v1test.Config) {
	c.B.V1.XAuth.Users = []ike.User{{Name: "bob", Password: ipsec.CopyKey([]byte("bob's"))}, {Name: "alice", Password: ipsec.CopyKey([]byte("alice's"))}}
	c.A.V1.XAuth.As = &ike.User{Name: "alice", Password: ipsec.CopyKey([]byte("alice's"))}
}

// withAddress has B assign an address to A.
func withAddress(c *v1test.Config) {
	c.A.V1.Config.Role = ike.ModeConfigClient
	c.B.V1.Config = ike.ModeConfig{
		Role: ike.ModeConfigServer, First: netip.MustParseAddr("10.99.0.1"), Last: netip.MustParseAddr("10.99.0.14"),
		DNS: []netip.Addr{netip.MustParseAddr("10.0.0.53")}, Subnets: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
	}
}

func pushed(c *v1test.Config) { c.A.V1.Config.Push, c.B.V1.Config.Push = true, true }

func TestUser(t *testing.T) {
	for mode, options := range modes() {
		for name, more := range map[string][]v1test.Option{
			"alone":                   {withUser},
			"who asks for an address": {withUser, withAddress},
			"who is told an address":  {withUser, withAddress, pushed},
		} {
			t.Run(mode+" "+name, func(t *testing.T) {
				own := []v1test.Option{func(c *v1test.Config) { c.B.Remote = v1test.AddrA }}
				if len(more) > 1 {
					own = append(own, options[1:]...) // a twin has no pool
				} else {
					own = append(own, options...)
				}
				p := v1test.Establish(t, append(own, more...)...)
				p.WantPairs(1)
				if got := p.B.Established[0].Remote; got.Data != "alice" {
					t.Errorf("B's peer is %v, want alice", got)
				}
				want := "0:0.0.0.0-255.255.255.255:0"
				if len(more) > 1 {
					want = "0:10.99.0.1-10.99.0.1:0"
				}
				if in, _ := p.B.Child(); in.Selectors.Remote[0].String() != want {
					t.Errorf("B's pair is for %v, want %s", in.Selectors.Remote[0], want)
				}
				// Whoever rekeys phase 1, the user proves himself again and keeps his
				// address.
				for _, e := range []*v1test.End{p.A, p.B} {
					e.Do(ike.RekeyIKE{})
					p.Pass(2 * time.Minute)
					p.WantUp()
					p.WantSameIKE()
					p.WantPairs(1)
				}
				if n := len(p.B.Established); n != 1 {
					t.Errorf("B announced %d peers, want 1", n)
				}
			})
		}
	}
}

func TestUserIsNotLetIn(t *testing.T) {
	for name, as := range map[string]ike.User{
		"unknown":                    {Name: "carol", Password: ipsec.CopyKey([]byte("alice's"))},
		"with a wrong password":      {Name: "alice", Password: ipsec.CopyKey([]byte("bob's"))},
		"with no password":           {Name: "alice"},
		"with no name":               {Password: ipsec.CopyKey([]byte("alice's"))},
		"with a prefix of the right": {Name: "alice", Password: ipsec.CopyKey([]byte("alice'"))},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			p := v1test.New(t, logged(&log), withUser, func(c *v1test.Config) { c.A.V1.XAuth.As = &as })
			p.A.Initiate()
			p.Pass(2 * time.Minute)
			p.A.WantGone()
			p.B.WantGone()
			p.B.WantFailure(ike.FailIdentity)
			wantLogged(t, &log, "user was not let in", "peer does not let us in")
			if strings.Contains(log.String(), "bob's") {
				t.Error("the log has the password")
			}
		})
	}
}

// TestNoUser: a peer that knows nothing of users has nothing in common with a
// server that asks for one.
func TestNoUser(t *testing.T) {
	p := v1test.New(t, withUser, func(c *v1test.Config) { c.A.V1.XAuth.As = nil })
	p.A.Initiate()
	p.Deliver()
	p.A.WantGone()
	p.A.WantFailure(ike.FailNoProposal)
}

// TestNoTrafficBeforeTheUser: phase 1 alone lets nobody in.
func TestNoTrafficBeforeTheUser(t *testing.T) {
	p := v1test.New(t, withUser, func(c *v1test.Config) { c.B.V1.XAuth.Users = c.B.V1.XAuth.Users[:1] })
	p.A.Initiate()
	p.Pass(2 * time.Minute)
	if n := len(p.B.Established); n > 0 {
		t.Errorf("B announced %d peers, want none", n)
	}
	p.B.WantGone()
}

// TestAddressIsHeld: a peer gets traffic for its own address only.
func TestAddressIsHeld(t *testing.T) {
	p := v1test.New(t, withAddress, func(c *v1test.Config) {
		c.A.V1.Config = ike.ModeConfig{} // it asks for none, and takes what it likes
		c.B.V1.Config.Push = true
		c.A.V1.Config.Role, c.A.V1.Config.Push = ike.ModeConfigClient, true
	})
	p.A.Initiate()
	p.Deliver()
	p.WantPairs(1)
	in, _ := p.B.Child()
	stolen := selector("10.99.0.7/32")
	p.A.Policy.Connections[0].V1.Config.Role = ike.ModeConfigNone
	p.A.Policy.Connections[0].Children[0].Selectors.Local = []ipsec.TrafficSelector{stolen}
	p.A.Do(ike.Initiate{})
	p.Deliver()
	p.WantPairs(1)
	p.B.WantFailure(ike.FailSelectors)
	if now, _ := p.B.Child(); now.ID != in.ID {
		t.Error("A has a pair for another address than its own")
	}
}

func TestPool(t *testing.T) {
	c := pooled("dialup", "10.99.0.1", "10.99.0.6")
	pool := v1.NewPool(0, 1)
	seen := make(map[netip.Addr]bool)
	for id := range ipsec.TunnelID(6) {
		a, ok := pool.Assign(id, c, netip.Addr{})
		if !ok || seen[a] {
			t.Fatalf("tunnel %d gets %v, %t; want an address that nobody has", id, a, ok)
		}
		seen[a] = true
	}
	if a, ok := pool.Assign(99, c, netip.Addr{}); ok {
		t.Errorf("a pool of six gives a seventh address, %v", a)
	}
	pool.Release(3)
	pool.Release(3)
	a, ok := pool.Assign(99, c, netip.MustParseAddr("10.99.0.1"))
	if !ok || a.String() != "10.99.0.4" {
		t.Errorf("the address that was freed is not given again, but %v", a)
	}
	if again, _ := pool.Assign(99, c, netip.Addr{}); again != a {
		t.Errorf("a tunnel that has %v gets %v", a, again)
	}
	pool.Release(99)
	if b, ok := pool.Assign(7, c, a); !ok || b != a {
		t.Errorf("the wish for %v is not granted, but %v is", a, b)
	}
	if _, ok := pool.Assign(8, pooled("other", "", ""), netip.Addr{}); ok {
		t.Error("a connection without a pool gets an address")
	}
}

// TestPoolsDivideARange has two pools of a group of four give their parts, and
// leave alone what they know that others gave.
func TestPoolsDivideARange(t *testing.T) {
	c := pooled("dialup", "10.99.0.0", "10.99.0.9")
	second, last := v1.NewPool(1, 4), v1.NewPool(3, 4)
	second.Hold(100, netip.MustParseAddr("10.99.0.5"))
	give := func(p *v1.Pool, id ipsec.TunnelID, wish string) string {
		var w netip.Addr
		if wish != "" {
			w = netip.MustParseAddr(wish)
		}
		a, _ := p.Assign(id, c, w)
		return a.String()
	}
	got := []string{
		give(second, 1, "10.99.0.5"), give(second, 2, "10.99.0.4"), give(second, 3, ""),
		give(last, 4, "10.99.0.7"), give(last, 5, ""), give(last, 6, ""),
	}
	want := []string{"10.99.0.1", "10.99.0.9", "invalid IP", "10.99.0.7", "10.99.0.3", "invalid IP"}
	if !slices.Equal(got, want) {
		t.Errorf("the pools give %v, want %v", got, want)
	}
}

// pooled is a connection with a range to assign from; empty ones make none.
func pooled(name, first, last string) *ike.Connection {
	c := &ike.Connection{Name: name, V1: &ike.IKEv1{}}
	if first != "" {
		c.V1.Config.First, c.V1.Config.Last = netip.MustParseAddr(first), netip.MustParseAddr(last)
	}
	return c
}

func TestNoAddressIsFree(t *testing.T) {
	for name, more := range map[string]v1test.Option{"asked": func(*v1test.Config) {}, "pushed": pushed} {
		t.Run(name, func(t *testing.T) {
			p := v1test.New(t, withAddress, more, func(c *v1test.Config) { c.B.V1.Config.Last = netip.MustParseAddr("10.99.0.0") })
			p.A.Initiate()
			p.Pass(2 * time.Minute)
			p.A.WantGone()
			p.B.WantFailure(ike.FailOther)
		})
	}
}
