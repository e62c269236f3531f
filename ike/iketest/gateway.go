package iketest

import (
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
)

// Gateway is what ends of both versions have: a dataplane that only keeps what it is
// given, and notes on what happened.
type Gateway struct {
	Name   string
	TB     TB
	Env    ike.Env
	Stats  *ike.Stats
	Policy *Policy

	// Installed is what the dataplane has.
	Installed map[ipsec.SAID]ipsec.SA
	// Refuse, where set, is the dataplane's opinion of an SA.
	Refuse func(ipsec.SA) error

	Established []ike.Established
	Moves       []ike.Move
	Done        bool
	Why         error
	// Snapshot is the newest that was published, nil before the first.
	Snapshot   []byte
	Keepalives int

	machine Machine
}

// Machine is what a Gateway asks an end.
type Machine interface {
	// Current is the tunnel that the test is about, nil for none.
	Current() Tunnel
	// Described are the SAs of all tunnels that belong into the dataplane now.
	Described() []ipsec.SA
	// Clock is the time.
	Clock() time.Time
}

// Tunnel is one of either version.
type Tunnel interface {
	Established() bool
	Status(now time.Time) ike.Status
}

// NewGateway makes the Gateway of an end with one connection.
func NewGateway(tb TB, m Machine, name string, env ike.Env, c *ike.Connection) Gateway {
	g := Gateway{
		Name: name, TB: tb, Env: env, Stats: &ike.Stats{}, Policy: &Policy{[]*ike.Connection{c}},
		Installed: make(map[ipsec.SAID]ipsec.SA), machine: m,
	}
	g.Env.Stats = g.Stats
	return g
}

// Base is the Gateway itself, for ends that embed it.
func (g *Gateway) Base() *Gateway { return g }

func (g *Gateway) status() ike.Status { return g.machine.Current().Status(g.machine.Clock()) }

// Policy is a list of connections.
type Policy struct{ Connections []*ike.Connection }

// ForAddresses returns those whose addresses fit.
func (p *Policy) ForAddresses(local, remote netip.Addr) []*ike.Connection {
	var out []*ike.Connection
	for _, c := range p.Connections {
		if c.Local == local && (!c.Remote.IsValid() || c.Remote == remote) {
			out = append(out, c)
		}
	}
	return out
}

// Named returns the one of that name.
func (p *Policy) Named(name string) *ike.Connection {
	for _, c := range p.Connections {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Install puts SAs into the dataplane. One that is refused ends it.
func (g *Gateway) Install(sas []ipsec.SA) *ike.Refused {
	g.TB.Helper()
	for _, sa := range sas {
		if g.Refuse != nil {
			if err := g.Refuse(sa); err != nil {
				return &ike.Refused{ID: sa.ID, Err: err}
			}
		}
		if old, ok := g.Installed[sa.ID]; ok && old.Generation >= sa.Generation {
			g.TB.Errorf("%s installs %v again with generation %d, has %d", g.Name, sa.ID, sa.Generation, old.Generation)
		}
		g.Installed[sa.ID] = sa
	}
	return nil
}

// Child returns the SAs of the end's only pair that sends.
func (g *Gateway) Child() (in, out ipsec.SA) {
	g.TB.Helper()
	for _, sa := range g.Installed {
		if sa.Direction == ipsec.Outbound {
			out = sa
		}
	}
	for _, sa := range g.Installed {
		if sa.Direction == ipsec.Inbound && sa.ID.SPI == out.Pair {
			in = sa
		}
	}
	if !in.ID.Dst.IsValid() || !out.ID.Dst.IsValid() {
		g.TB.Fatalf("%s has no pair of SAs that sends, it has %d SAs", g.Name, len(g.Installed))
	}
	return in, out
}
