package gateway

import (
	"fmt"
	"strings"

	"github.com/evergate/evergate/core/netlab"
)

// The addresses of a PairSite that its unit has.
const (
	PairAddr   = "192.168.202.31" // local-gw
	PairAddr6  = "fd00:202::31"
	PairInside = "172.31.125.254" // the server's router
)

// PairSite is a unit of members (FGCP) between a router that leads clients to its
// addresses and a server that has it for a router, with two networks of their own
// for heartbeats:
//
//	            /-- port2 -- member 1 -- port3 --\
//	client -- router                              server
//	            \-- port2 -- member 2 -- port3 --/
//
// Each member has addresses of its own too. Member ids count from 1.
type PairSite struct {
	Client, Router, Server *netlab.Namespace
	ClientWAN, WAN         *netlab.Interface
	// Outside is the router's interface towards the members, Inside the server's.
	Outside, Inside *netlab.Interface
	Members         []*PairMember
	// Secret, if set, is what the members know each other by, instead of certificates.
	Secret string

	trust trust
}

// PairMember is the host of one member.
type PairMember struct {
	ID   int
	Host *netlab.Namespace
	// Port2 leads to the router, Port3 to the server, Port4 and Port5 to the other
	// members.
	Port2, Port3, Port4, Port5 *netlab.Interface
}

// NewPairSite builds a PairSite of n members.
func NewPairSite(lab *netlab.Lab, n int) *PairSite {
	s := &PairSite{Client: lab.Namespace("client"), Router: lab.Namespace("router"), Server: lab.Namespace("server"), trust: newTrust(lab, n)}
	s.ClientWAN, s.WAN = lab.Link(
		s.Client.Port("wan", ClientAddr+"/24", ClientAddr6+"/64"), s.Router.Port("client", "192.168.1.1/24", "fd00:1::1/64"))
	s.Client.Loopback(ClientHost+"/32", ClientHost6+"/128")
	s.Client.Route("0.0.0.0/0", "192.168.1.1")
	s.Client.Route("::/0", "fd00:1::1")
	s.Router.Forward()

	outside := []netlab.Port{s.Router.Port("unit", "192.168.202.1/24", "fd00:202::1/64")}
	inside := []netlab.Port{s.Server.Port("lan", ServerHost+"/24", ServerHost6+"/64")}
	var beats, more []netlab.Port
	for i := range n {
		m := &PairMember{ID: i + 1, Host: lab.Namespace(fmt.Sprintf("member%d", i+1))}
		s.Members = append(s.Members, m)
		outside = append(outside, m.Host.Port("port2", fmt.Sprintf("192.168.202.%d/24", 100+m.ID), fmt.Sprintf("fd00:202::%d/64", 100+m.ID)))
		inside = append(inside, m.Host.Port("port3", fmt.Sprintf("172.31.125.%d/24", 100+m.ID), fmt.Sprintf("fd00:31::%d/64", 100+m.ID)))
		beats = append(beats, m.Host.Port("port4", fmt.Sprintf("172.31.1.%d/24", m.ID)))
		more = append(more, m.Host.Port("port5", fmt.Sprintf("172.31.2.%d/24", m.ID)))
		m.Host.Forward()
	}
	two, three := lab.Switch("outside", outside...), lab.Switch("inside", inside...)
	four, five := lab.Switch("beats", beats...), lab.Switch("more", more...)
	s.Outside, s.Inside = two[0], three[0]
	for i, m := range s.Members {
		m.Port2, m.Port3, m.Port4, m.Port5 = two[i+1], three[i+1], four[i], five[i]
		m.Host.Route("192.168.1.0/24", "192.168.202.1")
		m.Host.Route("fd00:1::/64", "fd00:202::1")
	}
	s.Server.Route("0.0.0.0/0", PairInside)
	s.Server.Route("::/0", "fd00:31::254")
	return s
}

// Unplug pulls all cables of the member, as a loss of power does.
func (m *PairMember) Unplug() {
	for _, port := range []*netlab.Interface{m.Port2, m.Port3, m.Port4, m.Port5} {
		port.Down()
	}
}

// Plug is Unplug's end. An interface that was down has lost its routes.
func (m *PairMember) Plug() {
	for _, port := range []*netlab.Interface{m.Port2, m.Port3, m.Port4, m.Port5} {
		port.Up()
	}
	m.Reroute()
}

// Reroute puts back the member's route to the clients.
func (m *PairMember) Reroute() { m.Host.Route("192.168.1.0/24", "192.168.202.1") }

// Unit is the part of a member's configuration that makes it one; more are further
// lines of it.
func (s *PairSite) Unit(m *PairMember, more string) string {
	var peers strings.Builder
	for _, o := range s.Members {
		if o != m {
			fmt.Fprintf(&peers, "    - {member-id: %d, peerip: [172.31.1.%[1]d, 172.31.2.%[1]d]}\n", o.ID)
		}
	}
	trust := s.trust.config(m.ID)
	if s.Secret != "" {
		trust = fmt.Sprintf("  password: {literal: %s}\n", s.Secret)
	}
	return fmt.Sprintf(`
ha:
  mode: a-p
  group-id: %d
  group-name: pair
  member-id: %d
  priority: %d
  hbdev: [port4, port5]
  hb-lost-threshold: 60 # a busy machine is not a dead member
  peers:
%s%s  monitor: [port2, port3]
  addresses:
    - {interface: port2, ip: [%s/24, "%s/64"]}
    - {interface: port3, ip: [%s/24, "fd00:31::254/64"]}
%s`, siteGroup, m.ID, 200-m.ID, peers.String(), trust, PairAddr, PairAddr6, PairInside, more)
}

// Config is a member's configuration: a unit with a dialup server.
func (s *PairSite) Config(m *PairMember, more string) string {
	return fmt.Sprintf(`%s
phase1:
  - name: vpn1
    type: dynamic
    interface: port2
    local-gw: %s
    peertype: any
    proposal: [aes128-sha256]
    dhgrp: [31]
    dpd: on-idle
    dpd-retryinterval: 60
    psksecret: {literal: %s}
phase2:
  - {name: vpn1, phase1name: vpn1, proposal: [aes128gcm], src-subnet: %s}
`, s.Unit(m, more), PairAddr, GroupPSK, ServerNet)
}
