package witness

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// Defaults of Config and BGP where a field is zero.
const (
	DefaultDrainDelay = 5 * time.Second
	DefaultHoldTime   = 3 * time.Second
	DefaultBGPPort    = 179
)

// maxNeighbors bounds the configuration: a member has a few routers.
const maxNeighbors = 32

// maxPassword is what the kernel takes as a key of RFC 2385, in octets.
const maxPassword = 80

// Config says who is to be told, and how. The zero Config tells nobody, which
// is right for a router with static ECMP routes.
type Config struct {
	// Gateways are the addresses that all members share: the local-gw of the
	// phases 1. They are announced while the member is fit.
	Gateways []netip.Addr
	// HideGateways keeps them from being announced. They stay what no client may
	// have announced.
	HideGateways bool
	// BGP is the speaker; without neighbors there is none.
	BGP BGP
	// Health is where the health endpoint listens, if anywhere.
	Health netip.AddrPort
	// DrainDelay is how long Drain leaves traffic the time to move, and thus how
	// long a router may take to choose other paths.
	DrainDelay time.Duration
	// Log gets sessions won and lost, and turns of fitness. Nil discards them.
	Log *slog.Logger
}

// BGP configures the speaker.
type BGP struct {
	// AS is the member's autonomous system. Members of one cluster should share
	// one: most routers compare MEDs within a neighboring AS only.
	AS uint32
	// RouterID is an IPv4 address that no other speaker around uses; not a
	// gateway, because members share those.
	RouterID netip.Addr
	// Neighbors are the routers to tell, 32 at most.
	Neighbors []Neighbor
	// NextHop4 and NextHop6 are announced as the next hop instead of the
	// session's own address.
	NextHop4, NextHop6 netip.Addr
	// HoldTime is after how much silence the router gives the member up, in
	// whole seconds, at least 3. Keepalive is a third of it where it is zero.
	HoldTime, Keepalive time.Duration
	// AnnounceStandby announces the prefixes of standby tunnels too, with worse
	// preference than their owner's.
	AnnounceStandby bool
	// ListenPort is where Passive neighbors connect to, 179 where it is zero.
	ListenPort uint16
}

// Neighbor is a router.
type Neighbor struct {
	// Address is a unicast address with no zone: link-local ones do not do as
	// next hops.
	Address netip.Addr
	// AS is the router's autonomous system; that of BGP.AS makes the session
	// internal.
	AS uint32
	// Source is the member's own end of the session, chosen by the kernel where
	// it is zero.
	Source netip.Addr
	// Port is the router's, 179 where it is zero.
	Port uint16
	// Passive waits for the router to connect, to Source, which must be set.
	// Without any such neighbor nothing listens.
	Passive bool
	// Password is the key of TCP MD5 signatures (RFC 2385), 80 octets at most.
	Password ipsec.Key
	// MultihopTTL is for an external router that is not on the same network: the
	// TTL of packets to it. Zero means that it is.
	MultihopTTL uint8
	// TTLSecurity accepts packets from the same network only (RFC 5082). The
	// router must have it enabled too.
	TTLSecurity bool
	// IPv4 and IPv6 are the families to announce, that of Address when both are
	// false. IPv4 goes over an IPv6 session with an IPv6 next hop (RFC 8950), if
	// the router has that enabled; IPv6 over an IPv4 session needs NextHop6.
	IPv4, IPv6 bool
}

// withDefaults returns c with what the zero values stand for.
func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	orDefault(&c.DrainDelay, DefaultDrainDelay)
	orDefault(&c.BGP.HoldTime, DefaultHoldTime)
	orDefault(&c.BGP.Keepalive, (c.BGP.HoldTime / 3).Truncate(time.Second))
	orDefault(&c.BGP.ListenPort, DefaultBGPPort)
	neighbors := make([]Neighbor, len(c.BGP.Neighbors))
	for i, n := range c.BGP.Neighbors {
		n.Address, n.Source = n.Address.Unmap(), n.Source.Unmap()
		orDefault(&n.Port, DefaultBGPPort)
		if !n.IPv4 && !n.IPv6 {
			n.IPv4, n.IPv6 = n.Address.Is4(), n.Address.Is6()
		}
		neighbors[i] = n
	}
	c.BGP.Neighbors = neighbors
	return c
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// validate returns everything that is wrong with c, which has its defaults.
func (c Config) validate() error {
	errs := validateGateways(c.Gateways)
	if c.DrainDelay < 0 {
		errs = append(errs, fmt.Errorf("drain delay %v is negative", c.DrainDelay))
	}
	errs = append(errs, c.BGP.validate()...)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("witness: configure: %w", err)
	}
	return nil
}

