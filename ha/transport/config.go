package transport

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha/transport/cert"
)

// DefaultPort is that of FGSP.
const DefaultPort = 708

// Config of a Mesh. What is zero has its default, where one is named.
type Config struct {
	// Identity is our certificate, and with it our group and member id.
	Identity *cert.Identity
	// Local is our address on the sync interface, and the port for TCP and UDP
	// on all members; port 0 means DefaultPort. The address need not be there
	// yet.
	Local netip.AddrPort
	// Interface binds the sockets to a network interface by name: then packets
	// for Local that come in elsewhere are not for us. Empty means any.
	Interface string
	// Links are further ways to peers, at most MaxLinks.
	Links []Link
	// Peers are the other members, at most MaxPeers.
	Peers []Peer
	// Receiver gets what arrives.
	Receiver Receiver

	// MinProtocol and MaxProtocol are the versions of the caller's frames that
	// we speak; a session uses the highest that both ends do. The default is 1.
	MinProtocol, MaxProtocol uint16
	// Capabilities are the caller's, told to each peer as they are.
	Capabilities uint64

	// Handshake is how long a connection may take to become a session: 5 s.
	Handshake time.Duration
	// Ping is how often the stream's round trip is measured: 1 s, or 500 ms where
	// there are Links.
	Ping time.Duration
	// Stall is how long a peer may take nothing, or send nothing, not even a
	// ping, before its session ends: 5 s, or 2 s where there are Links, as the next
	// session may take another one.
	Stall time.Duration
	// Linger is how long the end of Run waits for queues to empty: 250 ms.
	Linger time.Duration
	// MaxBackoff is the longest pause between attempts to reach a peer: 1 s.
	MaxBackoff time.Duration

	Limits Limits
	Log    *slog.Logger // nil discards
}

// Peer is another member.
type Peer struct {
	// Addr is its address on the sync interface (peerip), Links are those on
	// Config.Links, in their order; one that is not valid, or missing, means that
	// it has none there.
	Addr  netip.Addr
	Links []netip.Addr
	// Member pins its member id; nil accepts any that its certificate names.
	Member *ipsec.MemberID
}

// Link is a way to peers beside the sync interface: heartbeats go over all of
// them, sessions over one that works.
type Link struct {
	// Local is our address there, with the port of Config.Local, and Interface what
	// the sockets are bound to, empty for any.
	Local     netip.Addr
	Interface string
}

// MaxLinks bounds Config.Links.
const MaxLinks = 8

// MaxPeers is one less than the members of a group.
const MaxPeers = ipsec.MaxMembers - 1

// Limits bound what peers and callers can make us keep. Zero fields have
// defaults.
type Limits struct {
	// Frame is the largest Body in octets, sent or received: 1 MiB. A larger
	// frame ends its session, so it must be the same on all members.
	Frame int
	// Queue and QueueOctets bound what waits for one peer in one class: 8192
	// frames and 4 MiB. With 15 peers that stall, four classes hold 240 MiB.
	Queue       int
	QueueOctets int
	// Handshakes bounds the connections from one peer's address that are not a
	// session yet: 4.
	Handshakes int
	// Session is how many octets one session may carry in one direction before
	// another takes its place: 2^38.
	//
	// "For AES-GCM, up to 2^24.5 full-size records (about 24 million) may be
	// encrypted on a given connection while keeping a safety margin of
	// approximately 2^-57". RFC 8446 section 5.5.
	Session uint64
}

