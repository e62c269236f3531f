package ike

import (
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/wire"
)

// Demux stands in front of the tunnels of one shard: it finds the tunnel of a
// datagram, makes one for an IKE_SA_INIT that is worth it, and answers the rest
// without keeping state. One goroutine owns it and its tunnels.
type Demux struct {
	env    *Env
	policy Policy
	limits Limits

	tunnels map[ipsec.TunnelID]*Tunnel
	bySPI   map[ipsec.IKESPI]*Tunnel
	entries map[ipsec.TunnelID]entry
	// half are the half-open IKE SAs that peers began, by what a retransmitted
	// IKE_SA_INIT has.
	half      map[halfKey]*Tunnel
	perSource map[source]int
	// up counts the established tunnels by the name of their connection.
	up map[string]int

	cookies  cookies
	sources  sources
	replies  bucket
	departed Departed
}

// entry is what the index has about a tunnel.
type entry struct {
	spis []ipsec.IKESPI
	up   string    // the connection of an established tunnel, else empty
	half *halfOpen // nil when the tunnel is not half-open, as most are not
}

// halfOpen is how a half-open tunnel is found and counted.
type halfOpen struct {
	key  halfKey
	from source
}

// source is an address that IKE_SA_INIT requests came from, or claimed to: those
// that proved it by a cookie are counted apart, so that nobody is shut out by
// what others sent in his name.
type source struct {
	addr   netip.Addr
	proven bool
}

type halfKey struct {
	spi    ipsec.IKESPI // the initiator's
	remote netip.AddrPort
}

// Routed tells what Route found. At most one of Tunnel and Reply is set; with
// neither, the datagram is to be dropped without a word.
type Routed struct {
	// Tunnel is to be given the datagram, by Demux.Step with Received.
	Tunnel *Tunnel
	// Reply goes out at once.
	Reply []Datagram
	// Drop says why there is no Tunnel.
	Drop Drop
	// SPI is the one that should have been ours, where Drop says that it is not
	// known here: another member may know it.
	SPI ipsec.IKESPI
}

// NewDemux makes an empty Demux. Policy is asked at every negotiation, so it may
// change behind it.
func NewDemux(env Env, p Policy, l Limits) *Demux {
	l = l.withDefaults()
	env.policy, env.complaints = p, &complaints{}
	return &Demux{
		env: &env, policy: p, limits: l,
		tunnels:   make(map[ipsec.TunnelID]*Tunnel),
		bySPI:     make(map[ipsec.IKESPI]*Tunnel),
		entries:   make(map[ipsec.TunnelID]entry),
		half:      make(map[halfKey]*Tunnel),
		perSource: make(map[source]int),
		up:        make(map[string]int),
		sources:   sources{limit: l.Sources, rate: float64(l.SourceRate), burst: float64(l.SourceBurst)},
		replies:   bucket{tokens: float64(l.Replies)},
	}
}

// Route finds the tunnel of a datagram.
func (d *Demux) Route(now time.Time, dg Datagram) Routed {
	h, err := wire.ParseHeader(dg.Payload)
	switch {
	case h.Major > wire.MajorVersion:
		return d.wrongVersion(now, h, dg)
	case err != nil:
		return d.refuse(now, DropMalformed, dg, "error", err)
	case h.Major < wire.MajorVersion:
		return d.refuse(now, DropVersion, dg, "version", h.Major)
	}
	// The sender's Initiator flag tells which of the SPIs is ours.
	ours := h.SPIi
	if h.Flags.Initiator() {
		ours = h.SPIr
	}
	if ours == 0 {
		return d.routeInit(now, h, dg)
	}
	if t := d.bySPI[ours]; t != nil {
		return Routed{Tunnel: t}
	}
	if again := d.departed.Repeat(now, dg); again != nil {
		d.env.Stats.Repeated++
		return Routed{Reply: again}
	}
	return d.unknownSPI(now, h, ours, dg)
}

