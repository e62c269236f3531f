package v1

import (
	"net/netip"
	"strings"

	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1/wire"
)

// identityOf is the identity in an Identification payload. The types are those of
// IKEv2.
func identityOf(id *wire.ID) ike.Identity {
	return ike.Identity{Type: ike.IDType(id.Kind), Data: string(id.Data)}
}

// onWire gives a text of no type the one that it looks like: the wire has none
// without.
func onWire(id ike.Identity) ike.Identity {
	if id.Type != ike.IDText {
		return id
	}
	if a, err := netip.ParseAddr(id.Data); err == nil {
		return ike.AddrIdentity(a)
	}
	if strings.Contains(id.Data, "@") {
		return ike.Identity{Type: ike.IDRFC822, Data: id.Data}
	}
	return ike.Identity{Type: ike.IDFQDN, Data: id.Data}
}

// childNamed returns the child of that name, nil when there is none.
func childNamed(c *ike.Connection, name string) *ike.Child {
	for _, child := range c.Children {
		if child.Name == name {
			return child
		}
	}
	return nil
}

func connectionNames(conns []*ike.Connection) string {
	names := make([]string, len(conns))
	for i, c := range conns {
		names[i] = c.Name
	}
	return strings.Join(names, ", ")
}
