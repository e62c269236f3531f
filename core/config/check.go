package config

import (
	"fmt"
	"strings"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
)

// What must hold between values. Every check that a value can pass by itself is
// where the value is read.

func (c *Config) check(s section, r *report) {
	if c.Dataplane.Plugin == DefaultPlugin && c.Dataplane.SHA256 != nil {
		r.problem(s.where("dataplane"), "dataplane.sha256", "%s is built in and has no executable of its own to check; name the path of one", DefaultPlugin)
	}
	if len(c.Phase1) == 0 && !s.has("phase1") {
		r.problem(s.at, "phase1", "is missing: there is nothing to do without a phase 1")
	}
	if c.State.SealKey.Len() > 0 && c.Flush {
		r.warning(s.where("state"), "state", "is not kept: with ike-restart: flush no tunnel outlives the process")
	}
	k := checker{c, r}
	k.names()
	k.users()
	for i, p := range c.Phase1 {
		k.identities(p)
		k.gateways(p)
		k.initiation(p)
		k.lacks(p.file, "psksecret", p.PSK.Len() == 0, "every peer is authenticated with a pre-shared key")
		if p.NetDevice {
			k.at(p.file, "net-device", "an interface for each tunnel is not implemented; allowed: disable")
		}
		if p.FragmentSize != 0 && !p.Fragment {
			k.at(p.file, "fragmentation-mtu", "has no meaning with fragmentation: disable")
		}
		k.version1(p)
		k.childless(i, p)
		k.sync(p)
	}
	for _, p := range c.Phase2 {
		k.child(p)
	}
	if c.Cluster != nil {
		k.cluster(c.Cluster)
	}
	if c.HA != nil {
		k.ha(c.HA)
	}
	if c.BGP != nil {
		k.bgp(c.BGP)
	}
}

// checker looks at one Config.
type checker struct {
	c *Config
	r *report
}

func (k checker) at(s section, key, format string, args ...any) {
	k.r.problem(s.where(key), s.name(key), format, args...)
}

func (k checker) warn(s section, key, format string, args ...any) {
	k.r.warning(s.where(key), s.name(key), format, args...)
}

// lacks notes a key that must be there and is not.
func (k checker) lacks(s section, key string, missing bool, why string) {
	if missing && !s.has(key) {
		k.at(s, key, "is missing: %s", why)
	}
}

// names looks for entries without a name and for names that are taken.
func (k checker) names() {
	first := make(map[string]section)
	for _, p := range k.c.Phase1 {
		k.lacks(p.file, "name", p.Name == "", "every phase 1 has a name")
		k.taken(first, p.Name, p.file)
	}
	for _, p := range k.c.Phase1 {
		k.instance(p)
	}
	first = make(map[string]section)
	for _, p := range k.c.Phase2 {
		k.lacks(p.file, "name", p.Name == "", "every phase 2 has a name")
		k.taken(first, p.Name, p.file)
	}
}

func (k checker) taken(first map[string]section, name string, s section) {
	if old, ok := first[name]; ok && name != "" {
		k.at(s, "name", "%s is taken by %s in line %d", name, old.path, old.where("name").line)
		return
	}
	first[name] = s
}

// instance looks for a name that a dialup server gives to its tunnels: vpn1_0.
func (k checker) instance(p *Phase1) {
	i := strings.LastIndexByte(p.Name, '_')
	if i < 0 || strings.Trim(p.Name[i+1:], "0123456789") != "" {
		return
	}
	if of := k.c.phase1(p.Name[:i]); of != nil && of.Dialup {
		k.at(p.file, "name", "%s is what tunnels of %s are called; choose another name", p.Name, of.Name)
	}
}

func (k checker) identities(p *Phase1) {
	switch {
	case p.PeerOne && p.PeerID == "" && !p.file.has("peerid"):
		k.at(p.file, "peertype", "one needs a peerid: whom to accept")
	case !p.PeerOne && p.PeerID != "":
		k.at(p.file, "peerid", "is looked at only with peertype: one")
	}
	if p.LocalID == "" {
		if p.file.has("localid-type") && !p.file.has("localid") && p.LocalIDType != ike.IDText && p.LocalIDType != ike.IDIPv4 {
			k.at(p.file, "localid-type", "needs a localid")
		}
		return
	}
	if _, err := p.localIdentity(); err != nil {
		k.at(p.file, "localid", "%v", err)
	}
}