// routeInit handles what may be an IKE_SA_INIT request.
func (d *Demux) routeInit(now time.Time, h wire.Header, dg Datagram) Routed {
	if h.Exchange != wire.IKESAInit || h.Flags.Response() || !h.Flags.Initiator() || h.MessageID != 0 || h.SPIi == 0 {
		return d.refuse(now, DropUnexpected, dg, "exchange", h.Exchange.String())
	}
	if t := d.half[halfKey{h.SPIi, dg.Remote}]; t != nil {
		return Routed{Tunnel: t}
	}
	return d.admit(now, dg)
}

func (d *Demux) drop(r Drop) Routed {
	d.env.Stats.Drops[r]++
	return Routed{Drop: r}
}

// refuse is a drop that the operator hears of.
func (d *Demux) refuse(now time.Time, r Drop, dg Datagram, more ...any) Routed {
	d.complain(now, r, dg, more...)
	return d.drop(r)
}

// complain is for drops that are answered, too.
func (d *Demux) complain(now time.Time, r Drop, dg Datagram, more ...any) {
	d.env.complaints.complain(now, d.env.Log, r, dg, more...)
}

// reply answers without state, as often as the limit allows.
func (d *Demux) reply(now time.Time, r Drop, h wire.Header, dg Datagram, n *wire.Notify) Routed {
	routed := d.drop(r)
	if h.Flags.Response() || !d.replies.take(now, float64(d.limits.Replies), float64(d.limits.Replies)) {
		return routed
	}
	m := wire.Message{Header: wire.Header{
		SPIi: h.SPIi, SPIr: h.SPIr, Exchange: h.Exchange, MessageID: h.MessageID,
		Flags: wire.FlagResponse | ^h.Flags&wire.FlagInitiator,
	}, Payloads: []wire.Payload{n}}
	if b, err := m.Append(nil); err == nil {
		routed.Reply = []Datagram{{Local: dg.Local, Remote: dg.Remote, Payload: b}}
	}
	return routed
}

// wrongVersion answers a message of a version that does not exist yet.
func (d *Demux) wrongVersion(now time.Time, h wire.Header, dg Datagram) Routed {
	d.complain(now, DropVersion, dg, "version", h.Major)
	return d.reply(now, DropVersion, h, dg, &wire.Notify{Type: wire.InvalidMajorVersion})
}

// unknownSPI answers a request for an IKE SA that is not here. One of another
// member is not ours to judge.
//
// RFC 7296 section 2.21.4 lets us answer, without protection, and wants a limit:
// "A node needs to limit the rate at which it will send messages in response to
// unprotected messages."
func (d *Demux) unknownSPI(now time.Time, h wire.Header, ours ipsec.IKESPI, dg Datagram) Routed {
	if ours.Member() != d.env.Member {
		if !d.env.Group {
			d.complain(now, DropForeignSPI, dg, "spi", ours.String(), "member", uint8(ours.Member()))
		}
		r := d.drop(DropForeignSPI)
		r.SPI = ours
		return r
	}
	if h.Exchange == wire.IKESAInit {
		return d.drop(DropUnknownSPI)
	}
	if d.env.Group {
		// Its tunnel may have moved to another member, who will answer.
		r := d.drop(DropUnknownSPI)
		r.SPI = ours
		return r
	}
	d.complain(now, DropUnknownSPI, dg, "spi", ours.String())
	r := d.reply(now, DropUnknownSPI, h, dg, &wire.Notify{Type: wire.InvalidIKESPI})
	d.env.Stats.InvalidSPIsOut += uint64(len(r.Reply))
	return r
}

// Step gives a tunnel an input and keeps the index up to date: SPIs come and go
// with rekeys, and a tunnel that is Done is forgotten.
func (d *Demux) Step(now time.Time, t *Tunnel, in Input) Ready {
	r := t.Step(now, in)
	if t.state == StateClosed {
		if received, ok := in.(Received); ok {
			if f, answered := farewell(received.Datagram, r.Send); answered {
				d.departed.Keep(now, f)
				r.Farewell = f
			}
		}
		d.Forget(t)
	} else if d.tunnels[t.id] == t {
		d.index(t)
	}
	return r
}

