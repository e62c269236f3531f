package v1test

import (
	"log/slog"
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
)

// Addresses of the two ends, and of the NAT in front of A where there is one.
var (
	AddrA = iketest.AddrA
	AddrB = iketest.AddrB
	NATIP = iketest.NATIP
)

// TB is what the harness needs of a test.
type TB = iketest.TB

// Config is what a pair is made from. Options change it.
type Config struct {
	Seed uint64
	A, B *ike.Connection
	// Limits of both ends.
	Limits ike.Limits
	// NAT puts one in front of A.
	NAT bool
	Log *slog.Logger

	resume Resume
}

// Option changes a Config.
type Option func(*Config)

// Pair is two ends and the network between them.
type Pair struct {
	iketest.Network[*End]
	config Config
}

// Flight is a datagram on its way.
type Flight = iketest.FlightOf[*End]

// New makes a pair that has not talked yet.
func New(tb TB, options ...Option) *Pair {
	tb.Helper()
	c := Config{
		Seed: 1, A: Connection("a", AddrA, AddrB), B: Connection("b", AddrB, netip.Addr{}),
		Log: slog.New(slog.DiscardHandler),
	}
	for _, o := range options {
		o(&c)
	}
	p := &Pair{Network: iketest.NewNetwork[*End](tb), config: c}
	p.NAT = c.NAT
	p.A = newEnd(p, "A", 1, c.A)
	p.B = newEnd(p, "B", 2, c.B)
	return p
}

// Establish makes a pair in which A has dialled in to B.
func Establish(tb TB, options ...Option) *Pair {
	tb.Helper()
	p := New(tb, options...)
	p.A.Initiate()
	p.Deliver()
	p.WantUp()
	return p
}

// Connection is a plain connection of version 1 with one child "net": main mode,
// AES-CBC, P-256, no perfect forward secrecy, no lifetimes.
func Connection(name string, local, remote netip.Addr) *ike.Connection {
	return &ike.Connection{
		Name: name, Local: local, Remote: remote,
		Proposals: []ipsec.Proposal{Must(ipsec.ParseIKEProposal("aes128-sha256")).WithGroups(ipsec.GroupECP256)},
		LocalID:   ike.Identity{Type: ike.IDFQDN, Data: name + ".example"},
		PSK:       ipsec.CopyKey([]byte("the secret of the two")),
		DPD:       ike.DPD{Mode: ike.DPDOff},
		V1:        &ike.IKEv1{},
		Children: []*ike.Child{{
			Name:      "net",
			Proposals: []ipsec.Proposal{Must(ipsec.ParseESPProposal("aes128-sha256"))},
			Selectors: ipsec.Selectors{
				Local:  []ipsec.TrafficSelector{ipsec.AnySelector(false)},
				Remote: []ipsec.TrafficSelector{ipsec.AnySelector(false)},
			},
		}},
	}
}

// Both changes both connections.
func Both(change func(*ike.Connection)) Option {
	return func(c *Config) {
		change(c.A)
		change(c.B)
	}
}

// Seed makes another run of the same conversation.
func Seed(n uint64) Option { return func(c *Config) { c.Seed = n } }

// BehindNAT puts a NAT in front of A.
func BehindNAT() Option { return func(c *Config) { c.NAT = true } }

// Aggressive makes phase 1 aggressive mode.
func Aggressive() Option {
	return Both(func(c *ike.Connection) { c.V1.Aggressive = true })
}

// PFS gives the children a key exchange of their own.
func PFS(g ipsec.GroupID) Option {
	return Both(func(c *ike.Connection) {
		for _, child := range c.Children {
			for i, p := range child.Proposals {
				child.Proposals[i] = p.WithGroups(g)
			}
		}
	})
}

// Suite replaces the proposals of both ends, in the configuration's words.
func Suite(phase1, phase2 string, g ipsec.GroupID) Option {
	return Both(func(c *ike.Connection) {
		c.Proposals = []ipsec.Proposal{Must(ipsec.ParseIKEProposal(phase1)).WithGroups(g)}
		c.Children[0].Proposals = []ipsec.Proposal{Must(ipsec.ParseESPProposal(phase2))}
	})
}

// Must is v; an error is a mistake in the test.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
