package config

import (
	"net/netip"
	"slices"

	"github.com/evergate/evergate/core/ipsec"
)

// What must hold between the values of an ha section, and of what it moves.

func (k checker) ha(h *HA) {
	if !h.ActivePassive {
		return
	}
	if k.c.Cluster == nil {
		k.unitAlone(h)
	} else {
		k.unitInGroup(h)
	}
	if n := len(h.HeartbeatInterfaces); n > maxLinks {
		k.at(h.file, "hbdev", "has %d interfaces; at most %d are used", n, maxLinks)
	}
	k.unitPeers(h)
	k.unitAddresses(h)
}

// unitAlone: the unit is all the group that there is.
func (k checker) unitAlone(h *HA) {
	k.lacks(h.file, "member-id", true, "which member of the unit this is, 0-15; each has its own")
	k.lacks(h.file, "hbdev", true, "the interfaces to the other members")
	k.lacks(h.file, "peers", true, "the other members")
	k.trust(h.file, "password")
}

// unitInGroup: the members of the unit are members of the standalone-cluster, whose
// word counts.
func (k checker) unitInGroup(h *HA) {
	for _, key := range []string{"member-id", "port", "hb-interval", "hb-lost-threshold", "ca", "cert", "key", "password"} {
		if h.file.has(key) {
			k.at(h.file, key, "is the standalone-cluster's to say, of which this unit is a part")
		}
	}
	if !h.SessionPickup {
		k.at(h.file, "session-pickup", "must be enable where a standalone-cluster is made of units: the other units hold the tunnels too")
	}
	if h.file.has("hbdev") != h.file.has("peers") {
		k.at(h.file, "hbdev", "and peers belong together: further ways to the members of this unit beside the standalone-cluster's")
	}
	for _, p := range h.Peers {
		known := func(c *ClusterPeer) bool { return c.Member != nil && *c.Member == *p.Member }
		if p.Member != nil && !slices.ContainsFunc(k.c.Cluster.Peers, known) {
			k.at(p.file, "member-id", "%d is that of no entry of standalone-cluster.cluster-peers", *p.Member)
		}
	}
	for _, p := range k.c.Phase1 {
		if !p.FGSPSync {
			k.at(p.file, "fgsp-sync", "must be enable where a standalone-cluster is made of units: the tunnels of %s would end with each change of the primary", p.Name)
		}
	}
}

// unitPeers looks at each other member alone, and next to those before it.
func (k checker) unitPeers(h *HA) {
	if n := len(h.Peers); n >= ipsec.MaxMembers {
		k.at(h.file, "peers", "has %d members; a unit has %d, this one included", n, ipsec.MaxMembers)
	}
	addrs := make(map[netip.Addr]string)
	members := make(map[ipsec.MemberID]string)
	own := h.Member
	if k.c.Cluster != nil {
		own = &k.c.Cluster.Member
	}
	for _, p := range h.Peers {
		k.lacks(p.file, "member-id", true, "which member that is")
		if n := len(p.IPs); n != len(h.HeartbeatInterfaces) {
			k.at(p.file, "peerip", "has %d addresses; want one for each interface of hbdev, in their order, that is %d", n, len(h.HeartbeatInterfaces))
		}
		for _, a := range p.IPs {
			if other, taken := addrs[a]; taken {
				k.at(p.file, "peerip", "%v is that of %s too", a, other)
			}
			addrs[a] = p.file.path
			k.ownAddress(p.file, "peerip", a)
		}
		if len(p.IPs) > 0 && len(h.Peers[0].IPs) > 0 && p.IPs[0].Is4() != h.Peers[0].IPs[0].Is4() {
			k.at(p.file, "peerip", "%v and %v are of different address families", p.IPs[0], h.Peers[0].IPs[0])
		}
		if p.Member == nil {
			continue
		}
		switch other, taken := members[*p.Member]; {
		case own != nil && *p.Member == *own:
			k.at(p.file, "member-id", "%d is our own", *p.Member)
		case taken:
			k.at(p.file, "member-id", "%d is that of %s too", *p.Member, other)
		}
		members[*p.Member] = p.file.path
	}
}

// unitAddresses looks at what moves.
func (k checker) unitAddresses(h *HA) {
	seen := make(map[netip.Addr]string)
	for _, a := range h.Addresses {
		k.lacks(a.file, "interface", true, "where the addresses are")
		k.lacks(a.file, "ip", true, "the addresses, each with its prefix length")
		if h.VirtualMAC && a.Interface == "lo" {
			k.at(a.file, "interface", "lo has no hardware address that could be a virtual one")
		}
		for _, p := range a.IPs {
			if other, taken := seen[p.Addr()]; taken {
				k.at(a.file, "ip", "%v is one of %s too", p.Addr(), other)
			}
			seen[p.Addr()] = a.file.path
		}
	}
	if h.VirtualMAC && len(h.Addresses) == 0 {
		k.at(h.file, "virtual-mac", "has no addresses to be for")
	}
}