// Initiate makes a tunnel to the peer of a connection, which must have a Remote.
// The input Initiate starts it.
func (d *Demux) Initiate(_ time.Time, c *Connection) *Tunnel {
	remote := netip.AddrPortFrom(c.Remote, orDefault(c.RemotePort, portIKE))
	local := netip.AddrPortFrom(c.Local, portIKE)
	if remote.Port() != portIKE {
		local = netip.AddrPortFrom(c.Local, portNATT)
	}
	spi := d.env.ikeSPI()
	t := newTunnel(d.env, c, local, remote, spi, true)
	t.sa.spiI = spi
	t.setup.initialContact = d.up[c.Name] == 0
	d.Adopt(t)
	return t
}

// Adopt puts a tunnel into the index, such as a restored one. One that was restored
// in the surroundings of the Demux shares them from then on. The IVs of another boot
// are its own (invariant I1).
func (d *Demux) Adopt(t *Tunnel) {
	if t.env.Boot == d.env.Boot && t.env.Member == d.env.Member {
		t.env = d.env
	}
	d.tunnels[t.id] = t
	d.index(t)
}

// Forget takes a tunnel out of the index. One that is not there is no error.
func (d *Demux) Forget(t *Tunnel) {
	if d.tunnels[t.id] != t {
		return
	}
	d.unindex(t.id)
	delete(d.tunnels, t.id)
}

// ByID returns the tunnel of that name, nil when it is not here.
func (d *Demux) ByID(id ipsec.TunnelID) *Tunnel { return d.tunnels[id] }

// BySPI returns the tunnel whose IKE SAs include one with this SPI of ours, nil
// when there is none.
func (d *Demux) BySPI(s ipsec.IKESPI) *Tunnel { return d.bySPI[s] }

// Tunnels calls yield for every tunnel, in no particular order, until it
// returns false. Forget may be called meanwhile.
func (d *Demux) Tunnels(yield func(*Tunnel) bool) {
	for _, t := range d.tunnels {
		if !yield(t) {
			return
		}
	}
}

func (d *Demux) index(t *Tunnel) {
	e := entry{spis: t.spis()}
	if t.setup == nil {
		e.up = t.conn.Name
	}
	old, known := d.entries[t.id]
	if !t.initiator && t.setup != nil {
		// It keeps the address that its IKE_SA_INIT came from.
		if e.half = old.half; e.half == nil {
			e.half = &halfOpen{halfKey{t.sa.spiI, t.remote}, source{t.remote.Addr(), t.setup.proven}}
		}
	}
	if known && e.equal(old) {
		return
	}
	d.unindex(t.id)
	d.entries[t.id] = e
	if e.up != "" {
		d.up[e.up]++
	}
	for _, s := range e.spis {
		d.bySPI[s] = t
	}
	if e.half != nil {
		d.half[e.half.key] = t
		d.perSource[e.half.from]++
		d.env.Stats.HalfOpen++
		d.env.Stats.HalfOpenPeak = max(d.env.Stats.HalfOpenPeak, d.env.Stats.HalfOpen)
	}
}

func (d *Demux) unindex(id ipsec.TunnelID) {
	e, ok := d.entries[id]
	if !ok {
		return
	}
	delete(d.entries, id)
	if d.up[e.up] <= 1 {
		delete(d.up, e.up)
	} else {
		d.up[e.up]--
	}
	for _, s := range e.spis {
		delete(d.bySPI, s)
	}
	if e.half == nil {
		return
	}
	delete(d.half, e.half.key)
	d.env.Stats.HalfOpen--
	if d.perSource[e.half.from] <= 1 {
		delete(d.perSource, e.half.from)
	} else {
		d.perSource[e.half.from]--
	}
}

func (e entry) equal(o entry) bool {
	if e.half != o.half || e.up != o.up || len(e.spis) != len(o.spis) {
		return false
	}
	for i := range e.spis {
		if e.spis[i] != o.spis[i] {
			return false
		}
	}
	return true
}