func validateGateways(gateways []netip.Addr) []error {
	var errs []error
	for _, g := range gateways {
		if !unicast(g) {
			errs = append(errs, fmt.Errorf("gateway %v is no unicast address", g))
		}
	}
	return errs
}

func (b BGP) validate() []error {
	if len(b.Neighbors) == 0 {
		if b.AS != 0 {
			return []error{fmt.Errorf("bgp as %d has no neighbor to tell", b.AS)}
		}
		return nil
	}
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("bgp "+format, args...)) }
	if b.AS == 0 {
		wrong("needs the member's as")
	}
	if !b.RouterID.Is4() || b.RouterID.IsUnspecified() {
		wrong("router id %v is no IPv4 address", b.RouterID)
	}
	if b.NextHop4.IsValid() && !(b.NextHop4.Is4() && unicast(b.NextHop4)) {
		wrong("next hop %v is no IPv4 unicast address", b.NextHop4)
	}
	if b.NextHop6.IsValid() && !(b.NextHop6.Is6() && unicast(b.NextHop6)) {
		wrong("next hop %v is no IPv6 unicast address", b.NextHop6)
	}
	// "The Hold Time MUST be either zero or at least three seconds."
	// RFC 4271 section 4.2; zero would be a member that is never given up.
	if b.HoldTime < 3*time.Second || b.HoldTime > 65535*time.Second || b.HoldTime%time.Second != 0 {
		wrong("hold time %v is not from 3 s to 65535 s, in whole seconds", b.HoldTime)
	}
	if b.Keepalive < time.Second || b.Keepalive >= b.HoldTime || b.Keepalive%time.Second != 0 {
		wrong("keepalive %v is not from 1 s to below the hold time, in whole seconds", b.Keepalive)
	}
	if len(b.Neighbors) > maxNeighbors {
		wrong("names %d neighbors, and %d is the limit", len(b.Neighbors), maxNeighbors)
	}
	seen := make(map[netip.Addr]bool)
	for _, n := range b.Neighbors {
		if seen[n.Address] {
			wrong("neighbor %v is named twice", n.Address)
		}
		seen[n.Address] = true
		errs = append(errs, n.validate(b)...)
	}
	return errs
}

func (n Neighbor) validate(b BGP) []error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("bgp neighbor %v: "+format, append([]any{n.Address}, args...)...))
	}
	if !unicast(n.Address) {
		wrong("is no unicast address")
	}
	if n.AS == 0 {
		wrong("needs a remote as")
	}
	if n.Source.IsValid() && (!unicast(n.Source) || n.Source.Is4() != n.Address.Is4()) {
		wrong("source %v is no unicast address of its family", n.Source)
	}
	if n.Passive && !n.Source.IsValid() {
		wrong("is passive and needs a source to listen on")
	}
	if n.Password.Len() > maxPassword {
		wrong("the password has %d octets, and %d is the limit", n.Password.Len(), maxPassword)
	}
	if n.MultihopTTL > 0 && n.TTLSecurity {
		wrong("ttl security and multihop exclude each other")
	}
	if n.IPv6 && n.Address.Is4() && !b.NextHop6.IsValid() {
		wrong("IPv6 over an IPv4 session needs an IPv6 next hop")
	}
	return errs
}

// unicast tells whether a can be the address of a host that others route to.
func unicast(a netip.Addr) bool {
	return a.IsValid() && a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && !a.IsLinkLocalUnicast()
}
