package v1test

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
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

// Config is what a pair is made from. Options change it.
type Config struct {
	Seed uint64
	A, B *ike.Connection
	// Limits of both ends.
	Limits ike.Limits
	// NAT puts one in front of A.
	NAT bool
	Log *slog.Logger

	resume Resume
}

// Option changes a Config.
type Option func(*Config)

// Pair is two ends and the network between them.
type Pair struct {
	TB   TB
	A, B *End
	Now  time.Time

	config Config
	wire   []Flight
	nat    map[netip.AddrPort]netip.AddrPort // outside to inside
	port   uint16
}

// Flight is a datagram on its way.
type Flight struct {
	To       *End
	Datagram ike.Datagram
}

// New makes a pair that has not talked yet.
func New(tb TB, options ...Option) *Pair {
	tb.Helper()
	c := Config{
		Seed: 1, A: Connection("a", AddrA, AddrB), B: Connection("b", AddrB, netip.Addr{}),
		Log: slog.New(slog.DiscardHandler),
	}
	for _, o := range options {
		o(&c)
	}
	p := &Pair{
		TB: tb, Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), config: c,
		nat: make(map[netip.AddrPort]netip.AddrPort), port: 40000,
	}
	p.A = newEnd(p, "A", 1, c.A)
	p.B = newEnd(p, "B", 2, c.B)
	return p
}

// Establish makes a pair in which A has dialled in to B.
func Establish(tb TB, options ...Option) *Pair {
	tb.Helper()
	p := New(tb, options...)
	p.A.Initiate()
	p.Deliver()
	p.WantUp()
	return p
}

// Connection is a plain connection of version 1 with one child "net": main mode,
// AES-CBC, P-256, no perfect forward secrecy, no lifetimes.
func Connection(name string, local, remote netip.Addr) *ike.Connection {
	return &ike.Connection{
		Name: name, Local: local, Remote: remote,
		Proposals: []ipsec.Proposal{Must(ipsec.ParseIKEProposal("aes128-sha256")).WithGroups(ipsec.GroupECP256)},
		LocalID:   ike.Identity{Type: ike.IDFQDN, Data: name + ".example"},
		PSK:       ipsec.CopyKey([]byte("the secret of the two")),
		DPD:       ike.DPD{Mode: ike.DPDOff},
		V1:        &ike.IKEv1{},
		Children: []*ike.Child{{
			Name:      "net",
			Proposals: []ipsec.Proposal{Must(ipsec.ParseESPProposal("aes128-sha256"))},
			Selectors: ipsec.Selectors{
				Local:  []ipsec.TrafficSelector{ipsec.AnySelector(false)},
				Remote: []ipsec.TrafficSelector{ipsec.AnySelector(false)},
			},
		}},
	}
}

// Both changes both connections.
func Both(change func(*ike.Connection)) Option {
	return func(c *Config) {
		change(c.A)
		change(c.B)
	}
}

// Seed makes another run of the same conversation.
func Seed(n uint64) Option { return func(c *Config) { c.Seed = n } }

// BehindNAT puts a NAT in front of A.
func BehindNAT() Option { return func(c *Config) { c.NAT = true } }

// Aggressive makes phase 1 aggressive mode.
func Aggressive() Option {
	return Both(func(c *ike.Connection) { c.V1.Aggressive = true })
}

// PFS gives the children a key exchange of their own.
func PFS(g ipsec.GroupID) Option {
	return Both(func(c *ike.Connection) {
		for _, child := range c.Children {
			for i, p := range child.Proposals {
				child.Proposals[i] = p.WithGroups(g)
			}
		}
	})
}

// Suite replaces the proposals of both ends, in the configuration's words.
func Suite(phase1, phase2 string, g ipsec.GroupID) Option {
	return Both(func(c *ike.Connection) {
		c.Proposals = []ipsec.Proposal{Must(ipsec.ParseIKEProposal(phase1)).WithGroups(g)}
		c.Children[0].Proposals = []ipsec.Proposal{Must(ipsec.ParseESPProposal(phase2))}
	})
}

