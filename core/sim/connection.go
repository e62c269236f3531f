package sim

import (
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
)

// serverConnection is the dialup server that all members have.
func serverConnection() *engine.Connection {
	c := connection("dialup", gatewayAddr(), netip.Addr{}, ipsec.Selectors{
		Local:  []ipsec.TrafficSelector{ipsec.AnySelector(false)},
		Remote: []ipsec.TrafficSelector{ipsec.AnySelector(false)},
	})
	return &engine.Connection{Connection: c, Dialup: true, AddRoute: true, Hash: "server", Sync: true, Shared: 1}
}

// clientConnection is what a client has.
func clientConnection(cl *client) *engine.Connection {
	c := connection("office", cl.inside, gatewayAddr(), ipsec.Selectors{
		Local:  []ipsec.TrafficSelector{ipsec.SelectorOf(cl.net())},
		Remote: []ipsec.TrafficSelector{ipsec.SelectorOf(lan())},
	})
	c.LocalID = ike.Identity{Type: ike.IDFQDN, Data: cl.name}
	return &engine.Connection{Connection: c, AddRoute: true, AutoNegotiate: []string{"lan"}, Hash: "client"}
}

// connection is what both ends agree on: counter modes throughout, as they are
// the ones that a nonce used twice would break. What takes hours in practice
// takes seconds here.
func connection(name string, local, remote netip.Addr, s ipsec.Selectors) *ike.Connection {
	return &ike.Connection{
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
}

// replayWindow is small, so that packets leave it.
const replayWindow = 64

func phase1() ipsec.Proposal {
	return ipsec.Proposal{Transforms: []ipsec.Transform{
		{Type: ipsec.TypeEncryption, ID: uint16(ipsec.EncrAESGCM16), KeyBits: 128},
		{Type: ipsec.TypePRF, ID: uint16(ipsec.PRFHMACSHA2_256)},
	}}.WithGroups(ipsec.GroupX25519)
}

func phase2() ipsec.Proposal {
	return ipsec.Proposal{Transforms: []ipsec.Transform{
		{Type: ipsec.TypeEncryption, ID: uint16(ipsec.EncrAESGCM16), KeyBits: 128},
		{Type: ipsec.TypeESN, ID: ipsec.NoESN},
	}}
}
