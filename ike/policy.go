package ike

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/wire"
)

// Which connection a peer gets: by addresses at IKE_SA_INIT, by identities and
// key at IKE_AUTH.

// forOffer returns the first of conns with which an offer can be accepted, and
// what is chosen. The error tells what all of them would have accepted.
func forOffer(conns []*Connection, offered []ipsec.Proposal) (*Connection, ipsec.Proposal, int, error) {
	var all []ipsec.Proposal
	for _, c := range conns {
		if c.V1 != nil {
			continue
		}
		if chosen, i, err := suite.Select(c.Proposals, offered); err == nil {
			return c, chosen, i, nil
		}
		all = append(all, c.Proposals...)
	}
	_, _, err := suite.Select(all, offered)
	if err == nil {
		err = fmt.Errorf("ike: no connection accepts the offer")
	}
	return nil, ipsec.Proposal{}, 0, err
}

// claim is what a peer says at IKE_AUTH.
type claim struct {
	id   Identity // IDi
	want Identity // IDr, zero when it named nobody
}

// candidates returns the connections that a claim fits, the most specific first:
// those that name the peer, then those that accept anybody, each in the order of
// the configuration.
func candidates(conns []*Connection, c claim, chosen ipsec.Proposal, local netip.Addr) []*Connection {
	var named, open []*Connection
	for _, conn := range conns {
		if _, _, err := suite.Select(conn.Proposals, []ipsec.Proposal{chosen}); err != nil || conn.V1 != nil {
			continue
		}
		if !conn.RemoteID.Accepts(c.id) || !c.want.IsZero() && !ourIdentity(conn, local).same(c.want) {
			continue
		}
		if conn.RemoteID.IsZero() {
			open = append(open, conn)
		} else {
			named = append(named, conn)
		}
	}
	return append(named, open...)
}

// ourIdentity is who we say we are on a connection.
func ourIdentity(c *Connection, local netip.Addr) Identity {
	switch c.LocalID.Type {
	case IDNone:
		return AddrIdentity(local.Unmap())
	case IDText:
		return c.LocalID.onWire()
	default:
		return c.LocalID
	}
}

// onWire gives a text of no type the one that it looks like: the wire has none
// without.
func (id Identity) onWire() Identity {
	if id.Type != IDText {
		return id
	}
	if a, err := netip.ParseAddr(id.Data); err == nil {
		return AddrIdentity(a)
	}
	if strings.Contains(id.Data, "@") {
		return Identity{Type: IDRFC822, Data: id.Data}
	}
	return Identity{Type: IDFQDN, Data: id.Data}
}

// same tells whether o is the same identity, names without case.
func (id Identity) same(o Identity) bool { return id.Accepts(o) }

func identityOf(id wire.ID) Identity {
	return Identity{Type: IDType(id.Type), Data: string(id.Data)}
}

func (id Identity) body() wire.ID { return wire.ID{Type: uint8(id.Type), Data: []byte(id.Data)} }

// childNamed returns the child of that name, the first for an empty name, nil
// when there is none.
func childNamed(c *Connection, name string) *Child {
	for _, child := range c.Children {
		if child.Name == name || name == "" {
			return child
		}
	}
	return nil
}

func connectionNames(conns []*Connection) string {
	names := make([]string, len(conns))
	for i, c := range conns {
		names[i] = c.Name
	}
	return strings.Join(names, ", ")
}

// wantedIDs lists whom connections wait for, for the operator.
func wantedIDs(conns []*Connection) string {
	var out []string
	for _, c := range conns {
		if w := fmt.Sprintf("%s: %v", c.Name, c.RemoteID); !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return strings.Join(out, ", ")
}

func proposalNames(ps []ipsec.Proposal) string {
	names := make([]string, len(ps))
	for i, p := range ps {
		names[i] = p.String()
	}
	return strings.Join(names, ", ")
}

func failureOf(n wire.NotifyType) Failure {
	switch n {
	case wire.NoProposalChosen:
		return FailNoProposal
	case wire.AuthenticationFailed:
		return FailPSK
	case wire.TSUnacceptable, wire.SinglePairRequired:
		return FailSelectors
	case wire.InvalidKEPayload:
		return FailKE
	case wire.InvalidSyntax, wire.UnsupportedCriticalPayload:
		return FailSyntax
	default:
		return FailPeer
	}
}
