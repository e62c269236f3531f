package ike

import (
	"net/netip"
	"time"

	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/wire"
)

// admit decides whether an IKE_SA_INIT request gets a tunnel. All that can be
// refused is refused here, before there is any state, cheapest checks first.
func (d *Demux) admit(now time.Time, dg Datagram) Routed {
	m, err := wire.Decode(dg.Payload)
	if err != nil {
		return d.badInit(now, dg, err)
	}
	sa, ke, nonce := wire.Find[*wire.SA](m.Payloads), wire.Find[*wire.KE](m.Payloads), wire.Find[*wire.Nonce](m.Payloads)
	if sa == nil || ke == nil || nonce == nil {
		d.complain(now, DropMalformed, dg, "error", "an IKE_SA_INIT request lacks SA, KE or nonce")
		return d.reply(now, DropMalformed, m.Header, dg, &wire.Notify{Type: wire.InvalidSyntax})
	}
	r, proven, ok := d.checkLoad(now, m, nonce, dg)
	if !ok {
		return r
	}
	conns := d.policy.ForAddresses(dg.Local.Addr().Unmap(), dg.Remote.Addr().Unmap())
	if len(conns) == 0 {
		d.complain(now, DropNoConnection, dg)
		return d.reply(now, DropNoConnection, m.Header, dg, &wire.Notify{Type: wire.NoProposalChosen})
	}
	offered, from := offeredFor(sa, wire.ProtocolIKE)
	conn, chosen, i, err := forOffer(conns, offered)
	if err != nil {
		d.env.Stats.Failures[FailNoProposal]++
		d.complain(now, DropNoProposal, dg, "connections", connectionNames(conns), "error", err)
		return d.reply(now, DropNoProposal, m.Header, dg, &wire.Notify{Type: wire.NoProposalChosen})
	}
	s, err := suite.FromProposal(chosen)
	if err != nil || s.PRF == 0 {
		d.complain(now, DropNoProposal, dg, "connections", conn.Name, "error", err)
		return d.reply(now, DropNoProposal, m.Header, dg, &wire.Notify{Type: wire.NoProposalChosen})
	}
	if ke.Group != s.Group {
		d.complain(now, DropInvalidKE, dg, "group", ke.Group.String(), "want", s.Group.String())
		return d.reply(now, DropInvalidKE, m.Header, dg, &wire.Notify{Type: wire.InvalidKEPayload, Data: invalidKE(s.Group).Data})
	}
	return Routed{Tunnel: d.accept(now, dg, proven, &initRequest{
		header: m.Header, conn: conn, number: from[i].Number, chosen: chosen, offered: offered, ke: ke, nonce: nonce.Data, all: m.Payloads,
	})}
}

// badInit answers what cannot be read. An unknown critical payload is worth an
// answer that names it (RFC 7296 section 2.5).
func (d *Demux) badInit(now time.Time, dg Datagram, err error) Routed {
	d.complain(now, DropMalformed, dg, "error", err)
	h, herr := wire.ParseHeader(dg.Payload)
	bad, ok := err.(*wire.Error) //nolint:errorlint // all errors of Decode are of this type
	if herr != nil || !ok {
		return d.drop(DropMalformed)
	}
	n := &wire.Notify{Type: bad.Notify}
	if bad.Notify == wire.UnsupportedCriticalPayload {
		n.Data = []byte{byte(bad.Payload)}
	}
	return d.reply(now, DropMalformed, h, dg, n)
}