func (k checker) gateways(p *Phase1) {
	k.lacks(p.file, "type", true, "dynamic for a dialup server, static for one peer with a remote-gw")
	k.lacks(p.file, "local-gw", !p.LocalGW.IsValid(), "our address, to which peers send")
	switch {
	case !p.file.has("type"):
	case p.Dialup && p.RemoteGW.IsValid():
		k.at(p.file, "remote-gw", "peers of type dynamic come from anywhere; want type: static for a peer at a known address")
	case !p.Dialup && !p.file.has("remote-gw"):
		k.at(p.file, "remote-gw", "is missing: type static has one peer at a known address")
	}
	if !p.LocalGW.IsValid() || !p.RemoteGW.IsValid() {
		return
	}
	if p.LocalGW.Is4() != p.RemoteGW.Is4() {
		k.at(p.file, "remote-gw", "%v and local-gw %v are of different address families", p.RemoteGW, p.LocalGW)
	}
	if p.LocalGW == p.RemoteGW {
		k.at(p.file, "remote-gw", "%v is our own local-gw", p.RemoteGW)
	}
}

// initiation looks for connections that are told to call and cannot.
func (k checker) initiation(p *Phase1) {
	for _, child := range k.c.children(p) {
		switch {
		case !child.AutoNegotiate:
		case p.Dialup:
			k.at(child.file, "auto-negotiate", "phase 1 %s is of type dynamic and has nobody to call", p.Name)
		case p.Passive:
			k.at(child.file, "auto-negotiate", "phase 1 %s has passive-mode: enable and never calls", p.Name)
		}
	}
}

func (k checker) childless(i int, p *Phase1) {
	if p.Name != "" && len(k.c.children(p)) == 0 {
		k.r.problem(p.file.at, fmt.Sprintf("phase1[%d]", i), "%s has no phase2 that names it in phase1name, so nothing could pass", p.Name)
	}
}

func (k checker) child(p *Phase2) {
	k.lacks(p.file, "phase1name", p.Phase1 == "", "the phase 1 that this belongs to")
	if p.Phase1 != "" && k.c.phase1(p.Phase1) == nil {
		k.at(p.file, "phase1name", "there is no phase 1 %s%s", p.Phase1, k.c.suggestPhase1(p.Phase1))
	}
	if p.PFS == PFSDisabled && len(p.Groups) > 0 {
		k.at(p.file, "dhgrp", "has no meaning with pfs: disable")
	}
	if !p.Replay {
		k.at(p.file, "replay", "anti-replay cannot be turned off; allowed: enable (replay-window widens it, up to 4096 packets)")
	}
	if p.file.has("keylifekbs") && p.LifeType == LifeSeconds {
		k.at(p.file, "keylifekbs", "counts only with keylife-type: kbs or both")
	}
	k.traffic(p)
	k.plaintext(p)
}

// plaintext warns of packets between the gateways themselves that nothing leads
// into the tunnel: they leave as they are.
func (k checker) plaintext(p *Phase2) {
	if of := k.c.phase1(p.Phase1); p.Mode == ipsec.Transport && of != nil && !of.addsRoutes() {
		k.warn(p.file, "encapsulation", "transport-mode wants add-route: enable in phase 1 %s: without a route into the tunnel, packets for the peer leave in plaintext", of.Name)
	}
}

// traffic looks at addresses, protocol and ports together.
func (k checker) traffic(p *Phase2) {
	if len(p.Src) > 0 && len(p.Dst) > 0 {
		for _, v6 := range []bool{false, true} {
			if hasFamily(p.Src, v6) != hasFamily(p.Dst, v6) {
				k.at(p.file, "dst-subnet", "src-subnet and dst-subnet are of different address families, so some of it can match no packet")
				break
			}
		}
	}
	// "Other protocols, such as ICMP, [...] the port fields are OPAQUE or ANY":
	// ports need a protocol that has them (RFC 4301 section 4.4.1.1).
	for key, ports := range map[string]PortRange{"src-port": p.SrcPort, "dst-port": p.DstPort} {
		if !ports.any() && !hasPorts(p.Protocol) {
			k.at(p.file, key, "needs a protocol with ports; allowed: protocol 6 (TCP), 17 (UDP), 33 (DCCP), 132 (SCTP)")
		}
	}
}

func hasPorts(proto uint8) bool {
	switch proto {
	case 6, 17, 33, 132:
		return true
	default:
		return false
	}
}

// phase1 finds a phase 1 by its name, nil when there is none.
func (c *Config) phase1(name string) *Phase1 {
	for _, p := range c.Phase1 {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// children are the phase 2 entries of p, in order.
func (c *Config) children(p *Phase1) []*Phase2 {
	var out []*Phase2
	for _, child := range c.Phase2 {
		if child.Phase1 == p.Name {
			out = append(out, child)
		}
	}
	return out
}

func (c *Config) suggestPhase1(name string) string {
	known := make([]string, 0, len(c.Phase1))
	for _, p := range c.Phase1 {
		known = append(known, p.Name)
	}
	return suggest(name, known, "there are")
}
