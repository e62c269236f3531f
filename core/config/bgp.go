package config

import (
	"errors"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// What a bgp section that says nothing about them has.
const (
	// DefaultHoldTime is the least that RFC 4271 section 4.2 allows.
	DefaultHoldTime      = 3 * time.Second
	DefaultShutdownDelay = 5 * time.Second
)

// BGP tells routers what to send here.
type BGP struct {
	AS uint32 `json:"as"`
	// RouterID is an IPv4 address that no other speaker around has.
	RouterID  netip.Addr     `json:"router-id"`
	Neighbors []*BGPNeighbor `json:"neighbors"`
	// NextHop and NextHop6 are announced instead of the session's own address.
	NextHop  netip.Addr `json:"next-hop"`
	NextHop6 netip.Addr `json:"next-hop6"`
	// HoldTime is after how much silence a router gives us up; Keepalive is a third
	// of it when the configuration does not say.
	HoldTime         time.Duration    `json:"hold-time"`
	Keepalive        time.Duration    `json:"keepalive"`
	GracefulShutdown GracefulShutdown `json:"graceful-shutdown"`
	Announce         Announce         `json:"announce"`

	file section
}

// BGPNeighbor is a router.
type BGPNeighbor struct {
	Address  netip.Addr `json:"address"`
	RemoteAS uint32     `json:"remote-as"`
	// Source is our end of the session, chosen by the kernel when it is not valid.
	Source   netip.Addr `json:"source"`
	Password ipsec.Key  `json:"-"`
	// Passive waits for the router to connect to Source.
	Passive bool `json:"passive"`
	// MultihopTTL is for routers on other networks, 0 for one on ours.
	MultihopTTL uint8 `json:"ebgp-multihop"`
	TTLSecurity bool  `json:"ttl-security"`
	// Families to announce, that of Address when there are none.
	Families []Family `json:"families"`

	file section
}

// Family is an address family.
type Family int

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// GracefulShutdown moves traffic away before a planned stop (RFC 8326).
type GracefulShutdown struct {
	// Delay is how long routers have to choose other paths.
	Delay time.Duration `json:"delay"`
}

// Announce says what is announced while the gateway is fit.
type Announce struct {
	// LocalGW: the addresses that SharedGateways returns.
	LocalGW bool `json:"local-gw"`
	// Clients: the networks of the peers whose tunnels we own.
	Clients bool `json:"clients"`
	// Standby: with less preference, those for whose tunnels we are a standby.
	Standby bool `json:"standby"`
}

// Health is the endpoint that probes of routers and load balancers ask.
type Health struct {
	// Listen is not valid for no endpoint.
	Listen netip.AddrPort `json:"listen"`
}

func newBGP() *BGP {
	return &BGP{
		HoldTime:         DefaultHoldTime,
		GracefulShutdown: GracefulShutdown{Delay: DefaultShutdownDelay},
		Announce:         Announce{LocalGW: true, Clients: true},
	}
}

func newBGPNeighbor() *BGPNeighbor { return new(BGPNeighbor) }

func bgpFields(dir string) []field[BGP] {
	return []field[BGP]{
		{"as", func(b *BGP, v value) { v.as(&b.AS) }},
		{"router-id", func(b *BGP, v value) { v.address(&b.RouterID) }},
		{"neighbors", func(b *BGP, v value) { entries(v, &b.Neighbors, newBGPNeighbor, bgpNeighborFields(dir)) }},
		{"next-hop", func(b *BGP, v value) { v.address(&b.NextHop) }},
		{"next-hop6", func(b *BGP, v value) { v.address(&b.NextHop6) }},
		{"hold-time", func(b *BGP, v value) { v.seconds(&b.HoldTime, 3, 65535) }},
		{"keepalive", func(b *BGP, v value) { v.seconds(&b.Keepalive, 1, 21845) }},
		{"graceful-shutdown", func(b *BGP, v value) { subsection(v, &b.GracefulShutdown, shutdownFields()) }},
		{"announce", func(b *BGP, v value) { subsection(v, &b.Announce, announceFields()) }},
	}
}

func bgpNeighborFields(dir string) []field[BGPNeighbor] {
	return []field[BGPNeighbor]{
		{"address", func(n *BGPNeighbor, v value) { v.address(&n.Address) }},
		{"remote-as", func(n *BGPNeighbor, v value) { v.as(&n.RemoteAS) }},
		{"source", func(n *BGPNeighbor, v value) { v.address(&n.Source) }},
		{"password", func(n *BGPNeighbor, v value) {
			// The kernel takes 80 octets (TCP_MD5SIG_MAXKEYLEN).
			v.secret(&n.Password, dir, secretKind{noun: "the password", least: 1, most: 80})
		}},
		{"passive", func(n *BGPNeighbor, v value) { v.enable(&n.Passive) }},
		{"ebgp-multihop", func(n *BGPNeighbor, v value) { number(v, &n.MultihopTTL, 2, 255) }},
		{"ttl-security", func(n *BGPNeighbor, v value) { v.enable(&n.TTLSecurity) }},
		{"families", func(n *BGPNeighbor, v value) { listOf(v, &n.Families, true, parseFamily) }},
	}
}

func shutdownFields() []field[GracefulShutdown] {
	return []field[GracefulShutdown]{
		{"delay", func(g *GracefulShutdown, v value) { v.seconds(&g.Delay, 1, 300) }},
	}
}

func announceFields() []field[Announce] {
	return []field[Announce]{
		{"local-gw", func(a *Announce, v value) { v.enable(&a.LocalGW) }},
		{"clients", func(a *Announce, v value) { v.enable(&a.Clients) }},
		{"standby", func(a *Announce, v value) { v.enable(&a.Standby) }},
	}
}

func healthFields() []field[Health] {
	return []field[Health]{
		{"listen", func(h *Health, v value) { v.addrPort(&h.Listen) }},
	}
}

// as sets the number of an autonomous system. 0 is none: a speaker that calls
// itself that is refused (RFC 7607 section 2).
func (v value) as(dst *uint32) { number(v, dst, 1, 1<<32-1) }

// addrPort sets an address with a port.
func (v value) addrPort(dst *netip.AddrPort) {
	s, ok := v.scalar()
	if !ok {
		return
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil || ap.Port() == 0 {
		v.problem("%q is not an address with a port, such as 192.0.2.1:8080 or [2001:db8::1]:8080", s)
		return
	}
	*dst = ap
}

func parseFamily(s string) (Family, error) {
	switch s {
	case "ipv4":
		return IPv4, nil
	case "ipv6":
		return IPv6, nil
	default:
		return 0, errors.New("allowed: ipv4, ipv6")
	}
}

// SharedGateways are the local-gw that a router may send to this gateway as well
// as to others, each once, in the order of the file: those of phase 1 entries with
// fgsp-sync, and without a standalone-cluster those of all entries.
func (c *Config) SharedGateways() []netip.Addr {
	var out []netip.Addr
	seen := make(map[netip.Addr]bool)
	for _, p := range c.Phase1 {
		if (p.FGSPSync || c.Cluster == nil) && !seen[p.LocalGW] {
			seen[p.LocalGW] = true
			out = append(out, p.LocalGW)
		}
	}
	return out
}
