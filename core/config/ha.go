package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// What an ha section that says nothing about them has.
const (
	DefaultPriority     = 128
	DefaultUptimeMargin = 300 * time.Second
	DefaultRouteTTL     = 10 * time.Second
	DefaultARPs         = 5
	DefaultARPsInterval = time.Second
)

// maxLinks is how many heartbeat interfaces a unit has at most.
const maxLinks = 8

// HA is a unit: members that are one gateway together (FGCP, active-passive), as
// one of them sees it. Without a standalone-cluster its members are a group of
// their own; beside one they are some of its members.
type HA struct {
	// ActivePassive is mode a-p. Without it all the rest has no effect.
	ActivePassive bool `json:"mode"`
	// Group tells units apart, and names the group where there is no
	// standalone-cluster. GroupName is for people.
	Group     uint8  `json:"group-id"`
	GroupName string `json:"group-name"`
	// Member is nil beside a standalone-cluster, which has its own id for us.
	Member *ipsec.MemberID `json:"member-id"`

	// HeartbeatInterfaces lead to the other members, who have an address on each, in
	// this order. Without a standalone-cluster the first one carries the tunnels'
	// state, as long as it works.
	HeartbeatInterfaces []string  `json:"hbdev"`
	Peers               []*HAPeer `json:"peers"`
	Port                uint16    `json:"port"`

	// A member of which nothing came for Lost times Heartbeat is dead.
	Heartbeat time.Duration `json:"hb-interval"`
	Lost      int           `json:"hb-lost-threshold"`

	// CA, Cert and Key are PEM files, and empty where the unit has a Password.
	CA       string    `json:"ca"`
	Cert     string    `json:"cert"`
	Key      string    `json:"key"`
	Password ipsec.Key `json:"-"`

	// Priority, Override, UptimeMargin and Serial decide who is primary.
	Priority     uint8         `json:"priority"`
	Override     bool          `json:"override"`
	UptimeMargin time.Duration `json:"ha-uptime-diff-margin"`
	Serial       string        `json:"serial"`
	// Monitor are the interfaces whose failure moves the unit.
	Monitor []string `json:"monitor"`

	// SessionPickup: subordinates hold the tunnels. Without it, peers begin anew after
	// a failover.
	SessionPickup bool `json:"session-pickup"`
	// SyncESPSeqno: a new primary sends on what it takes over, above what the last one
	// sent. Without it, it makes new keys before it sends.
	SyncESPSeqno bool `json:"ha-sync-esp-seqno"`
	// SyncMTU: subordinates know the path MTUs that the primary has learned.
	SyncMTU bool `json:"sync-mtu"`
	// RouteTTL is how long a new primary keeps what it has of a tunnel, routes
	// included, that it could not take over as a whole.
	RouteTTL time.Duration `json:"route-ttl"`
	// RouteWait is how long a subordinate leaves out a route that is new at the
	// primary.
	RouteWait time.Duration `json:"route-wait"`

	// Addresses are those that the primary has and nobody else.
	Addresses []*UnitAddresses `json:"addresses"`
	// VirtualMAC: the addresses keep their hardware address when they move.
	VirtualMAC bool `json:"virtual-mac"`
	// ARPs is how often a new primary announces its addresses, and ARPsInterval how
	// long it waits in between.
	ARPs         int           `json:"arps"`
	ARPsInterval time.Duration `json:"arps-interval"`

	file section
}

// HAPeer is another member of the unit.
type HAPeer struct {
	Member *ipsec.MemberID `json:"member-id"`
	// IPs are its addresses on the heartbeat interfaces, in their order.
	IPs []netip.Addr `json:"peerip"`

	file section
}

// UnitAddresses are addresses of the unit on one interface.
type UnitAddresses struct {
	Interface string `json:"interface"`
	// IPs are addresses with the length of their network's prefix.
	IPs []netip.Prefix `json:"ip"`

	file section
}

func newHA() *HA {
	return &HA{
		Port: DefaultClusterPort, Heartbeat: DefaultHeartbeat, Lost: DefaultLostThreshold,
		Priority: DefaultPriority, UptimeMargin: DefaultUptimeMargin,
		SessionPickup: true, SyncESPSeqno: true, SyncMTU: true,
		RouteTTL: DefaultRouteTTL, ARPs: DefaultARPs, ARPsInterval: DefaultARPsInterval,
	}
}

