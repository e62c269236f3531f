package config

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// What a standalone-cluster that says nothing about them has.
const (
	DefaultClusterPort   = 708
	DefaultHeartbeat     = 50 * time.Millisecond
	DefaultLostThreshold = 3
	DefaultMinAcks       = 1
	DefaultAckTimeout    = 50 * time.Millisecond
)

// minGroupSecret is the length of the shortest secret of a group in octets. Who
// finds it can be any member, so it is held to more than that of one peer.
const minGroupSecret = 20

// StandaloneCluster is the group of gateways that synchronize the tunnels of
// phase 1 entries with fgsp-sync, as a member of it sees the group.
type StandaloneCluster struct {
	// Group is 0 for a configuration that does not say.
	Group  uint8          `json:"standalone-group-id"`
	Member ipsec.MemberID `json:"group-member-id"`

	// Interface leads to the other members and Local is our address there. One of
	// them may be empty; LocalAddress finds the address.
	Interface string     `json:"interface"`
	Local     netip.Addr `json:"local"`
	// Port is the one on which all members listen, TCP and UDP.
	Port  uint16         `json:"port"`
	Peers []*ClusterPeer `json:"cluster-peers"`

	// A member of which nothing came for Lost times Heartbeat is dead.
	Heartbeat time.Duration `json:"hb-interval"`
	Lost      int           `json:"hb-lost-threshold"`

	// CA, Cert and Key are PEM files, and empty where the group has a Secret.
	CA     string    `json:"ca"`
	Cert   string    `json:"cert"`
	Key    string    `json:"key"`
	Secret ipsec.Key `json:"-"`

	Sync ClusterSync `json:"sync"`

	file section
}

// ClusterPeer is another member.
type ClusterPeer struct {
	IP netip.Addr `json:"peerip"`
	// Member is nil where the peer's certificate is to say.
	Member *ipsec.MemberID `json:"member-id"`

	file section
}

// ClusterSync says how sure a change must be before a tunnel's peer learns of it.
type ClusterSync struct {
	// MinAcks is how many synced members must have it, at least 1, and AckTimeout how
	// long that may take; then it goes on unprotected.
	MinAcks    int           `json:"min-acks"`
	AckTimeout time.Duration `json:"ack-timeout"`
}

func newStandaloneCluster() *StandaloneCluster {
	return &StandaloneCluster{
		Port:      DefaultClusterPort,
		Heartbeat: DefaultHeartbeat, Lost: DefaultLostThreshold,
		Sync: ClusterSync{MinAcks: DefaultMinAcks, AckTimeout: DefaultAckTimeout},
	}
}

func clusterFields(dir string) []field[StandaloneCluster] {
	const lastMember = ipsec.MaxMembers - 1
	return []field[StandaloneCluster]{
		{"standalone-group-id", func(c *StandaloneCluster, v value) { number(v, &c.Group, 0, 255) }},
		{"group-member-id", func(c *StandaloneCluster, v value) { number(v, &c.Member, 0, lastMember) }},
		{"interface", func(c *StandaloneCluster, v value) { v.iface(&c.Interface) }},
		{"local", func(c *StandaloneCluster, v value) { v.address(&c.Local) }},
		{"port", func(c *StandaloneCluster, v value) { number(v, &c.Port, 1, 65535) }},
		{"cluster-peers", func(c *StandaloneCluster, v value) {
			entries(v, &c.Peers, func() *ClusterPeer { return new(ClusterPeer) }, clusterPeerFields())
		}},
		{"hb-interval", func(c *StandaloneCluster, v value) { v.heartbeat(&c.Heartbeat) }},
		{"hb-lost-threshold", func(c *StandaloneCluster, v value) { number(v, &c.Lost, 1, 60) }},
		{"ca", func(c *StandaloneCluster, v value) { v.file(&c.CA, dir) }},
		{"cert", func(c *StandaloneCluster, v value) { v.file(&c.Cert, dir) }},
		{"key", func(c *StandaloneCluster, v value) { v.file(&c.Key, dir) }},
		{"secret", func(c *StandaloneCluster, v value) {
			v.secret(&c.Secret, dir, secretKind{noun: "the group's secret", least: minGroupSecret, most: 4096})
		}},
		{"sync", func(c *StandaloneCluster, v value) { subsection(v, &c.Sync, clusterSyncFields()) }},
	}
}

func clusterPeerFields() []field[ClusterPeer] {
	return []field[ClusterPeer]{
		{"peerip", func(p *ClusterPeer, v value) { v.address(&p.IP) }},
		{"member-id", func(p *ClusterPeer, v value) { v.member(&p.Member) }},
	}
}

func clusterSyncFields() []field[ClusterSync] {
	return []field[ClusterSync]{
		{"min-acks", func(s *ClusterSync, v value) { number(v, &s.MinAcks, 1, ipsec.MaxMembers-1) }},
		{"ack-timeout", func(s *ClusterSync, v value) { v.milliseconds(&s.AckTimeout, 1, 2000) }},
	}
}

// heartbeat sets hb-interval. FortiOS counts it in units of 100 ms, from 1 to 20:
// a plain number that it would have taken is asked about instead of understood in
// another way.
func (v value) heartbeat(dst *time.Duration) {
	if n, err := strconv.Atoi(v.node.Value); err == nil && n >= 1 && n <= 20 {
		v.problem("%d could mean %[1]d ms, or %v as with FortiOS, which counts in 100 ms; write the unit", n, time.Duration(n)*100*time.Millisecond)
		return
	}
	v.milliseconds(dst, 10, 2000)
}

// LocalAddress is our address on the sync interface: Local, or else the first one
// on Interface that is of the peers' family and valid beyond its link. It looks at
// the interface as it is now.
func (c *StandaloneCluster) LocalAddress() (netip.Addr, error) {
	if c.Local.IsValid() {
		return c.Local, nil
	}
	return firstAddress(c.Interface, c.Peers[0].IP)
}
