package engine

import (
	"net/netip"
	"sync"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1"
)

// AddressTable are the internal addresses that this member has assigned to peers,
// and those that it knows of others. It is shared by the shards and safe for
// concurrent use.
type AddressTable struct {
	mu   sync.Mutex
	pool *v1.Pool
}

// NewAddressTable makes an empty table for a gateway that stands alone.
func NewAddressTable() *AddressTable { return &AddressTable{pool: v1.NewPool(0, 1)} }

// NewMemberAddressTable makes an empty table for a member of a group: an address
// has one tunnel in the whole group, so each member hands out every sixteenth.
func NewMemberAddressTable(m ipsec.MemberID) *AddressTable {
	return &AddressTable{pool: v1.NewPool(int(m), ipsec.MaxMembers)}
}

// Assign implements v1.Addresses.
func (a *AddressTable) Assign(t ipsec.TunnelID, c *ike.Connection, wish netip.Addr) (netip.Addr, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pool.Assign(t, c, wish)
}

// Hold implements v1.Addresses.
func (a *AddressTable) Hold(t ipsec.TunnelID, addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pool.Hold(t, addr)
}

// Release implements v1.Addresses.
func (a *AddressTable) Release(t ipsec.TunnelID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pool.Release(t)
}