func haFields(dir string) []field[HA] {
	return []field[HA]{
		{"mode", func(h *HA, v value) {
			oneOf(v, &h.ActivePassive, choice[bool]{"standalone", false}, choice[bool]{"a-p", true})
		}},
		{"group-id", func(h *HA, v value) { number(v, &h.Group, 0, 255) }},
		{"group-name", func(h *HA, v value) { v.name(&h.GroupName) }},
		{"member-id", func(h *HA, v value) { v.member(&h.Member) }},
		{"hbdev", func(h *HA, v value) { listOf(v, &h.HeartbeatInterfaces, true, parseInterface) }},
		{"peers", func(h *HA, v value) {
			entries(v, &h.Peers, func() *HAPeer { return new(HAPeer) }, haPeerFields())
		}},
		{"port", func(h *HA, v value) { number(v, &h.Port, 1, 65535) }},
		{"hb-interval", func(h *HA, v value) { v.heartbeat(&h.Heartbeat) }},
		{"hb-lost-threshold", func(h *HA, v value) { number(v, &h.Lost, 1, 60) }},
		{"ca", func(h *HA, v value) { v.file(&h.CA, dir) }},
		{"cert", func(h *HA, v value) { v.file(&h.Cert, dir) }},
		{"key", func(h *HA, v value) { v.file(&h.Key, dir) }},
		{"password", func(h *HA, v value) {
			v.secret(&h.Password, dir, secretKind{noun: "the unit's password", least: minGroupSecret, most: 4096})
		}},
		{"priority", func(h *HA, v value) { number(v, &h.Priority, 0, 255) }},
		{"override", func(h *HA, v value) { v.enable(&h.Override) }},
		{"ha-uptime-diff-margin", func(h *HA, v value) { v.seconds(&h.UptimeMargin, 1, 65535) }},
		{"serial", func(h *HA, v value) { v.name(&h.Serial) }},
		{"monitor", func(h *HA, v value) { listOf(v, &h.Monitor, true, parseInterface) }},
		{"session-pickup", func(h *HA, v value) { v.enable(&h.SessionPickup) }},
		{"ha-sync-esp-seqno", func(h *HA, v value) { v.enable(&h.SyncESPSeqno) }},
		{"sync-mtu", func(h *HA, v value) { v.enable(&h.SyncMTU) }},
		{"route-ttl", func(h *HA, v value) { v.seconds(&h.RouteTTL, 5, 3600) }},
		{"route-wait", func(h *HA, v value) { v.seconds(&h.RouteWait, 0, 3600) }},
		{"addresses", func(h *HA, v value) {
			entries(v, &h.Addresses, func() *UnitAddresses { return new(UnitAddresses) }, unitAddressFields())
		}},
		{"virtual-mac", func(h *HA, v value) { v.enable(&h.VirtualMAC) }},
		{"arps", func(h *HA, v value) { number(v, &h.ARPs, 1, 60) }},
		{"arps-interval", func(h *HA, v value) { v.seconds(&h.ARPsInterval, 1, 20) }},
	}
}

func haPeerFields() []field[HAPeer] {
	return []field[HAPeer]{
		{"member-id", func(p *HAPeer, v value) { v.member(&p.Member) }},
		{"peerip", func(p *HAPeer, v value) { listOf(v, &p.IPs, true, parsePeerAddress) }},
	}
}

func unitAddressFields() []field[UnitAddresses] {
	return []field[UnitAddresses]{
		{"interface", func(a *UnitAddresses, v value) { v.iface(&a.Interface) }},
		{"ip", func(a *UnitAddresses, v value) { listOf(v, &a.IPs, true, parseUnitAddress) }},
	}
}

// member sets the id of a member.
func (v value) member(dst **ipsec.MemberID) {
	id := ipsec.MemberID(ipsec.MaxMembers)
	if number(v, &id, 0, ipsec.MaxMembers-1); id < ipsec.MaxMembers {
		*dst = &id
	}
}

func parseInterface(s string) (string, error) {
	const longest = 15 // IFNAMSIZ with the final zero is 16
	bad := func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == ':' }
	if s == "" || len(s) > longest || s == "." || s == ".." || slices.ContainsFunc([]rune(s), bad) {
		return "", fmt.Errorf("%q is not the name of an interface", s)
	}
	return s, nil
}

