package sim

import (
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
)

// serverConnection is the dialup server that all members have.
func (c *Cluster) serverConnection() *engine.Connection {
	conn := c.connection("dialup", gatewayAddr(), netip.Addr{}, ipsec.Selectors{
		Local:  []ipsec.TrafficSelector{ipsec.AnySelector(false)},
		Remote: []ipsec.TrafficSelector{ipsec.AnySelector(false)},
	})
	return &engine.Connection{
		Connection: conn, Dialup: true, AddRoute: true, Hash: "server", Sync: true, Shared: 1, MaxSeq: c.cfg.Dialect == MaxSeq,
	}
}

// clientConnection is what a client has.
func clientConnection(cl *client) *engine.Connection {
	c := cl.c.connection("office", cl.inside, gatewayAddr(), ipsec.Selectors{
		Local:  []ipsec.TrafficSelector{ipsec.SelectorOf(cl.net())},
		Remote: []ipsec.TrafficSelector{ipsec.SelectorOf(lan())},
	})
	c.LocalID = ike.Identity{Type: ike.IDFQDN, Data: cl.name}
	return &engine.Connection{Connection: c, AddRoute: true, AutoNegotiate: []string{"lan"}, Hash: "client"}
}

// connection is what both ends agree on: counter modes throughout, as they are
// the ones that a nonce used twice would break. What takes hours in practice
// takes seconds here.
func (c *Cluster) connection(name string, local, remote netip.Addr, s ipsec.Selectors) *ike.Connection {
	conn := &ike.Connection{
		Name: name, Local: local, Remote: remote, PSK: ipsec.CopyKey([]byte("secret")),
		Proposals:  []ipsec.Proposal{phase1()},
		Lifetime:   ipsec.Lifetime{Hard: ipsec.Limits{Time: 60 * time.Second}},
		DPD:        ike.DPD{Mode: ike.DPDOnIdle, Interval: 1500 * time.Millisecond, Retries: 4},
		Retransmit: ike.Retransmit{First: 300 * time.Millisecond, Max: 1200 * time.Millisecond, Tries: 6},
		Children: []*ike.Child{{
			Name: "lan", Proposals: []ipsec.Proposal{phase2()}, Selectors: s, ReplayWindow: replayWindow,
			Lifetime: ipsec.Lifetime{Hard: ipsec.Limits{Time: 20 * time.Second}},
		}},
	}
	if c.cfg.Dialect != IKEv2 {
		conn.V1 = &ike.IKEv1{Aggressive: c.cfg.Seed%2 == 0}
		conn.Proposals = []ipsec.Proposal{phase1V1()}
		conn.Children[0].Proposals[0].Transforms = phase2().Transforms[:1] // ESN is IKEv2's
	}
	return conn
}

// replayWindow is small, so that packets leave it.
const replayWindow = 64

func phase1() ipsec.Proposal {
	return ipsec.Proposal{Transforms: []ipsec.Transform{
		{Type: ipsec.TypeEncryption, ID: uint16(ipsec.EncrAESGCM16), KeyBits: 128},
		{Type: ipsec.TypePRF, ID: uint16(ipsec.PRFHMACSHA2_256)},
	}}.WithGroups(ipsec.GroupX25519)
}

// phase1V1 is for IKEv1, whose ISAKMP SA has no counter modes: each exchange has a
// chain of IVs instead.
func phase1V1() ipsec.Proposal {
	return ipsec.Proposal{Transforms: []ipsec.Transform{
		{Type: ipsec.TypeEncryption, ID: uint16(ipsec.EncrAESCBC), KeyBits: 128},
		{Type: ipsec.TypePRF, ID: uint16(ipsec.PRFHMACSHA2_256)},
		{Type: ipsec.TypeIntegrity, ID: uint16(ipsec.AuthHMACSHA2_256_128)},
	}}.WithGroups(ipsec.GroupX25519)
}

func phase2() ipsec.Proposal {
	return ipsec.Proposal{Transforms: []ipsec.Transform{
		{Type: ipsec.TypeEncryption, ID: uint16(ipsec.EncrAESGCM16), KeyBits: 128},
		{Type: ipsec.TypeESN, ID: ipsec.NoESN},
	}}
}
