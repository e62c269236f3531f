package engine

import (
	"net/netip"
	"slices"

	"github.com/evergate/evergate/ike"
)

// Connection is a phase 1 with what the engine must know beside the protocol.
// It is read only once it is in use.
type Connection struct {
	*ike.Connection

	// Dialup connections accept peers from anywhere and make an instance of
	// themselves for each, named after them: vpn1_0, vpn1_1.
	Dialup bool
	// Interface is the network interface of the configuration, for people.
	Interface string
	// AddRoute adds kernel routes for what the peers' selectors name.
	AddRoute bool
	// Priority is the metric of those routes; 0 leaves it to the kernel.
	Priority int
	// Passive connections never initiate.
	Passive bool
	// AutoNegotiate names the children that are brought up at start and kept
	// up; the others wait for a packet.
	AutoNegotiate []string
	// Sync is fgsp-sync.
	Sync bool
	// MaxSeq has the outbound SAs that stand by at their last sequence number, as
	// FortiOS has those of IKEv1: who takes over makes new keys before it sends, and
	// packets wait for them where the dataplane can have them wait. The owner needs no
	// leases then.
	MaxSeq bool
	// Hash identifies the configuration of this connection. A connection that
	// keeps its hash over a reload keeps its tunnels.
	Hash string
	// Shared identifies the part that must be equal on all members of a group:
	// members whose value differs do not stand by for this connection.
	Shared uint64
}

// Policy is a set of connections: all that the YAML names. It does not change;
// a reload brings another one.
type Policy struct {
	connections []*Connection
	byName      map[string]*Connection
}

// NewPolicy takes the connections in the order of the configuration. Names are
// unique; the caller has seen to that.
func NewPolicy(cs ...*Connection) *Policy {
	p := &Policy{connections: cs, byName: make(map[string]*Connection, len(cs))}
	for _, c := range cs {
		p.byName[c.Name] = c
	}
	return p
}

// ForAddresses implements ike.Policy: those with an exact remote address before
// dialup ones.
func (p *Policy) ForAddresses(local, remote netip.Addr) []*ike.Connection {
	var exact, any []*ike.Connection
	for _, c := range p.connections {
		switch {
		case c.Local != local:
		case c.Remote == remote:
			exact = append(exact, c.Connection)
		case !c.Remote.IsValid():
			any = append(any, c.Connection)
		}
	}
	return append(exact, any...)
}

// Named implements ike.Policy.
func (p *Policy) Named(name string) *ike.Connection {
	if c := p.byName[name]; c != nil {
		return c.Connection
	}
	return nil
}

// Connection finds a connection by its name, nil when there is none.
func (p *Policy) Connection(name string) *Connection { return p.byName[name] }

// Connections are all of them, in order.
func (p *Policy) Connections() []*Connection { return slices.Clone(p.connections) }

// LocalAddresses are the gateways' own addresses, each once.
func (p *Policy) LocalAddresses() []netip.Addr {
	var out []netip.Addr
	for _, c := range p.connections {
		if !slices.Contains(out, c.Local) {
			out = append(out, c.Local)
		}
	}
	return out
}

// livePolicy is what the machines of a shard ask: the policy of the day.
type livePolicy struct{ *Policy }
