package gateway

import (
	"fmt"
	"strings"

	"github.com/evergate/evergate/core/netlab"
)

// ServerLoopback is the server's address in a GroupSite: no member's network has
// it.
const ServerLoopback = "172.31.200.1"

// GroupSite is FortiOS's example of FGSP: members with one local-gw on their
// loopbacks, between a router that leads clients to them and a server, and a
// network of their own over which they synchronize.
//
//	            /-- port2 -- DC1_VM1 -- port3 --\
//	client -- router -- port2 -- DC1_VM2 -- port3 -- server
//	            \-- port2 -- DC1_VM3 -- port3 --/
//
// Addresses are those of the example, member ids count from 1.
type GroupSite struct {
	Client, Router, Server *netlab.Namespace
	ClientWAN, WAN         *netlab.Interface
	Members                []*GroupMember
	// Sync is the members' own network.
	Sync []*netlab.Interface
	// Patience, if set, is how many heartbeats in a row a member may miss before the
	// others take it for dead. They wait as long as they may for its acknowledgements then.
	Patience int
	// Secret, if set, is what the members know each other by, instead of certificates.
	Secret string

	trust trust
}

// GroupMember is the host of one member.
type GroupMember struct {
	ID   int
	Host *netlab.Namespace
	// Port2 leads to the router, Port3 to the server, Port4 to the other members.
	Port2, Port3, Port4 *netlab.Interface
	// Uplink is the router's end of Port2, Downlink the server's end of Port3.
	Uplink, Downlink *netlab.Interface
}

// SyncAddr is a member's address on the members' network.
func (m *GroupMember) SyncAddr() string { return fmt.Sprintf("172.31.1.%d", m.ID) }

func (m *GroupMember) port2Addr() string { return fmt.Sprintf("192.168.%d.254", 124+m.ID) }
func (m *GroupMember) port3Addr() string { return fmt.Sprintf("172.31.%d.254", 124+m.ID) }

// NewGroupSite builds a GroupSite of n members. No traffic is led to any of them
// before Lead.
func NewGroupSite(lab *netlab.Lab, n int) *GroupSite {
	s := &GroupSite{Client: lab.Namespace("client"), Router: lab.Namespace("router"), Server: lab.Namespace("server"), trust: newTrust(lab, n)}
	s.ClientWAN, s.WAN = lab.Link(s.Client.Port("wan", ClientAddr+"/24"), s.Router.Port("client", "192.168.1.1/24"))
	s.Client.Loopback(ClientHost + "/32")
	s.Server.Loopback(ServerLoopback + "/32")
	s.Client.Route("0.0.0.0/0", "192.168.1.1")
	s.Router.Forward()
	// A router leaves a next hop whose cable has no carrier; Linux does so when told.
	s.Router.Sysctl("net/ipv4/conf/all/ignore_routes_with_linkdown", "1")
	s.Server.Sysctl("net/ipv4/conf/all/ignore_routes_with_linkdown", "1")
	var ports []netlab.Port
	for i := range n {
		m := &GroupMember{ID: i + 1, Host: lab.Namespace(fmt.Sprintf("DC1_VM%d", i+1))}
		m.Uplink, m.Port2 = lab.Link(
			s.Router.Port(fmt.Sprintf("vm%d", m.ID), fmt.Sprintf("192.168.%d.1/24", 124+m.ID)), m.Host.Port("port2", m.port2Addr()+"/24"))
		m.Port3, m.Downlink = lab.Link(
			m.Host.Port("port3", m.port3Addr()+"/24"), s.Server.Port(fmt.Sprintf("vm%d", m.ID), fmt.Sprintf("172.31.%d.1/24", 124+m.ID)))
		m.Host.Loopback(GatewayAddr + "/32")
		m.Host.Forward()
		m.Host.Route("192.168.1.0/24", fmt.Sprintf("192.168.%d.1", 124+m.ID))
		m.Host.Route(ServerLoopback+"/32", fmt.Sprintf("172.31.%d.1", 124+m.ID))
		ports = append(ports, m.Host.Port("port4", m.SyncAddr()+"/24"))
		s.Members = append(s.Members, m)
	}
	s.Sync = lab.Switch("sync", ports...)
	for i, m := range s.Members {
		m.Port4 = s.Sync[i]
	}
	return s
}

// Lead leads the clients' packets, and the server's towards them, to these
// members by equal-cost routes.
func (s *GroupSite) Lead(members ...*GroupMember) {
	s.LeadUp(members...)
	s.LeadDown(members...)
}

// LeadUp leads the clients' packets only.
func (s *GroupSite) LeadUp(members ...*GroupMember) {
	var via []string
	for _, m := range members {
		via = append(via, m.port2Addr())
	}
	s.Router.Route(GatewayAddr+"/32", via...)
}

// LeadDown leads the server's packets only.
func (s *GroupSite) LeadDown(members ...*GroupMember) {
	var via []string
	for _, m := range members {
		via = append(via, m.port3Addr())
	}
	s.Server.Route("10.10.0.0/16", via...)
}

// AnswerBack makes the server answer each flow through the member that its last
// packet came from.
func (s *GroupSite) AnswerBack() {
	gateways := make(map[*netlab.Interface]string)
	for _, m := range s.Members {
		gateways[m.Downlink] = m.port3Addr()
	}
	s.Server.AnswerBack(gateways)
}

// Unplug pulls all cables of the member, as a loss of power does.
func (m *GroupMember) Unplug() {
	for _, port := range []*netlab.Interface{m.Port2, m.Port3, m.Port4} {
		port.Down()
	}
}

// Config is a member's configuration: the example's, with what else the caller
// wants of phase 1 (fgsp-sync) and below.
func (s *GroupSite) Config(m *GroupMember, phase1, more string) string {
	return fmt.Sprintf(`%s
phase1:
  - name: vpn1
    type: dynamic
    interface: port2
    local-gw: %s
    keylife: 90000
    peertype: any
    proposal: [aes128-sha1]
    dhgrp: [2]
    dpd: on-idle
    dpd-retryinterval: 60
    psksecret: {literal: the secret of this laboratory}
%s
phase2:
  - name: vpn1
    phase1name: vpn1
    proposal: [aes128-sha1]
    keylifeseconds: 10800
%s`, s.Cluster(m), GatewayAddr, phase1, more)
}

// Cluster is the part of a member's configuration that makes it one.
func (s *GroupSite) Cluster(m *GroupMember) string {
	var peers strings.Builder
	for _, o := range s.Members {
		if o != m {
			fmt.Fprintf(&peers, "    - {peerip: %s, member-id: %d}\n", o.SyncAddr(), o.ID)
		}
	}
	patience := ""
	if s.Patience > 0 {
		patience = fmt.Sprintf("  hb-lost-threshold: %d\n  sync: {ack-timeout: 2s}\n", s.Patience)
	}
	trust := s.trust.config(m.ID)
	if s.Secret != "" {
		trust = fmt.Sprintf("  secret: {literal: %s}\n", s.Secret)
	}
	return fmt.Sprintf(`
standalone-cluster:
  standalone-group-id: %d
  group-member-id: %d
  interface: port4
  cluster-peers:
%s%s%s`, siteGroup, m.ID, peers.String(), patience, trust)
}

// GroupPSK is the key of Config.
const GroupPSK = "the secret of this laboratory"
