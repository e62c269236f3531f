package rig

import (
	"fmt"
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// What every client proposes, with a key exchange method.
const (
	psk         = "the clients of this rig share it"
	ikeProposal = "aes128-sha256"
	espProposal = "aes128-sha256"
)

// lifetimes in seconds, longer than any measurement.
const (
	ikeLife   = 90_000
	childLife = 86_400
)

// Dialup is a part of evergated's configuration: a dialup server that asks nothing of
// its clients while they are measured, no dead peer detection and no rekeying.
func Dialup(local string, group ipsec.GroupID, sync bool) string {
	fgsp := map[bool]string{true: "enable", false: "disable"}[sync]
	return fmt.Sprintf(`phase1:
  - name: vpn1
    type: dynamic
    interface: port2
    local-gw: %s
    keylife: %d
    peertype: any
    proposal: [%s]
    dhgrp: [%d]
    dpd: disable
    fgsp-sync: %s
    psksecret: {literal: %s}
phase2:
  - name: vpn1
    phase1name: vpn1
    proposal: [%s]
    keylifeseconds: %d
`, local, ikeLife, ikeProposal, group, fgsp, psk, espProposal, childLife)
}

// StrongSwan is the same server for charon, which has SAs without a lifetime then.
// The method is in strongSwan's words.
func StrongSwan(local, method string) strongswan.Connection {
	return strongswan.Connection{
		Name: "vpn1", LocalAddrs: []string{local}, RemoteAddrs: []string{"%any"}, Unique: "never",
		Proposals: []string{ikeProposal + "-" + method}, PSK: psk,
		Local: strongswan.Auth{ID: strongswan.FQDN("gateway")}, Remote: strongswan.Auth{ID: "%any"},
		Children: []strongswan.Child{{
			Name: "vpn1", LocalTS: []string{serverAddr.String() + "/32"}, RemoteTS: []string{innerNet}, Proposals: []string{espProposal},
		}},
	}
}

// Responder is a host that clients dial in at.
type Responder struct {
	Host *netlab.Namespace
	Addr netip.Addr
}

// NewResponders makes a host for each name, and one that has all clients and is
// linked to each of them.
func NewResponders(lab *netlab.Lab, names ...string) (clients *netlab.Namespace, out []Responder) {
	clients = lab.Namespace("clients")
	AddClients(clients)
	for i, name := range names {
		r := Responder{Host: lab.Namespace(name), Addr: netip.AddrFrom4([4]byte{198, 51, 100, byte(4*i + 1)})}
		lab.Link(r.Host.Port("port2", r.Addr.String()+"/30"), clients.Port(name, r.Addr.Next().String()+"/30"))
		r.Host.Route(outerNet, r.Addr.Next().String())
		r.Host.Loopback(gateway.ServerLoopback + "/32")
		out = append(out, r)
	}
	return clients, out
}
