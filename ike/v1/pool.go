package v1

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
)

// Addresses hands out the internal addresses of mode config. Its caller is the
// owner of a Demux; what several of them share must be safe for that.
type Addresses interface {
	// Assign returns the address of a tunnel: the one that it has, else wish when
	// that is valid, ours to give and free, else any free one; false when there is
	// none.
	Assign(t ipsec.TunnelID, c *ike.Connection, wish netip.Addr) (netip.Addr, bool)
	// Hold notes the address that a tunnel has had from somebody else.
	Hold(t ipsec.TunnelID, a netip.Addr)
	// Release frees the address of a tunnel. One without is no error.
	Release(t ipsec.TunnelID)
}

var errNoAddress = errors.New("ike/v1: no internal address")

// Pool is Addresses out of the range of each connection. It is not safe for
// concurrent use.
type Pool struct {
	first, step uint64
	owner       map[netip.Addr]ipsec.TunnelID
	address     map[ipsec.TunnelID]netip.Addr
	next        map[string]uint64 // by connection: where the search goes on
}

// NewPool makes a Pool that gives every step-th address of a range, from the
// first-th on, counted from 0: several that serve the same connections divide the
// ranges so. 0 and 1 have all of them.
func NewPool(first, step int) *Pool {
	return &Pool{
		first: uint64(first), step: uint64(step),
		owner:   make(map[netip.Addr]ipsec.TunnelID),
		address: make(map[ipsec.TunnelID]netip.Addr),
		next:    make(map[string]uint64),
	}
}

// Assign is Addresses'.
func (p *Pool) Assign(t ipsec.TunnelID, c *ike.Connection, wish netip.Addr) (netip.Addr, bool) {
	if a, ok := p.address[t]; ok {
		return a, true
	}
	from, to := c.V1.Config.First, c.V1.Config.Last
	if !from.Is4() || !to.Is4() || to.Less(from) {
		return netip.Addr{}, false
	}
	size := ordinal(to) - ordinal(from) + 1
	if p.mayGive(wish, from, size) {
		p.Hold(t, wish)
		return wish, true
	}
	if size <= p.first {
		return netip.Addr{}, false
	}
	// One more than are taken suffices, of this connection or of any other.
	count := (size - p.first + p.step - 1) / p.step
	for range min(count, uint64(len(p.owner))+1) {
		i := p.next[c.Name] % count
		p.next[c.Name] = i + 1
		if a := address(ordinal(from) + p.first + i*p.step); p.mayGive(a, from, size) {
			p.Hold(t, a)
			return a, true
		}
	}
	return netip.Addr{}, false
}

// mayGive tells whether an address of the range of size addresses at from is ours
// to give, and free.
func (p *Pool) mayGive(a, from netip.Addr, size uint64) bool {
	if !a.Is4() || a.Less(from) {
		return false
	}
	i := ordinal(a) - ordinal(from)
	_, taken := p.owner[a]
	return i < size && i%p.step == p.first && !taken
}

// Hold is Addresses'.
func (p *Pool) Hold(t ipsec.TunnelID, a netip.Addr) {
	if _, taken := p.owner[a]; !taken {
		p.Release(t)
		p.owner[a], p.address[t] = t, a
	}
}

// Release is Addresses'.
func (p *Pool) Release(t ipsec.TunnelID) {
	if a, ok := p.address[t]; ok {
		delete(p.address, t)
		delete(p.owner, a)
	}
}

// ordinal is an IPv4 address as a number.
func ordinal(a netip.Addr) uint64 {
	b := a.As4()
	return uint64(binary.BigEndian.Uint32(b[:]))
}

func address(n uint64) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(n))
	return netip.AddrFrom4(b)
}
