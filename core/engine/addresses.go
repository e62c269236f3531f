package engine

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1"
)

// AddressTable are the addresses of peers of IKEv1, as far as this member knows
// them: the internal ones that they were assigned, and where in the network they
// are. It is shared by the shards and safe for concurrent use.
//
// IKEv1 rekeys phase 1 by a new one, whose first message names nothing that is
// known: only where it comes from tells which tunnel it may be for. "If a
// negotiation starts on port 4500, then it doesn't need to change anywhere else in
// the exchange" (RFC 3947 section 4): so peers behind a NAT come from the same
// port, too.
type AddressTable struct {
	mu      sync.Mutex
	pool    *v1.Pool
	tunnels map[netip.AddrPort][]ipsec.TunnelID // oldest first
	at      map[ipsec.TunnelID]netip.AddrPort
}

// NewAddressTable makes an empty table for a gateway that stands alone.
func NewAddressTable() *AddressTable { return newAddressTable(v1.NewPool(0, 1)) }

// NewMemberAddressTable makes an empty table for a member of a group: an address
// has one tunnel in the whole group, so each member hands out every sixteenth.
func NewMemberAddressTable(m ipsec.MemberID) *AddressTable {
	return newAddressTable(v1.NewPool(int(m), ipsec.MaxMembers))
}

func newAddressTable(p *v1.Pool) *AddressTable {
	return &AddressTable{pool: p, tunnels: make(map[netip.AddrPort][]ipsec.TunnelID), at: make(map[ipsec.TunnelID]netip.AddrPort)}
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

// Release implements v1.Addresses. Where the peer is is forgotten, too.
func (a *AddressTable) Release(t ipsec.TunnelID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pool.Release(t)
	a.leave(t)
}

// Locate notes where the peer of an established tunnel is, of this member or of
// another one.
func (a *AddressTable) Locate(t ipsec.TunnelID, at netip.AddrPort) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at[t] == at {
		return
	}
	a.leave(t)
	a.at[t] = at
	a.tunnels[at] = append(a.tunnels[at], t)
}

func (a *AddressTable) leave(t ipsec.TunnelID) {
	at, ok := a.at[t]
	if !ok {
		return
	}
	delete(a.at, t)
	rest := slices.DeleteFunc(a.tunnels[at], func(o ipsec.TunnelID) bool { return o == t })
	if a.tunnels[at] = rest; len(rest) == 0 {
		delete(a.tunnels, at)
	}
}

// note notes the addresses that are among the facts of a tunnel. A nil table
// notes nothing.
func (a *AddressTable) note(t ipsec.TunnelID, f facts) {
	if a != nil && f.Address.IsValid() {
		a.Hold(t, f.Address)
	}
	if a != nil && f.Peer.IsValid() {
		a.Locate(t, f.Peer)
	}
}

// TunnelAt is the newest tunnel with a peer that is there, false for none.
func (a *AddressTable) TunnelAt(at netip.AddrPort) (ipsec.TunnelID, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := a.tunnels[at]
	if len(all) == 0 {
		return 0, false
	}
	return all[len(all)-1], true
}