func parsePeerAddress(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || !hostAddress(a) {
		return netip.Addr{}, fmt.Errorf("%q is not the address of a host that is the same on every interface, such as 192.0.2.1 or 2001:db8::1", s)
	}
	return a, nil
}

func parseUnitAddress(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || !hostAddress(p.Addr()):
		return netip.Prefix{}, fmt.Errorf("%q is not an address with its prefix length, such as 192.0.2.1/24 or 2001:db8::1/64", s)
	case p.Bits() == 0:
		return netip.Prefix{}, errors.New("a prefix length of 0 would make everything one network")
	}
	return p, nil
}

func hostAddress(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.Is4In6() &&
		a.Zone() == "" && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// Unit is the unit that we are a member of, nil for none.
func (c *Config) Unit() *HA {
	if c.HA == nil || !c.HA.ActivePassive {
		return nil
	}
	return c.HA
}

// Group is the group of members that hold our tunnels: the standalone-cluster, or
// the unit alone as one. It is nil for a gateway that stands alone.
func (c *Config) Group() *StandaloneCluster {
	u := c.Unit()
	if c.Cluster != nil || u == nil {
		return c.Cluster
	}
	g := newStandaloneCluster()
	g.Group, g.Member, g.Interface, g.Port = u.Group, *u.Member, u.HeartbeatInterfaces[0], u.Port
	g.Heartbeat, g.Lost, g.CA, g.Cert, g.Key, g.Secret = u.Heartbeat, u.Lost, u.CA, u.Cert, u.Key, u.Password
	for _, p := range u.Peers {
		g.Peers = append(g.Peers, &ClusterPeer{IP: p.IPs[0], Member: p.Member})
	}
	return g
}

// HeartbeatLink is a further way to members of our unit.
type HeartbeatLink struct {
	Interface string
	// Peers are the addresses of the others there.
	Peers map[ipsec.MemberID]netip.Addr
}

// HeartbeatLinks are the ways to members of our unit beside that of Group.
func (c *Config) HeartbeatLinks() []HeartbeatLink {
	u := c.Unit()
	if u == nil {
		return nil
	}
	var out []HeartbeatLink
	for i, name := range u.HeartbeatInterfaces {
		if i == 0 && c.Cluster == nil {
			continue // Group has it
		}
		l := HeartbeatLink{Interface: name, Peers: make(map[ipsec.MemberID]netip.Addr)}
		for _, p := range u.Peers {
			l.Peers[*p.Member] = p.IPs[i]
		}
		out = append(out, l)
	}
	return out
}

// LocalAddress is our address on the link: the first one that is of its peers'
// family and valid beyond the link. It looks at the interface as it is now.
func (l HeartbeatLink) LocalAddress() (netip.Addr, error) {
	for _, peer := range l.Peers {
		return firstAddress(l.Interface, peer)
	}
	return netip.Addr{}, fmt.Errorf("config: the heartbeat interface %s leads to nobody", l.Interface)
}

// firstAddress is the first address of an interface that is of the family of peer.
func firstAddress(name string, peer netip.Addr) (netip.Addr, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("config: find the address of interface %s: %w", name, err)
	}
	addrs, err := i.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("config: read the addresses of interface %s: %w", name, err)
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, _ := netip.AddrFromSlice(n.IP)
		ip = ip.Unmap()
		if ip.Is4() == peer.Is4() && !ip.IsLinkLocalUnicast() {
			return ip, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("config: interface %s has no address of the family of peerip %v", name, peer)
}

// syncs tells whether other members hold the tunnels of p: fgsp-sync says so, and a
// unit holds all that its primary has, or nothing.
func (c *Config) syncs(p *Phase1) bool {
	u := c.Unit()
	switch {
	case u == nil:
		return p.FGSPSync
	case c.Cluster == nil:
		return u.SessionPickup
	default:
		return true
	}
}

// renews tells whether who takes a tunnel of p over makes new keys before it sends.
func (c *Config) renews(p *Phase1) bool {
	u := c.Unit()
	return p.MaxSeq || u != nil && !u.SyncESPSeqno
}
