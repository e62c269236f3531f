//go:build dpdk

package loop

// #include "loop.h"
import "C"

import (
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// An SA is what workers know of one. It keeps its identity when its description is
// replaced.
type SA struct {
	c         *C.struct_evg_sa
	direction ipsec.Direction
	window    uint32
}

// A Description is the part of an SA that never changes: algorithms, keys, selectors
// and header policy. It belongs to the SA that it is given to.
type Description struct{ c *C.struct_evg_desc }

// A Tunnel joins the SAs that change roles together.
type Tunnel struct{ c *C.struct_evg_tunnel }

// Path is where the packets of an SA go and come from.
type Path struct {
	offload.Endpoint
	// Port is the index of the port that leads to the next hop.
	Port int
	// MAC is that of the next hop, if Resolved.
	MAC      [6]byte
	Resolved bool
	// MTU is that of the first hop, 0 for unknown.
	MTU uint16
}

// Usage is what an SA did and is.
type Usage struct {
	Packets, Bytes, Relayed uint64
	Drops                   offload.Drops
	Idle                    time.Duration // negative for never
	Next, Ceiling           uint64
	IVCounter               uint64
	// MTUTold is what a control call said, MTUKnown the least of all that is known.
	MTUTold, MTUKnown uint16
	Role              offload.Role
	Group             offload.Group
}

// Takes tells whether a cryptodev can do all of a.
func (d Cryptodev) Takes(a ipsec.Algorithms, dir ipsec.Direction) bool {
	sa := ipsec.SA{Algorithms: a, Direction: dir}
	t, err := transformOf(sa)
	return err == nil && C.evg_cryptodev_takes(C.int(d.Index), &t) != 0
}

// transformOf describes the algorithms of an SA, with its keys where it has them.
func transformOf(sa ipsec.SA) (C.struct_evg_transform, error) {
	a := sa.Algorithms
	t := C.struct_evg_transform{encryption: C.uint16_t(a.Encryption), integrity: C.uint16_t(a.Integrity), direction: C.uint8_t(sa.Direction)}
	n, err := a.EncryptionKeyLen()
	if err != nil {
		return t, fmt.Errorf("loop: %w", err)
	}
	auth, err := a.Integrity.KeyLen()
	if err != nil {
		return t, fmt.Errorf("loop: %w", err)
	}
	if a.ESN {
		t.esn = 1
	}
	salt := 0
	if a.Encryption.CounterMode() {
		salt = 4
	}
	t.key_len, t.salt_len, t.auth_len = C.uint16_t(n-salt), C.uint16_t(salt), C.uint16_t(auth)
	key := sa.Encryption.Reveal()
	for i, b := range key {
		if i < n-salt {
			t.key[i] = C.uint8_t(b)
		} else {
			t.salt[i-n+salt] = C.uint8_t(b)
		}
	}
	for i, b := range sa.Integrity.Reveal() {
		t.auth[i] = C.uint8_t(b)
	}
	return t, nil
}

// Describe makes a description with a session at dev. prefix is the upper part of
// its explicit IVs. ENOMEM and the like mean that the device is full or refuses.
func (p *Plane) Describe(dev Cryptodev, sa ipsec.SA, prefix uint64) (*Description, error) {
	t, err := transformOf(sa)
	if err != nil {
		return nil, err
	}
	defer func() { t = C.struct_evg_transform{}; runtime.KeepAlive(&t) }() // it holds keys
	s := C.struct_evg_shape{
		df: C.uint8_t(sa.Header.DF), dscp: C.uint8_t(sa.Header.DSCP), iv_prefix: C.uint64_t(prefix),
		n_local: C.uint32_t(len(sa.Selectors.Local)), n_remote: C.uint32_t(len(sa.Selectors.Remote)),
	}
	if sa.Header.HideDSCP {
		s.hide_dscp = 1
	}
	if sa.Link != nil {
		s.link = 1
	}
	selectors := make([]C.struct_evg_selector, 0, int(s.n_local+s.n_remote)+1)
	for _, ts := range [...][]ipsec.TrafficSelector{sa.Selectors.Local, sa.Selectors.Remote} {
		for _, x := range ts {
			selectors = append(selectors, selectorOf(x))
		}
	}
	var n C.int
	d := C.evg_desc_new(p.c, C.int(dev.Index), &t, &s, &selectors[:1][0], &n)
	if d == nil {
		return nil, fmt.Errorf("loop: make a session at %s: %w", dev.Name, errnoOf(n))
	}
	return &Description{d}, nil
}

// Free frees a description that no SA has got.
func (d *Description) Free() { C.evg_desc_free(d.c) }

func selectorOf(s ipsec.TrafficSelector) C.struct_evg_selector {
	out := C.struct_evg_selector{proto: C.uint8_t(s.Proto), port_min: C.uint16_t(s.PortMin), port_max: C.uint16_t(s.PortMax)}
	if s.Is6() {
		out.v6 = 1
	}
	octets(out.min[:], s.Min)
	octets(out.max[:], s.Max)
	return out
}

// NewTunnel makes a tunnel without SAs.
func NewTunnel(id ipsec.TunnelID) (*Tunnel, error) {
	t := C.evg_tunnel_new(C.uint64_t(id))
	if t == nil {
		return nil, fmt.Errorf("loop: make a tunnel: %w", unix.ENOMEM)
	}
	return &Tunnel{t}, nil
}

// Join makes an SA one of a tunnel.
func (p *Plane) Join(t *Tunnel, a *SA) error {
	if err := errnoOf(C.evg_tunnel_add(p.c, t.c, a.c)); err != nil {
		return fmt.Errorf("loop: add an sa to its tunnel: %w", err)
	}
	C.evg_sa_set_tunnel(a.c, t.c)
	return nil
}

// Leave takes an SA out of a tunnel, and tells how many are left.
func (p *Plane) Leave(t *Tunnel, a *SA) (int, error) {
	n := C.evg_tunnel_remove(p.c, t.c, a.c)
	if err := errnoOf(n); err != nil {
		return 0, fmt.Errorf("loop: take an sa out of its tunnel: %w", err)
	}
	return int(n), nil
}

// Rest makes the next start of a tunnel news again.
func (t *Tunnel) Rest() { C.evg_tunnel_rest(t.c) }

// Free frees a tunnel that no worker can look at any more.
func (t *Tunnel) Free() { C.evg_tunnel_free(t.c) }

// NewSA makes an SA that no packet finds yet. Its serial orders SAs by installation
// and names it in events; ivs is where its explicit IVs go on.
func NewSA(serial uint64, sa ipsec.SA, ivs uint64) (*SA, error) {
	// The very last number of 64 bits is left out, so that the next one fits.
	last := min(sa.Algorithms.MaxSequence(), 1<<64-2)
	c := C.evg_sa_new(C.uint64_t(serial), C.uint32_t(sa.ID.SPI), C.uint8_t(sa.Direction), C.uint32_t(sa.Window()), C.uint64_t(last), C.uint64_t(ivs))
	if c == nil {
		return nil, fmt.Errorf("loop: make an sa: %w", unix.ENOMEM)
	}
	return &SA{c: c, direction: sa.Direction, window: sa.Window()}, nil
}

// Free frees an SA that no worker can look at any more, with its description.
func (a *SA) Free() { C.evg_sa_free(a.c) }

// SetDescription publishes a description, and waits for the packets that use the one
// before.
func (p *Plane) SetDescription(a *SA, d *Description) { C.evg_sa_set_desc(p.c, a.c, d.c) }

// SetPath publishes a path.
func (p *Plane) SetPath(a *SA, to Path) error {
	c := pathOf(to)
	if err := errnoOf(C.evg_sa_set_path(p.c, a.c, &c)); err != nil {
		return fmt.Errorf("loop: set the path of an sa: %w", err)
	}
	return nil
}

// pathOf is a path for C.
func pathOf(to Path) C.struct_evg_path {
	c := C.struct_evg_path{local: addrOf(to.Local), remote: addrOf(to.Remote), port: C.uint8_t(to.Port), mtu: C.uint16_t(to.MTU)}
	if to.Encap != nil {
		c.local_port, c.remote_port = C.uint16_t(to.Encap.LocalPort), C.uint16_t(to.Encap.RemotePort)
	}
	if to.Resolved {
		c.resolved = 1
	}
	for i, b := range to.MAC {
		c.mac[i] = C.uint8_t(b)
	}
	return c
}

// SetRole changes a role.
func (a *SA) SetRole(r offload.Role) { C.evg_sa_set_role(a.c, C.uint8_t(r)) }

// SetGroup moves an SA to a group.
func (a *SA) SetGroup(g offload.Group) { C.evg_sa_set_group(a.c, C.uint32_t(g)) }

// SetLifetime sets the limits of packets and bytes.
func (a *SA) SetLifetime(l ipsec.Lifetime) {
	c := C.struct_evg_limits{
		soft_packets: C.uint64_t(l.Soft.Packets), soft_bytes: C.uint64_t(l.Soft.Bytes),
		hard_packets: C.uint64_t(l.Hard.Packets), hard_bytes: C.uint64_t(l.Hard.Bytes),
	}
	C.evg_sa_set_limits(a.c, &c)
}

// SetMTU takes the core's word for the path MTU, 0 for none.
func (a *SA) SetMTU(mtu uint16) { C.evg_sa_set_mtu(a.c, C.uint16_t(mtu)) }

// Merge merges sequence state: nothing moves back.
func (a *SA) Merge(s ipsec.Sequence) {
	if a.direction == ipsec.Outbound {
		C.evg_sa_lease(a.c, C.uint64_t(s.Next), C.uint64_t(s.Ceiling))
		return
	}
	bits := make([]C.uint8_t, len(s.Bitmap)+1)
	for i, b := range s.Bitmap {
		bits[i] = C.uint8_t(b)
	}
	C.evg_sa_import(a.c, C.uint64_t(s.Highest), &bits[0], C.uint32_t(len(s.Bitmap)))
}

// Sequence is the state of an SA's numbers.
func (a *SA) Sequence() ipsec.Sequence {
	if a.direction == ipsec.Outbound {
		u := a.Usage()
		return ipsec.Sequence{Next: u.Next, Ceiling: u.Ceiling}
	}
	bits := make([]C.uint8_t, (a.window+7)/8)
	s := ipsec.Sequence{Highest: uint64(C.evg_sa_bitmap(a.c, &bits[0], C.uint32_t(len(bits))))}
	if s.Highest == 0 {
		return s
	}
	s.Bitmap = make([]byte, len(bits))
	for i, b := range bits {
		s.Bitmap[i] = byte(b)
	}
	return s
}

// Usage reads what an SA did.
func (a *SA) Usage() Usage {
	var u C.struct_evg_usage
	C.evg_sa_usage(a.c, &u)
	return Usage{
		Packets: uint64(u.packets), Bytes: uint64(u.bytes), Relayed: uint64(u.relayed), Idle: time.Duration(u.idle_ns),
		Next: uint64(u.next), Ceiling: uint64(u.ceiling), IVCounter: uint64(u.iv_counter),
		MTUTold: uint16(u.mtu_told), MTUKnown: uint16(u.mtu_known), Role: offload.Role(u.role), Group: offload.Group(u.group),
		Drops: offload.Drops{
			Replayed:       uint64(u.drops[C.EVG_DROP_REPLAYED]),
			Authentication: uint64(u.drops[C.EVG_DROP_AUTHENTICATION]),
			Malformed:      uint64(u.drops[C.EVG_DROP_MALFORMED]),
			Selector:       uint64(u.drops[C.EVG_DROP_SELECTOR]),
			Lifetime:       uint64(u.drops[C.EVG_DROP_LIFETIME]),
			Ceiling:        uint64(u.drops[C.EVG_DROP_CEILING]),
			Standby:        uint64(u.drops[C.EVG_DROP_STANDBY]),
			TooBig:         uint64(u.drops[C.EVG_DROP_TOO_BIG]),
			Queue:          uint64(u.drops[C.EVG_DROP_QUEUE]),
		},
	}
}

// List lets packets find an SA by its SPI. Unlist ends that.
func (p *Plane) List(a *SA) { C.evg_spi_add(p.c, a.c) }

// Unlist takes an SA out of where packets find it by its SPI.
func (p *Plane) Unlist(a *SA) { C.evg_spi_remove(p.c, a.c) }

// Select lets an SA send what is for a prefix and what its selectors match.
func (p *Plane) Select(x netip.Prefix, a *SA) error {
	c := prefixOf(x)
	if err := errnoOf(C.evg_policy_add(p.c, &c, a.c)); err != nil {
		return fmt.Errorf("loop: add a policy for %v: %w", x, err)
	}
	return nil
}

// Deselect ends what Select began.
func (p *Plane) Deselect(x netip.Prefix, a *SA) error {
	c := prefixOf(x)
	if err := errnoOf(C.evg_policy_remove(p.c, &c, a.c)); err != nil {
		return fmt.Errorf("loop: remove a policy for %v: %w", x, err)
	}
	return nil
}

func prefixOf(x netip.Prefix) C.struct_evg_prefix {
	c := C.struct_evg_prefix{bits: C.uint8_t(x.Bits())}
	if x.Addr().Is6() {
		c.v6 = 1
	}
	octets(c.addr[:], x.Addr())
	return c
}

// SetLink makes an SA the way to a member, nil for none.
func (p *Plane) SetLink(m ipsec.MemberID, a *SA) {
	var c *C.struct_evg_sa
	if a != nil {
		c = a.c
	}
	C.evg_link_set(p.c, C.uint32_t(m), c)
}
