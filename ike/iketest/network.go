package iketest

import (
	"net/netip"
	"time"

	"github.com/evergate/evergate/ike"
)

// Addresses of the two ends, and of the NAT in front of A where there is one.
var (
	AddrA = netip.MustParseAddr("192.0.2.1")
	AddrB = netip.MustParseAddr("198.51.100.1")
	NATIP = netip.MustParseAddr("203.0.113.9")
)

// maxDeliveries bounds one Deliver: two machines that never fall silent are a
// bug.
const maxDeliveries = 10000

// TB is what the harness needs of a test; *testing.T, *testing.F and *rapid.T
// have it.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
}

// Talker is one end of a Network.
type Talker interface {
	comparable
	// Receive takes a datagram, Tick fires the timers that are due, and NextTimeout
	// is when the next one is.
	Receive(ike.Datagram)
	Tick()
	NextTimeout() time.Time
	// Do gives the end's tunnel an input.
	Do(ike.Input)
	Base() *Gateway
}

// Network is what lies between two ends, whichever version of IKE they speak, and
// the time of both.
type Network[E Talker] struct {
	TB   TB
	A, B E
	Now  time.Time
	// NAT puts one in front of A.
	NAT bool
	// Path is the longest datagram that is carried, in octets of UDP payload; 0 for
	// any.
	Path int

	wire []FlightOf[E]
	nat  map[netip.AddrPort]netip.AddrPort // outside to inside
	port uint16
}

// FlightOf is a datagram on its way.
type FlightOf[E Talker] struct {
	To       E
	Datagram ike.Datagram
}

// NewNetwork makes a network of which the ends are still to be set.
func NewNetwork[E Talker](tb TB) Network[E] {
	return Network[E]{
		TB: tb, Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		nat: make(map[netip.AddrPort]netip.AddrPort), port: 40000,
	}
}

// Send puts what an end sends on the wire, through the NAT.
func (p *Network[E]) Send(from E, d ike.Datagram) {
	p.TB.Helper()
	if d.Keepalive {
		from.Base().Keepalives++
		return
	}
	to, source, target := p.B, AddrA, AddrB
	if from == p.B {
		to, source, target = p.A, AddrB, AddrA
		if p.NAT {
			target = NATIP
		}
	}
	if d.Local.Addr() != source {
		p.TB.Errorf("%s sends from %v, want %v", from.Base().Name, d.Local, source)
	}
	if d.Remote.Addr() != target {
		return // to whoever is there
	}
	if p.Path > 0 && len(d.Payload) > p.Path {
		return
	}
	if p.NAT {
		var ok bool
		if d, ok = p.translate(from, d); !ok {
			return
		}
	}
	p.wire = append(p.wire, FlightOf[E]{to, ike.Datagram{Local: d.Remote, Remote: d.Local, Payload: append([]byte(nil), d.Payload...)}})
}

// translate does what the NAT does; false for what finds no mapping.
func (p *Network[E]) translate(from E, d ike.Datagram) (ike.Datagram, bool) {
	if from == p.B {
		inside, ok := p.nat[d.Remote]
		d.Remote = inside
		return d, ok
	}
	for outside, inside := range p.nat {
		if inside == d.Local {
			d.Local = outside
			return d, true
		}
	}
	p.port++
	outside := netip.AddrPortFrom(NATIP, p.port)
	p.nat[outside] = d.Local
	d.Local = outside
	return d, true
}

// Rebind makes the NAT forget its mappings, as one does that restarts. B's
// messages find no way until A has sent something.
func (p *Network[E]) Rebind() { clear(p.nat) }

// Outside is where B sees what A sends from its present address; false without a
// NAT.
func (p *Network[E]) Outside() (netip.AddrPort, bool) {
	if !p.NAT {
		return netip.AddrPort{}, false
	}
	d, ok := p.translate(p.A, ike.Datagram{Local: p.A.Base().status().Local})
	return d.Local, ok
}

// InFlight is what is on its way, oldest first.
func (p *Network[E]) InFlight() []FlightOf[E] { return p.wire }

// Next delivers the oldest datagram; false when there is none.
func (p *Network[E]) Next() bool { return p.NextAt(0) }

// NextAt delivers the i-th datagram on its way, overtaking the ones before it.
func (p *Network[E]) NextAt(i int) bool {
	if i >= len(p.wire) {
		return false
	}
	f := p.wire[i]
	p.wire = append(p.wire[:i:i], p.wire[i+1:]...)
	f.To.Receive(f.Datagram)
	return true
}

// DropAt loses the i-th datagram on its way.
func (p *Network[E]) DropAt(i int) {
	if i < len(p.wire) {
		p.wire = append(p.wire[:i:i], p.wire[i+1:]...)
	}
}

// DropAll loses all that is on its way.
func (p *Network[E]) DropAll() { p.wire = nil }

// Hold takes all that is on its way out of the network; Release puts it back.
func (p *Network[E]) Hold() []FlightOf[E] {
	held := p.wire
	p.wire = nil
	return held
}

// Release puts datagrams onto the wire, behind what is there.
func (p *Network[E]) Release(held []FlightOf[E]) { p.wire = append(p.wire, held...) }

// DuplicateAt doubles the i-th datagram on its way.
func (p *Network[E]) DuplicateAt(i int) {
	if i < len(p.wire) {
		f := p.wire[i]
		f.Datagram.Payload = append([]byte(nil), f.Datagram.Payload...)
		p.wire = append(p.wire, f)
	}
}

// Deliver delivers in order until nothing is on its way. No time passes.
func (p *Network[E]) Deliver() {
	p.TB.Helper()
	for range maxDeliveries {
		if !p.Next() {
			p.A.Base().check()
			p.B.Base().check()
			return
		}
	}
	p.TB.Fatalf("the ends do not fall silent: %d datagrams delivered at one instant", maxDeliveries)
}

// Pass lets time pass, with all timers at their times and all datagrams
// delivered at once.
func (p *Network[E]) Pass(d time.Duration) {
	p.TB.Helper()
	p.pass(d, true)
}

// PassSilently lets time pass while the network loses everything.
func (p *Network[E]) PassSilently(d time.Duration) {
	p.TB.Helper()
	p.pass(d, false)
}

func (p *Network[E]) pass(d time.Duration, deliver bool) {
	p.TB.Helper()
	end := p.Now.Add(d)
	for range maxDeliveries {
		if deliver {
			p.Deliver()
		} else {
			p.DropAll()
		}
		next := p.nextTimeout()
		if next.IsZero() || next.After(end) {
			p.Now = end
			return
		}
		p.Now = later(p.Now, next)
		p.A.Tick()
		p.B.Tick()
	}
	p.TB.Fatalf("timers fire without end: %d of them within %v", maxDeliveries, d)
}

func (p *Network[E]) nextTimeout() time.Time {
	a, b := p.A.NextTimeout(), p.B.NextTimeout()
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