func (c Config) withDefaults() Config {
	if c.Local.Port() == 0 {
		c.Local = netip.AddrPortFrom(c.Local.Addr(), DefaultPort)
	}
	c.MaxProtocol = cmp.Or(c.MaxProtocol, c.MinProtocol, 1)
	c.MinProtocol = cmp.Or(c.MinProtocol, 1)
	c.Handshake = cmp.Or(c.Handshake, 5*time.Second)
	ping, stall := time.Second, 5*time.Second
	if len(c.Links) > 0 {
		ping, stall = 500*time.Millisecond, 2*time.Second
	}
	c.Ping = cmp.Or(c.Ping, ping)
	c.Stall = cmp.Or(c.Stall, stall)
	c.Linger = cmp.Or(c.Linger, 250*time.Millisecond)
	c.MaxBackoff = cmp.Or(c.MaxBackoff, time.Second)
	c.Limits.Frame = cmp.Or(c.Limits.Frame, 1<<20)
	c.Limits.Queue = cmp.Or(c.Limits.Queue, 1<<13)
	c.Limits.QueueOctets = cmp.Or(c.Limits.QueueOctets, 4<<20)
	c.Limits.Handshakes = cmp.Or(c.Limits.Handshakes, 4)
	c.Limits.Session = cmp.Or(c.Limits.Session, 1<<38)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) check() error {
	l := c.Limits
	switch {
	case c.Identity == nil:
		return errors.New("transport: the configuration has no identity, and there is no mode without")
	case c.Receiver == nil:
		return errors.New("transport: the configuration has no receiver")
	case !c.Local.Addr().IsValid() || c.Local.Addr().IsUnspecified():
		return errors.New("transport: the configuration needs the one address of the sync interface")
	case c.Local.Addr().Zone() != "":
		return errLinkLocal
	case c.MinProtocol > c.MaxProtocol:
		return fmt.Errorf("transport: protocol versions %d to %d are none", c.MinProtocol, c.MaxProtocol)
	case min(c.Handshake, c.Ping, c.Stall, c.Linger, c.MaxBackoff) < 0:
		return errors.New("transport: a time of the configuration is negative")
	case c.Ping > c.Stall/2:
		return fmt.Errorf("transport: a ping every %v is too seldom for peers that may be silent for %v", c.Ping, c.Stall)
	case min(l.Frame, l.Queue, l.QueueOctets, l.Handshakes) < 0:
		return errors.New("transport: a limit of the configuration is negative")
	case l.Frame > maxFrame:
		return fmt.Errorf("transport: frames of %d octets are above %d", l.Frame, maxFrame)
	}
	if err := c.checkLinks(); err != nil {
		return err
	}
	return c.checkPeers(c.Peers)
}

func (c Config) checkLinks() error {
	if len(c.Links) > MaxLinks {
		return fmt.Errorf("transport: %d links are above %d", len(c.Links), MaxLinks)
	}
	seen := map[netip.Addr]bool{c.Local.Addr().Unmap(): true}
	for _, l := range c.Links {
		switch {
		case !l.Local.IsValid() || l.Local.IsUnspecified() || l.Local.IsMulticast():
			return fmt.Errorf("transport: link %s needs our address there, not %v", l.Interface, l.Local)
		case l.Local.Zone() != "":
			return errLinkLocal
		case seen[l.Local.Unmap()]:
			return fmt.Errorf("transport: our address %v is there twice", l.Local)
		}
		seen[l.Local.Unmap()] = true
	}
	return nil
}

// errLinkLocal: members are named by addresses that mean the same everywhere.
var errLinkLocal = errors.New("transport: a link-local address with a zone cannot name a member")

func (c Config) checkPeers(peers []Peer) error {
	if len(peers) > MaxPeers {
		return fmt.Errorf("transport: %d peers are above %d", len(peers), MaxPeers)
	}
	addrs := map[netip.Addr]bool{c.Local.Addr().Unmap(): true}
	members := map[ipsec.MemberID]bool{c.Identity.Name().Member: true}
	for _, p := range peers {
		addr := p.Addr.Unmap()
		switch {
		case !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast():
			return fmt.Errorf("transport: %v is no address of a peer", p.Addr)
		case addr.Zone() != "":
			return errLinkLocal
		case addr.Is4() != c.Local.Addr().Unmap().Is4():
			return fmt.Errorf("transport: %v and our own %v are of different families", addr, c.Local.Addr())
		case addrs[addr]:
			return fmt.Errorf("transport: %v is there twice, or our own", addr)
		}
		addrs[addr] = true
		if err := c.checkPeerLinks(p, addrs); err != nil {
			return err
		}
		if p.Member == nil {
			continue
		}
		if *p.Member >= ipsec.MaxMembers || members[*p.Member] {
			return fmt.Errorf("transport: member %d, of %v, is there twice, our own, or above %d", *p.Member, addr, ipsec.MaxMembers-1)
		}
		members[*p.Member] = true
	}
	return nil
}

// checkPeerLinks looks at the addresses of a peer beside its first one.
func (c Config) checkPeerLinks(p Peer, seen map[netip.Addr]bool) error {
	if len(p.Links) > len(c.Links) {
		return fmt.Errorf("transport: peer %v has %d addresses for %d links", p.Addr, len(p.Links), len(c.Links))
	}
	for i, a := range p.Links {
		if !a.IsValid() {
			continue
		}
		a = a.Unmap()
		switch {
		case a.IsUnspecified() || a.IsMulticast():
			return fmt.Errorf("transport: %v is no address of a peer", a)
		case a.Zone() != "":
			return errLinkLocal
		case a.Is4() != c.Links[i].Local.Unmap().Is4():
			return fmt.Errorf("transport: %v and our own %v are of different families", a, c.Links[i].Local)
		case seen[a]:
			return fmt.Errorf("transport: %v is there twice, or our own", a)
		}
		seen[a] = true
	}
	return nil
}
