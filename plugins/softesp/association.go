package softesp

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/softesp/device"
	"github.com/evergate/evergate/plugins/softesp/esp"
	"github.com/evergate/evergate/plugins/softesp/packet"
)

// association is one installed SA, as the packet path sees it. Its description
// does not change: a newer one makes a new association, which shares the state
// (usage, sequencer, window) of the one before. What may change in between is
// atomic, so control calls and packets never wait for each other.
type association struct {
	ipsec.SA
	serial uint64 // order of first installation; newer ones are preferred
	tunnel *tunnel
	group  atomic.Pointer[group]
	role   atomic.Uint32 // offload.Role
	// told: the first packet of this standby was reported.
	told     atomic.Bool
	path     atomic.Pointer[path]
	lifetime atomic.Pointer[ipsec.Lifetime]
	geometry esp.Geometry
	// ciphers is empty before the first packet: most SAs of many rest.
	ciphers atomic.Pointer[ciphers]

	*usage
	out      *sequencer   // outbound
	iv       esp.IVPrefix // outbound
	window   *esp.Window  // inbound
	mtu      *pathMTU
	lastMove atomic.Pointer[netip.AddrPort]
}

// ciphers is a list of those of an SA, one for each goroutine that uses it, which makes
// it: one or two mostly. An entry does not change.
type ciphers struct {
	user   user
	cipher *esp.Cipher
	next   *ciphers
}

// user is who has a cipher of its own: of a queue the first or second goroutine of a
// direction, or what its receivers relay with.
type user struct {
	queue int
	role  use
}

type use uint8

const (
	asFirst use = iota
	asSecond
	asRelay
)

// usage counts what an SA did.
type usage struct {
	packets, bytes atomic.Uint64
	// last is when the last packet passed, on the engine's clock, plus one; 0
	// for never.
	last               atomic.Int64
	softTold, hardTold atomic.Bool
	drops              atomic.Pointer[drops] // nil before the first one
	relayed, held      atomic.Uint64
}

// drops are counters by reason.
type drops [dropReasons]atomic.Uint64

// dropReason is an index of usage.drops, a field of offload.Drops.
type dropReason uint8

const (
	dropReplayed dropReason = iota
	dropAuthentication
	dropMalformed
	dropSelector
	dropLifetime
	dropCeiling
	dropStandby
	dropTooBig
	dropQueue
	dropReasons
)

func (u *usage) drop(r dropReason, n int) {
	if n > 0 {
		made(&u.drops)[r].Add(uint64(n))
	}
}

// made is what p points to, which whoever comes first makes.
func made[T any](p *atomic.Pointer[T]) *T {
	if t := p.Load(); t != nil {
		return t
	}
	p.CompareAndSwap(nil, new(T))
	return p.Load()
}

func (u *usage) dropped() offload.Drops {
	d := u.drops.Load()
	if d == nil {
		return offload.Drops{}
	}
	return offload.Drops{
		Replayed:       d[dropReplayed].Load(),
		Authentication: d[dropAuthentication].Load(),
		Malformed:      d[dropMalformed].Load(),
		Selector:       d[dropSelector].Load(),
		Lifetime:       d[dropLifetime].Load(),
		Ceiling:        d[dropCeiling].Load(),
		Standby:        d[dropStandby].Load(),
		TooBig:         d[dropTooBig].Load(),
		Queue:          d[dropQueue].Load(),
	}
}

// idle is the time since the last packet, negative for never.
func (u *usage) idle(now time.Duration) time.Duration {
	last := u.last.Load()
	if last == 0 {
		return -1
	}
	return max(0, now-time.Duration(last-1))
}

// path is where the packets of an SA go and come from. It does not change, and both
// SAs of a pair have the same one.
type path struct {
	local  netip.Addr
	remote netip.AddrPort // port 0 without UDP
	to     *device.Destination
	kind   device.Kind
	// slot is the local address's place in the socket sets.
	slot int
	// overhead is the octets of outer IP and UDP header.
	overhead int
}

func newPath(e offload.Endpoint, slot int) *path {
	p := &path{local: e.Local, slot: slot, overhead: packet.IPv4HeaderLen}
	if e.Local.Is6() {
		p.overhead = packet.IPv6HeaderLen
	}
	p.kind, p.remote = farEnd(e)
	if p.kind == device.UDP {
		p.overhead += udpHeaderLen
	}
	p.to = device.NewDestination(p.remote)
	return p
}

