package config

import (
	"net/netip"
	"time"
)

// maxNeighbors bounds the routers to tell: a gateway has a few.
const maxNeighbors = 32

// What must hold between the values of a bgp section.

func (k checker) bgp(b *BGP) {
	k.lacks(b.file, "as", true, "our autonomous system")
	k.lacks(b.file, "router-id", true, "an IPv4 address that no other speaker has")
	k.lacks(b.file, "neighbors", true, "the routers to tell")
	if n := len(b.Neighbors); n > maxNeighbors {
		k.at(b.file, "neighbors", "has %d routers; at most %d", n, maxNeighbors)
	}
	if b.RouterID.IsValid() {
		if !b.RouterID.Is4() {
			k.at(b.file, "router-id", "%v is not an IPv4 address", b.RouterID)
		}
		k.ownAddress(b.file, "router-id", b.RouterID)
	}
	if b.NextHop.IsValid() && !b.NextHop.Is4() {
		k.at(b.file, "next-hop", "%v is not an IPv4 address; next-hop6 is for IPv6", b.NextHop)
	}
	if b.NextHop6.IsValid() && !b.NextHop6.Is6() {
		k.at(b.file, "next-hop6", "%v is not an IPv6 address; next-hop is for IPv4", b.NextHop6)
	}
	k.bgpTimes(b)
	seen := make(map[netip.Addr]string)
	for _, n := range b.Neighbors {
		k.neighbor(b, n)
		if other, taken := seen[n.Address]; taken && n.Address.IsValid() {
			k.at(n.file, "address", "%v is that of %s too", n.Address, other)
		}
		seen[n.Address] = n.file.path
	}
}

// bgpTimes fills in Keepalive and looks at it beside HoldTime. Both travel or are
// kept in whole seconds (RFC 4271 section 4.2).
func (k checker) bgpTimes(b *BGP) {
	if b.Keepalive == 0 {
		b.Keepalive = (b.HoldTime / 3).Truncate(time.Second)
	}
	for key, d := range map[string]time.Duration{"hold-time": b.HoldTime, "keepalive": b.Keepalive} {
		if d%time.Second != 0 {
			k.at(b.file, key, "%v is not in whole seconds", d)
		}
	}
	if b.Keepalive >= b.HoldTime {
		k.at(b.file, "keepalive", "%v is not shorter than hold-time %v, so the router would give us up in between", b.Keepalive, b.HoldTime)
	}
}

func (k checker) neighbor(b *BGP, n *BGPNeighbor) {
	k.lacks(n.file, "address", true, "the router's address")
	k.lacks(n.file, "remote-as", true, "the router's autonomous system; ours for an internal session")
	if a := n.Address; a.IsLoopback() || a.IsLinkLocalUnicast() {
		k.at(n.file, "address", "%v is no address that a next hop can have; want one of a network", a)
	}
	if n.Source.IsValid() {
		if n.Address.IsValid() && n.Source.Is4() != n.Address.Is4() {
			k.at(n.file, "source", "%v and address %v are of different address families", n.Source, n.Address)
		}
		k.ownAddress(n.file, "source", n.Source)
	}
	if n.Passive && !n.file.has("source") {
		k.at(n.file, "passive", "needs source: where the router connects to")
	}
	if n.MultihopTTL > 0 && n.TTLSecurity {
		k.at(n.file, "ttl-security", "accepts the same network only, and ebgp-multihop is for others; want one of them")
	}
	for _, f := range n.Families {
		if f == IPv6 && n.Address.Is4() && !b.NextHop6.IsValid() {
			k.at(n.file, "families", "ipv6 over a session of IPv4 needs bgp.next-hop6: the address to send it to")
		}
	}
}
