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
// port, too. One that begins on port 500 again, as it did the first time, comes from
// where it called then, if its NAT still knows; or else it is the only peer that its
// address has. What is led to the wrong tunnel becomes one beside it.
type AddressTable struct {
	mu   sync.Mutex
	pool *v1.Pool
	at   map[ipsec.TunnelID]place
	// The tunnels at a place, those whose peer has called from there, and those at an
	// address, oldest first.
	present, callers tunnelsAt[netip.AddrPort]
	hosts            tunnelsAt[netip.Addr]
}

// place is where a peer is, and where it was when it began phase 1; that is zero where
// it is not known.
type place struct{ now, called netip.AddrPort }

// tunnelsAt are the tunnels that go with something, oldest first.
type tunnelsAt[K comparable] map[K][]ipsec.TunnelID

func (a tunnelsAt[K]) add(k K, t ipsec.TunnelID) { a[k] = append(a[k], t) }

func (a tunnelsAt[K]) drop(k K, t ipsec.TunnelID) {
	rest := slices.DeleteFunc(a[k], func(o ipsec.TunnelID) bool { return o == t })
	if a[k] = rest; len(rest) == 0 {
		delete(a, k)
	}
}

// NewAddressTable makes an empty table for a gateway that stands alone.
func NewAddressTable() *AddressTable { return newAddressTable(v1.NewPool(0, 1)) }

// NewMemberAddressTable makes an empty table for a member of a group: an address
// has one tunnel in the whole group, so each member hands out every sixteenth.
func NewMemberAddressTable(m ipsec.MemberID) *AddressTable {
	return newAddressTable(v1.NewPool(int(m), ipsec.MaxMembers))
}

func newAddressTable(p *v1.Pool) *AddressTable {
	return &AddressTable{
		pool: p, at: make(map[ipsec.TunnelID]place),
		present: make(tunnelsAt[netip.AddrPort]), callers: make(tunnelsAt[netip.AddrPort]), hosts: make(tunnelsAt[netip.Addr]),
	}
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
// another one, and from where it called, zero where that is not known.
func (a *AddressTable) Locate(t ipsec.TunnelID, now, called netip.AddrPort) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := place{now, called}
	if a.at[t] == at {
		return
	}
	a.leave(t)
	a.at[t] = at
	a.present.add(now, t)
	a.hosts.add(now.Addr(), t)
	if called.IsValid() {
		a.callers.add(called, t)
	}
}

func (a *AddressTable) leave(t ipsec.TunnelID) {
	at, ok := a.at[t]
	if !ok {
		return
	}
	delete(a.at, t)
	a.present.drop(at.now, t)
	a.hosts.drop(at.now.Addr(), t)
	if at.called.IsValid() {
		a.callers.drop(at.called, t)
	}
}

// note notes the addresses that are among the facts of a tunnel. A nil table
// notes nothing.
func (a *AddressTable) note(t ipsec.TunnelID, f facts) {
	if a != nil && f.Address.IsValid() {
		a.Hold(t, f.Address)
	}
	if a != nil && f.Peer.IsValid() {
		a.Locate(t, f.Peer, f.Called)
	}
}

// TunnelAt is the tunnel of a peer that begins phase 1 there: the newest with a peer
// that is there, or has called from there, or the only one of its address; false for
// none.
func (a *AddressTable) TunnelAt(at netip.AddrPort) (ipsec.TunnelID, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, all := range [][]ipsec.TunnelID{a.present[at], a.callers[at]} {
		if len(all) > 0 {
			return all[len(all)-1], true
		}
	}
	if all := a.hosts[at.Addr()]; len(all) == 1 {
		return all[0], true
	}
	return 0, false
}