// farEnd is where packets go, and as what.
func farEnd(e offload.Endpoint) (device.Kind, netip.AddrPort) {
	if e.Encap == nil {
		return device.Raw, netip.AddrPortFrom(e.Remote, 0)
	}
	return device.UDP, netip.AddrPortFrom(e.Remote, e.Encap.RemotePort)
}

// leads tells whether p is the path of an endpoint.
func (p *path) leads(e offload.Endpoint) bool {
	kind, remote := farEnd(e)
	return p.local == e.Local && p.kind == kind && p.remote == remote
}

const udpHeaderLen = 8

// cipher returns the cipher of a user. The keys were checked at installation, so it
// does not fail afterwards.
func (a *association) cipher(u user) (*esp.Cipher, error) {
	for c := a.ciphers.Load(); c != nil; c = c.next {
		if c.user == u {
			return c.cipher, nil
		}
	}
	return a.addCipher(u)
}

func (a *association) addCipher(u user) (*esp.Cipher, error) {
	c, err := esp.New(a.Algorithms, a.Encryption, a.Integrity)
	if err != nil {
		return nil, err
	}
	entry := &ciphers{user: u, cipher: c}
	for {
		entry.next = a.ciphers.Load()
		if a.ciphers.CompareAndSwap(entry.next, entry) {
			return c, nil
		}
	}
}

func (a *association) active() bool { return offload.Role(a.role.Load()) == offload.Active }

// selectsOut tells whether the SA is for an outbound packet.
func (a *association) selectsOut(h *packet.Header) bool {
	return contains(a.Selectors.Local, h.Src, h.Proto, h.SrcPort, h.HasPorts) &&
		contains(a.Selectors.Remote, h.Dst, h.Proto, h.DstPort, h.HasPorts)
}

// selectsIn tells whether an inbound packet may come through the SA.
func (a *association) selectsIn(h *packet.Header) bool {
	return contains(a.Selectors.Remote, h.Src, h.Proto, h.SrcPort, h.HasPorts) &&
		contains(a.Selectors.Local, h.Dst, h.Proto, h.DstPort, h.HasPorts)
}

func contains(ts []ipsec.TrafficSelector, addr netip.Addr, proto uint8, port uint16, hasPort bool) bool {
	for i := range ts {
		if ts[i].ContainsPacket(addr, proto, port, hasPort) {
			return true
		}
	}
	return false
}

// allowance is how many of n packets of at most size octets the hard limits
// leave. The last packet may go over a limit of bytes.
func (a *association) allowance(n, size int, pendingPackets, pendingBytes uint64) int {
	hard := a.lifetime.Load().Hard
	if hard.Packets > 0 {
		n = min(n, clampInt(left(hard.Packets, a.packets.Load()+pendingPackets)))
	}
	if hard.Bytes > 0 && n > 0 {
		size := uint64(max(size, 1))
		n = min(n, clampInt((left(hard.Bytes, a.bytes.Load()+pendingBytes)+size-1)/size))
	}
	return n
}

func left(limit, used uint64) uint64 { return limit - min(limit, used) }

func clampInt(n uint64) int { return int(min(n, 1<<30)) }

// account counts packets that passed, and returns the events that this calls
// for: soft and hard, each once.
func (a *association) account(packets, bytes uint64, now time.Duration) (soft, hard bool) {
	p, b := a.packets.Add(packets), a.bytes.Add(bytes)
	a.last.Store(int64(now) + 1)
	l := a.lifetime.Load()
	if reached(l.Soft, p, b) && !a.softTold.Load() {
		soft = !a.softTold.Swap(true)
	}
	if reached(l.Hard, p, b) && !a.hardTold.Load() {
		hard = !a.hardTold.Swap(true)
	}
	return soft, hard
}

// relimit makes limits that were changed be told again.
func (a *association) relimit(before *ipsec.Lifetime) {
	now := a.lifetime.Load()
	if before.Soft != now.Soft {
		a.softTold.Store(false)
	}
	if before.Hard != now.Hard {
		a.hardTold.Store(false)
	}
}

func reached(l ipsec.Limits, packets, bytes uint64) bool {
	return l.Packets > 0 && packets >= l.Packets || l.Bytes > 0 && bytes >= l.Bytes
}
