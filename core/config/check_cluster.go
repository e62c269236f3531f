package config

import (
	"net/netip"
	"slices"

	"github.com/evergate/evergate/core/ipsec"
)

// What must hold between the values of a standalone-cluster, and of the phase 1
// entries that it is there for.

func (k checker) cluster(c *StandaloneCluster) {
	k.lacks(c.file, "group-member-id", true, "which member of the group this is, 0-15; each has its own")
	if !c.file.has("local") {
		k.lacks(c.file, "interface", true, "the interface to the other members (or local, our address there)")
	}
	k.lacks(c.file, "cluster-peers", true, "the other members")
	if n := len(c.Peers); n >= ipsec.MaxMembers {
		k.at(c.file, "cluster-peers", "has %d members; a group has %d, this one included", n, ipsec.MaxMembers)
	}
	if c.Local.IsValid() {
		k.ownAddress(c.file, "local", c.Local)
	}
	k.peers(c)
	k.trust(c.file, "secret")
	if n := len(c.Peers); n > 0 && c.Sync.MinAcks > n {
		k.at(c.file, "sync", "min-acks %d can never be reached with %d cluster-peers", c.Sync.MinAcks, n)
	}
	if len(k.c.Phase1) > 0 && !slices.ContainsFunc(k.c.Phase1, func(p *Phase1) bool { return p.FGSPSync }) {
		k.r.warning(c.file.at, c.file.path, "no phase 1 has fgsp-sync: enable, so nothing is synchronized")
	}
}

// peers looks at each peer alone, and next to those before it.
func (k checker) peers(c *StandaloneCluster) {
	addrs := make(map[netip.Addr]string)
	members := make(map[ipsec.MemberID]string)
	first := c.Local
	for _, p := range c.Peers {
		k.lacks(p.file, "peerip", true, "the address of another member on the sync interface")
		if p.IP.IsValid() {
			if !first.IsValid() {
				first = p.IP
			}
			k.peerAddress(p, c.Local, first, addrs)
		}
		if p.Member == nil {
			continue
		}
		switch other, taken := members[*p.Member]; {
		case *p.Member == c.Member && c.file.has("group-member-id"):
			k.at(p.file, "member-id", "%d is our own group-member-id", *p.Member)
		case taken:
			k.at(p.file, "member-id", "%d is that of %s too", *p.Member, other)
		}
		members[*p.Member] = p.file.path
	}
}

func (k checker) peerAddress(p *ClusterPeer, own, first netip.Addr, seen map[netip.Addr]string) {
	other, taken := seen[p.IP]
	switch {
	case p.IP == own:
		k.at(p.file, "peerip", "%v is our own address", p.IP)
	case taken:
		k.at(p.file, "peerip", "%v is that of %s too", p.IP, other)
	case p.IP.Is4() != first.Is4():
		k.at(p.file, "peerip", "%v and %v are of different address families", p.IP, first)
	case p.IP.Is6() && p.IP.IsLinkLocalUnicast():
		k.at(p.file, "peerip", "%v is a link-local address; want one that needs no interface with it", p.IP)
	default:
		k.ownAddress(p.file, "peerip", p.IP)
	}
	seen[p.IP] = p.file.path
}

// ownAddress refuses an address that several members have for one that tells them
// apart.
func (k checker) ownAddress(s section, key string, a netip.Addr) {
	for _, p := range k.c.Phase1 {
		if p.LocalGW == a {
			k.at(s, key, "%v is the local-gw of phase 1 %s, which all members share; want one that a single member has", a, p.Name)
			return
		}
	}
}

// trust looks for one of the two ways to know a member, of which secret is the key
// of one.
func (k checker) trust(s section, secret string) {
	files := []struct{ key, why string }{
		{"ca", "the authority of the group's certificates"},
		{"cert", "the certificate of this member"},
		{"key", "the key of this member's certificate"},
	}
	given := 0
	for _, f := range files {
		if s.has(f.key) {
			given++
		}
	}
	switch {
	case given > 0 && s.has(secret):
		k.at(s, secret, "stands beside certificates; want either ca, cert and key, or a %s", secret)
	case given > 0:
		for _, f := range files {
			k.lacks(s, f.key, true, f.why)
		}
	case !s.has(secret):
		k.at(s, secret, "is missing: members trust each other by a %s, or by ca, cert and key; nothing is synchronized in the clear", secret)
	}
}

// sync looks at fgsp-sync.
func (k checker) sync(p *Phase1) {
	switch {
	case !p.FGSPSync:
	case k.c.Cluster == nil && k.c.Unit() != nil: // all of them are, to all members of the unit
	case k.c.Unit() != nil && !p.Dialup: // one of a unit calls
	case k.c.Cluster == nil:
		k.warn(p.file, "fgsp-sync", "has no effect without a standalone-cluster: there is nobody to synchronize with")
	case !p.Dialup && !p.Passive:
		k.warn(p.file, "fgsp-sync", "wants passive-mode: enable on all members for a peer of type static: when two of them call it from the one local-gw, each breaks what the other negotiates, and so does the new owner after a failover")
	}
}
