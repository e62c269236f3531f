package softesp

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/softesp/device"
	"github.com/evergate/evergate/plugins/softesp/packet"
)

const (
	// assumedMTU is the path MTU of an SA that knows none, not even that of the
	// first hop, in octets of outer IP packet.
	assumedMTU = 1500
	// mtuAge is when a learned path MTU is forgotten, to find out whether the
	// path has grown (RFC 1191 section 6.3, RFC 8201 section 4).
	mtuAge = 10 * time.Minute
)

// pathMTU is what is known of the outer path of an SA (RFC 4301 section 8.2), in
// octets of outer IP packet. An inbound SA keeps what it was told only.
type pathMTU struct {
	now atomic.Int64 // what was told or learned, 0 for nothing
	// told is what the core said; it comes back when a learned value is old.
	told atomic.Int64
	// learned is when now was learned, plus one; 0 when it was told.
	learned atomic.Int64
	// hop is the limit of the first hop, 0 for unknown: that of our own route or
	// interface, so it is no use to another member.
	hop atomic.Int64
}

func newPathMTU(told uint16) *pathMTU {
	m := new(pathMTU)
	m.set(int(told))
	return m
}

// set takes the core's word.
func (m *pathMTU) set(mtu int) {
	m.told.Store(int64(mtu))
	m.now.Store(int64(mtu))
	m.learned.Store(0)
}

// setHop takes what the kernel says of the first hop, 0 for nothing; true when
// that changes how large packets may be.
func (m *pathMTU) setHop(mtu int) bool {
	before := m.effective()
	m.hop.Store(int64(mtu))
	return m.effective() != before
}

// moved forgets a path that is no longer taken.
func (m *pathMTU) moved() {
	m.set(0)
	m.hop.Store(0)
}

// known is the least of what was told or learned and the first hop, 0 for
// unknown.
func (m *pathMTU) known() int {
	now, hop := m.now.Load(), m.hop.Load()
	if now == 0 || hop != 0 && hop < now {
		return int(hop)
	}
	return int(now)
}

func (m *pathMTU) effective() int {
	if n := m.known(); n != 0 {
		return n
	}
	return assumedMTU
}

// pathMTUOf is what an SA reports: a standby says only what it was told, as it
// sends nothing on its own path.
func pathMTUOf(a *association) uint16 {
	if a.out != nil && a.active() {
		return uint16(a.mtu.known())
	}
	return uint16(a.mtu.now.Load())
}

// lower takes what the path said; false when it is no news.
func (m *pathMTU) lower(mtu int, now time.Duration) bool {
	for {
		before := m.now.Load()
		if before != 0 && int64(mtu) >= before {
			return false
		}
		if m.now.CompareAndSwap(before, int64(mtu)) {
			m.learned.Store(int64(now) + 1)
			return true
		}
	}
}

// age forgets what was learned too long ago; true when it did.
func (m *pathMTU) age(now time.Duration) bool {
	learned := m.learned.Load()
	if learned == 0 || now-time.Duration(learned-1) < mtuAge || !m.learned.CompareAndSwap(learned, 0) {
		return false
	}
	m.now.Store(m.told.Load())
	return true
}

// room is the largest inner packet, or transport mode payload, that fits the
// path in one outer packet.
func (a *association) room(p *path) int {
	return a.geometry.MaxPayload(a.mtu.effective() - p.overhead)
}

// mtuReports is how many reports about paths wait; more are dropped, the path
// will say it again.
const mtuReports = 64

// pathReport is a device.PathError that may be kept.
type pathReport struct {
	device.PathError
	spi    ipsec.SPI
	hasSPI bool
}

// concerns tells whether a report is about packets to a peer. The kernel names no
// port where our own interface refuses a datagram of IPv4, and then the limit
// holds for all that goes to that address.
func (r *pathReport) concerns(peer netip.AddrPort) bool {
	return r.Remote == peer || r.Local && r.Remote.Port() == 0 && r.Remote.Addr() == peer.Addr()
}

// learn applies reports about paths to outbound SAs until stop is closed.
func (e *Engine) learn(reports <-chan pathReport, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case r := <-reports:
			e.applyReport(r)
		}
	}
}

// applyReport lowers the path MTU of the SAs to one peer.
//
// An ICMP message can be forged by anybody. One that quotes the packet must
// quote an SPI that goes that way; the kernel has compared addresses and ports.
// None is believed below the minimum of its IP version (RFC 4301 section 8.2.1).
func (e *Engine) applyReport(r pathReport) {
	floor := packet.MinIPv4MTU
	if r.Remote.Addr().Is6() {
		floor = packet.MinIPv6MTU
	}
	mtu := min(max(r.MTU, floor), 1<<16-1)
	var toPeer []*association
	genuine := r.Local || !r.hasSPI
	e.names.RLock()
	for _, a := range e.sas {
		if p := a.path.Load(); a.out != nil && r.concerns(p.remote) {
			toPeer = append(toPeer, a)
			genuine = genuine || a.ID.SPI == r.spi
		}
	}
	e.names.RUnlock()
	if !genuine {
		e.stats.forgedICMP.Add(1)
		return
	}
	now := e.now()
	for _, a := range toPeer {
		if mtu < a.mtu.effective() && a.mtu.lower(mtu, now) {
			e.events.add(offload.MTUChanged{ID: a.ID, MTU: uint16(mtu)})
		}
	}
}
