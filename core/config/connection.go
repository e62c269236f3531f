package config

import (
	"fmt"
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
)

// Connection is a phase 1 with its phase 2 entries as the machines want them:
// for ike, and for the engine around it.
type Connection struct {
	*ike.Connection

	// Dialup connections accept peers from anywhere and make an instance of
	// themselves for each.
	Dialup    bool
	Interface string
	// AddRoute adds kernel routes for what the peers' selectors name, with
	// Priority as their metric; 0 leaves it to the kernel.
	AddRoute bool
	Priority int
	// Passive connections never initiate.
	Passive bool
	// AutoNegotiate names the children that are brought up at start and kept up.
	AutoNegotiate []string
	// Sync: other members hold its tunnels.
	Sync bool
	// MaxSeq is v1-maxseq, or what ha-sync-esp-seqno: disable makes of all of them.
	MaxSeq bool
	// Hash identifies all of this, the pre-shared key included: while it stays
	// the same, so may the tunnels.
	Hash string
	// Shared identifies the part that must be equal on all members of a group.
	//
	// Both are keyed with the pre-shared key and do not reveal it; but whoever
	// sees them can try guesses, so they are not for logs.
	Shared string
}

// Connections are the phase 1 entries in the order of the file.
func (c *Config) Connections() []*Connection {
	out := make([]*Connection, len(c.Phase1))
	for i, p := range c.Phase1 {
		out[i] = p.connection(c.children(p))
		out[i].Sync = c.syncs(p)
		out[i].MaxSeq = c.renews(p)
		out[i].V1 = p.ikev1(c.members(p.Group))
	}
	return out
}

func (p *Phase1) connection(children []*Phase2) *Connection {
	id, _ := p.localIdentity() // checked by Load
	c := &Connection{
		Connection: &ike.Connection{
			Name:            p.Name,
			Local:           p.LocalGW,
			Remote:          p.RemoteGW,
			LocalID:         id,
			PSK:             p.PSK,
			Lifetime:        ipsec.Lifetime{Hard: ipsec.Limits{Time: p.KeyLife}},
			DPD:             ike.DPD{Mode: p.DPD, Interval: p.DPDInterval, Retries: p.DPDRetries},
			NATT:            p.NATTraversal,
			Keepalive:       p.Keepalive,
			NoFragmentation: !p.Fragment,
			FragmentSize:    p.FragmentSize,
			NoMessageIDSync: !p.MessageIDSync,
			Unique:          p.UniqueID,
		},
		Dialup:    p.Dialup,
		Interface: p.Interface,
		AddRoute:  p.addsRoutes(),
		Priority:  p.Priority,
		Passive:   p.Passive,
		Hash:      digest(p, children),
		Shared:    digest(p.shared(), children),
	}
	if p.PeerOne {
		c.RemoteID = ike.Identity{Type: ike.IDText, Data: p.PeerID}
	}
	for _, prop := range p.Proposals {
		c.Proposals = append(c.Proposals, prop.WithGroups(p.Groups...))
	}
	for _, child := range children {
		c.Children = append(c.Children, child.child(p.Groups))
		if child.AutoNegotiate && p.AutoNegotiate {
			c.AutoNegotiate = append(c.AutoNegotiate, child.Name)
		}
	}
	return c
}

// child is p for ike; groups are those of its phase 1.
func (p *Phase2) child(groups []ipsec.GroupID) *ike.Child {
	c := &ike.Child{
		Name:         p.Name,
		Proposals:    p.proposals(groups),
		Selectors:    p.selectors(),
		Mode:         p.Mode,
		ReplayWindow: p.ReplayWindow,
		Header:       ipsec.HeaderPolicy{DF: p.DF},
	}
	if p.LifeType != LifeKilobytes {
		c.Lifetime.Hard.Time = p.Life
	}
	if p.LifeType != LifeSeconds {
		c.Lifetime.Hard.Bytes = p.Kilobytes * 1024
	}
	if p.DSCP >= 0 {
		c.Header.HideDSCP, c.Header.DSCP = true, uint8(p.DSCP)
	}
	return c
}

// proposals are with PFS, without it, or first all that have it and then all
// that have not: a peer takes the ones that it likes, and we have a preference.
func (p *Phase2) proposals(groups []ipsec.GroupID) []ipsec.Proposal {
	pfs := p.PFS
	if len(p.Groups) > 0 {
		groups = p.Groups
	}
	if pfs == PFSDefault {
		pfs = PFSOptional
		if len(p.Groups) > 0 {
			pfs = PFSRequired
		}
	}
	var out []ipsec.Proposal
	if pfs != PFSDisabled {
		for _, prop := range p.Proposals {
			out = append(out, withESN(prop.WithGroups(groups...), p.ESN))
		}
	}
	if pfs != PFSRequired {
		for _, prop := range p.Proposals {
			out = append(out, withESN(prop, p.ESN))
		}
	}
	return out
}

// withESN says which sequence numbers are acceptable, the better first.
func withESN(p ipsec.Proposal, e ESN) ipsec.Proposal {
	p = p.WithGroups() // a copy
	if e != ESNDisabled {
		p.Transforms = append(p.Transforms, ipsec.Transform{Type: ipsec.TypeESN, ID: ipsec.UseESN})
	}
	if e != ESNRequired {
		p.Transforms = append(p.Transforms, ipsec.Transform{Type: ipsec.TypeESN, ID: ipsec.NoESN})
	}
	return p
}

// localIdentity is who we say we are.
func (p *Phase1) localIdentity() (ike.Identity, error) {
	if p.LocalID == "" {
		return ike.Identity{}, nil
	}
	switch p.LocalIDType {
	case ike.IDIPv4:
		a, err := netip.ParseAddr(p.LocalID)
		if err != nil {
			return ike.Identity{}, fmt.Errorf("%q is not an address, which localid-type: address asks for", p.LocalID)
		}
		return ike.AddrIdentity(a), nil
	case ike.IDDERDN:
		der, err := parseDN(p.LocalID)
		if err != nil {
			return ike.Identity{}, err
		}
		return ike.Identity{Type: ike.IDDERDN, Data: string(der)}, nil
	default:
		return ike.Identity{Type: p.LocalIDType, Data: p.LocalID}, nil
	}
}

// addsRoutes tells whether add-route is enabled: unless it says otherwise, for
// dialup servers.
func (p *Phase1) addsRoutes() bool {
	if p.AddRoute != nil {
		return *p.AddRoute
	}
	return p.Dialup
}
