package witness

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

func good() Config {
	return Config{
		Gateways: []netip.Addr{netip.MustParseAddr("203.0.113.1")},
		BGP: BGP{
			AS: 65001, RouterID: netip.MustParseAddr("192.0.2.1"),
			Neighbors: []Neighbor{{Address: netip.MustParseAddr("192.0.2.254"), AS: 65000}},
		},
	}
}

func TestConfigHasDefaults(t *testing.T) {
	w, err := New(good())
	if err != nil {
		t.Fatalf("The least configuration is refused: %v.", err)
	}
	b, n := w.cfg.BGP, w.cfg.BGP.Neighbors[0]
	if b.HoldTime != 3*time.Second || b.Keepalive != time.Second || b.ListenPort != 179 || n.Port != 179 {
		t.Errorf("Timers and ports are %v, %v, %d, %d.", b.HoldTime, b.Keepalive, b.ListenPort, n.Port)
	}
	if !n.IPv4 || n.IPv6 {
		t.Error("An IPv4 session does not carry exactly IPv4.")
	}
}

func TestConfigNamesEachMistake(t *testing.T) {
	addr := netip.MustParseAddr
	for want, edit := range map[string]func(*Config, *Neighbor){
		"gateway 224.0.0.1 is no unicast address":                     func(c *Config, _ *Neighbor) { c.Gateways[0] = addr("224.0.0.1") },
		"drain delay -1s is negative":                                 func(c *Config, _ *Neighbor) { c.DrainDelay = -time.Second },
		"bgp as 65001 has no neighbor to tell":                        func(c *Config, _ *Neighbor) { c.BGP.Neighbors = nil },
		"bgp needs the member's as":                                   func(c *Config, _ *Neighbor) { c.BGP.AS = 0 },
		"bgp router id invalid IP is no IPv4 address":                 func(c *Config, _ *Neighbor) { c.BGP.RouterID = netip.Addr{} },
		"bgp router id 2001:db8::1 is no IPv4 address":                func(c *Config, _ *Neighbor) { c.BGP.RouterID = addr("2001:db8::1") },
		"bgp next hop 2001:db8::1 is no IPv4 unicast address":         func(c *Config, _ *Neighbor) { c.BGP.NextHop4 = addr("2001:db8::1") },
		"bgp next hop 192.0.2.1 is no IPv6 unicast address":           func(c *Config, _ *Neighbor) { c.BGP.NextHop6 = addr("192.0.2.1") },
		"hold time 2s is not from 3 s":                                func(c *Config, _ *Neighbor) { c.BGP.HoldTime = 2 * time.Second },
		"hold time 3.5s is not from 3 s":                              func(c *Config, _ *Neighbor) { c.BGP.HoldTime = 3500 * time.Millisecond },
		"keepalive 3s is not from 1 s":                                func(c *Config, _ *Neighbor) { c.BGP.Keepalive = 3 * time.Second },
		"neighbor 192.0.2.254 is named twice":                         func(c *Config, n *Neighbor) { c.BGP.Neighbors = append(c.BGP.Neighbors, *n) },
		"names 33 neighbors, and 32 is the limit":                     func(c *Config, n *Neighbor) { c.BGP.Neighbors = many(33, *n) },
		"bgp neighbor fe80::1: is no unicast address":                 func(_ *Config, n *Neighbor) { n.Address = addr("fe80::1") },
		"bgp neighbor 192.0.2.254: needs a remote as":                 func(_ *Config, n *Neighbor) { n.AS = 0 },
		"source 2001:db8::1 is no unicast address of its family":      func(_ *Config, n *Neighbor) { n.Source = addr("2001:db8::1") },
		"is passive and needs a source to listen on":                  func(_ *Config, n *Neighbor) { n.Passive = true },
		"the password has 81 octets, and 80 is the limit":             func(_ *Config, n *Neighbor) { n.Password = ipsec.NewKey(make([]byte, 81)) },
		"ttl security and multihop exclude each other":                func(_ *Config, n *Neighbor) { n.MultihopTTL, n.TTLSecurity = 2, true },
		"IPv6 over an IPv4 session needs an IPv6 next hop":            func(_ *Config, n *Neighbor) { n.IPv6 = true },
		"bgp neighbor invalid IP: is no unicast address":              func(_ *Config, n *Neighbor) { n.Address = netip.Addr{} },
		"bgp neighbor 192.0.2.254: source 127.0.0.1 is no unicast ad": func(_ *Config, n *Neighbor) { n.Source = addr("127.0.0.1") },
	} {
		c := good()
		n := c.BGP.Neighbors[0]
		before := n
		edit(&c, &n)
		if n.Address != before.Address || len(c.BGP.Neighbors) == 1 {
			c.BGP.Neighbors = []Neighbor{n}
		}
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("The mistake should be told as %q, got: %v.", want, err)
		}
	}
}

func many(count int, n Neighbor) []Neighbor {
	var out []Neighbor
	for range count {
		n.Address = n.Address.Next()
		out = append(out, n)
	}
	return out
}

func TestConfigTellsAllMistakesAtOnce(t *testing.T) {
	c := good()
	c.BGP.AS, c.BGP.Neighbors[0].AS = 0, 0
	_, err := New(c)
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("Two mistakes are told as: %v.", err)
	}
}