// checkLoad holds a flood off: by cookies once there are many half-open IKE SAs,
// and by limits on what one address may do. Who is not proven to be at his
// address is asked for a cookie where the limits of that address are reached: it
// may be others that send in his name.
//
// "When a responder detects a large number of half-open IKE SAs, it SHOULD reply
// to IKE_SA_INIT requests with a response containing the COOKIE notification."
// RFC 7296 section 2.6.
func (d *Demux) checkLoad(now time.Time, m wire.Message, nonce *wire.Nonce, dg Datagram) (r Routed, proven, ok bool) {
	a := dg.Remote.Addr()
	d.cookies.rotate(now, d.env.Rand)
	if n := wire.FindNotify(m.Payloads, wire.Cookie); n != nil {
		proven = d.cookies.valid(n.Data, nonce.Data, a, m.Header.SPIi)
		if proven {
			d.env.Stats.CookiesAccepted++
		} else {
			d.env.Stats.CookiesRejected++
		}
	}
	switch {
	case !proven && !d.sources.take(now, a):
		return d.askCookie(now, DropSourceRate, m, nonce, dg), false, false
	case !proven && len(d.half) >= d.limits.CookieAt:
		return d.askCookie(now, DropCookie, m, nonce, dg), false, false
	case len(d.half) >= d.limits.HalfOpen:
		return d.refuse(now, DropHalfOpenLimit, dg, "half_open", len(d.half)), proven, false
	case d.perSource[source{a, proven}] < d.limits.PerSource:
		return Routed{}, proven, true
	case proven:
		return d.refuse(now, DropSourceLimit, dg, "half_open", len(d.half)), true, false
	default:
		return d.askCookie(now, DropSourceLimit, m, nonce, dg), false, false
	}
}

// askCookie is not under the limit of replies: it is what keeps us open under
// load, and not longer than the request.
func (d *Demux) askCookie(now time.Time, why Drop, m wire.Message, nonce *wire.Nonce, dg Datagram) Routed {
	r := d.refuse(now, why, dg, "half_open", len(d.half))
	answer := wire.Message{
		Header: wire.Header{SPIi: m.Header.SPIi, Exchange: wire.IKESAInit, Flags: wire.FlagResponse},
		Payloads: []wire.Payload{&wire.Notify{
			Type: wire.Cookie,
			Data: d.cookies.make(nonce.Data, dg.Remote.Addr(), m.Header.SPIi),
		}},
	}
	if b, err := answer.Append(nil); err == nil {
		d.env.Stats.CookiesSent++
		r.Reply = []Datagram{{Local: dg.Local, Remote: dg.Remote, Payload: b}}
	}
	return r
}

// accept makes the half-open tunnel of a responder.
func (d *Demux) accept(now time.Time, dg Datagram, proven bool, r *initRequest) *Tunnel {
	spi := d.env.ikeSPI()
	t := newTunnel(d.env, r.conn, dg.Local, dg.Remote, spi, false)
	t.sa.spiI, t.sa.spiR = r.header.SPIi, spi
	t.setup.first, t.setup.proven = r, proven
	t.setup.started = now
	t.setup.deadline = now.Add(d.limits.SetupTime)
	d.env.Stats.Started[1]++
	d.Adopt(t)
	return t
}

// bucket is a token bucket.
type bucket struct {
	tokens float64
	at     time.Time
}

// take takes a token, of rate new ones per second and at most burst.
func (b *bucket) take(now time.Time, rate, burst float64) bool {
	if !b.at.IsZero() && now.After(b.at) {
		b.tokens = min(burst, b.tokens+rate*now.Sub(b.at).Seconds())
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// sources are token buckets by address, in two generations: when the young one
// is full it becomes the old one, and what the old one still has is forgotten.
type sources struct {
	limit       int
	rate, burst float64
	young, old  map[netip.Addr]bucket
}

func (s *sources) take(now time.Time, a netip.Addr) bool {
	b, ok := s.young[a]
	if !ok {
		if b, ok = s.old[a]; !ok {
			b = bucket{tokens: s.burst}
		}
		if s.young == nil || len(s.young) >= (s.limit+1)/2 {
			s.old, s.young = s.young, make(map[netip.Addr]bucket)
		}
	}
	taken := b.take(now, s.rate, s.burst)
	s.young[a] = b
	return taken
}