// Must is v; an error is a mistake in the test.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// send puts what an end sends on the wire, through the NAT.
func (p *Pair) send(from *End, d ike.Datagram) {
	p.TB.Helper()
	if d.Keepalive {
		from.Keepalives++
		return
	}
	to, source, target := p.B, AddrA, AddrB
	if from == p.B {
		to, source, target = p.A, AddrB, AddrA
		if p.config.NAT {
			target = NATIP
		}
	}
	if d.Local.Addr() != source {
		p.TB.Errorf("%s sends from %v, want %v", from.Name, d.Local, source)
	}
	if d.Remote.Addr() != target {
		return // to whoever is there
	}
	if p.config.NAT {
		var ok bool
		if d, ok = p.translate(from, d); !ok {
			return
		}
	}
	p.wire = append(p.wire, Flight{to, ike.Datagram{Local: d.Remote, Remote: d.Local, Payload: append([]byte(nil), d.Payload...)}})
}

// translate does what the NAT does; false for what finds no mapping.
func (p *Pair) translate(from *End, d ike.Datagram) (ike.Datagram, bool) {
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
func (p *Pair) Rebind() { clear(p.nat) }

// InFlight is what is on its way, oldest first.
func (p *Pair) InFlight() []Flight { return p.wire }

// Next delivers the oldest datagram; false when there is none.
func (p *Pair) Next() bool { return p.NextAt(0) }

// NextAt delivers the i-th datagram on its way, overtaking the ones before it.
func (p *Pair) NextAt(i int) bool {
	if i >= len(p.wire) {
		return false
	}
	f := p.wire[i]
	p.wire = append(p.wire[:i:i], p.wire[i+1:]...)
	f.To.receive(f.Datagram)
	return true
}

// DropAt loses the i-th datagram on its way.
func (p *Pair) DropAt(i int) {
	if i < len(p.wire) {
		p.wire = append(p.wire[:i:i], p.wire[i+1:]...)
	}
}

// DropAll loses all that is on its way.
func (p *Pair) DropAll() { p.wire = nil }

// Hold takes all that is on its way out of the network; Release puts it back.
func (p *Pair) Hold() []Flight {
	held := p.wire
	p.wire = nil
	return held
}

// Release puts datagrams onto the wire, behind what is there.
func (p *Pair) Release(held []Flight) { p.wire = append(p.wire, held...) }

// DuplicateAt doubles the i-th datagram on its way.
func (p *Pair) DuplicateAt(i int) {
	if i < len(p.wire) {
		f := p.wire[i]
		f.Datagram.Payload = append([]byte(nil), f.Datagram.Payload...)
		p.wire = append(p.wire, f)
	}
}

// Deliver delivers in order until nothing is on its way. No time passes.
func (p *Pair) Deliver() {
	p.TB.Helper()
	for range maxDeliveries {
		if !p.Next() {
			p.A.check()
			p.B.check()
			return
		}
	}
	p.TB.Fatalf("the ends do not fall silent: %d datagrams delivered at one instant", maxDeliveries)
}

// Pass lets time pass, with all timers at their times and all datagrams
// delivered at once.
func (p *Pair) Pass(d time.Duration) {
	p.TB.Helper()
	p.pass(d, true)
}

// PassSilently lets time pass while the network loses everything.
func (p *Pair) PassSilently(d time.Duration) {
	p.TB.Helper()
	p.pass(d, false)
}

func (p *Pair) pass(d time.Duration, deliver bool) {
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
		if next.After(p.Now) {
			p.Now = next
		}
		p.A.tick()
		p.B.tick()
	}
	p.TB.Fatalf("timers fire without end: %d of them within %v", maxDeliveries, d)
}

func (p *Pair) nextTimeout() time.Time {
	a, b := p.A.nextTimeout(), p.B.nextTimeout()
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
