package v1

import (
	"net/netip"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1/wire"
)

// Demux stands in front of the tunnels of one shard: what ike.Demux is for IKEv2.
// One goroutine owns it and its tunnels.
type Demux struct {
	env    *ike.Env
	policy ike.Policy
	pool   Addresses
	limits ike.Limits

	tunnels map[ipsec.TunnelID]*Tunnel
	// byCookie finds tunnels by our own cookies, whichever of the two in a header
	// they are: version 1 has no flag that says who sends.
	byCookie map[ipsec.IKESPI]*Tunnel
	byPeer   map[peerKey][]*Tunnel
	entries  map[ipsec.TunnelID]entry
	// byFirst finds tunnels by what a repeated first message has.
	byFirst map[firstKey]*Tunnel
	// half counts the half-open tunnels that peers began, in all and by address.
	half      int
	perSource map[netip.Addr]int
	// up counts the established tunnels by the name of their connection.
	up map[string]int
	// woken have work from other tunnels' steps.
	woken []*Tunnel

	replies   float64 // unprotected answers that may be sent now
	repliedAt time.Time
}

// entry is what the index has about a tunnel.
type entry struct {
	cookies []ipsec.IKESPI
	firsts  []firstKey
	from    netip.Addr // of a half-open tunnel that the peer began, else zero
	peer    peerKey    // of an established tunnel, else zero
}

// firstKey is what the first message of a phase 1 has.
type firstKey struct {
	cookie ipsec.IKESPI // the initiator's
	remote netip.AddrPort
}

// peerKey is a peer of a connection.
type peerKey struct {
	connection string
	identity   ike.Identity
}

// Routed tells what Route found. At most one of Tunnel and Reply is set; with
// neither, the datagram is to be dropped without a word.
type Routed struct {
	// Tunnel is to be given the datagram, by Demux.Step with Received.
	Tunnel *Tunnel
	// Reply goes out at once.
	Reply []ike.Datagram
	// Drop says why there is no Tunnel.
	Drop ike.Drop
	// Cookies are the initiator's and the responder's, where Drop says that
	// neither is known here: one of them may be another shard's, or another
	// member's.
	Cookies [2]ipsec.IKESPI
}

// NewDemux makes an empty Demux. Policy is asked at every negotiation, so it may
// change behind it; connections of version 2 in it are passed over. A nil pool
// assigns no addresses.
func NewDemux(env ike.Env, p ike.Policy, l ike.Limits, pool Addresses) *Demux {
	l = l.Share(1)
	return &Demux{
		env: &env, policy: p, pool: pool, limits: l,
		tunnels:   make(map[ipsec.TunnelID]*Tunnel),
		byCookie:  make(map[ipsec.IKESPI]*Tunnel),
		byPeer:    make(map[peerKey][]*Tunnel),
		entries:   make(map[ipsec.TunnelID]entry),
		byFirst:   make(map[firstKey]*Tunnel),
		perSource: make(map[netip.Addr]int),
		up:        make(map[string]int),
		replies:   float64(l.Replies),
	}
}

// IsV1 tells whether a datagram is IKEv1's, to be routed here; what is too short
// to have a version is not.
func IsV1(datagram []byte) bool {
	return len(datagram) >= wire.HeaderLen && datagram[17]>>4 == wire.MajorVersion
}

// Route finds the tunnel of a datagram.
func (d *Demux) Route(now time.Time, dg ike.Datagram) Routed {
	h, err := wire.ParseHeader(dg.Payload)
	if err != nil {
		return d.drop(ike.DropMalformed)
	}
	for _, c := range []ipsec.IKESPI{h.CookieR, h.CookieI} {
		if t := d.byCookie[c]; t != nil && t.lookup(h) != nil {
			return Routed{Tunnel: t}
		}
	}
	if h.CookieR == 0 {
		return d.routeFirst(now, h, dg)
	}
	r := d.drop(ike.DropUnknownSPI)
	r.Cookies = [2]ipsec.IKESPI{h.CookieI, h.CookieR}
	return r
}

// routeFirst handles what may be the first message of a phase 1.
func (d *Demux) routeFirst(now time.Time, h wire.Header, dg ike.Datagram) Routed {
	if h.Exchange != wire.MainMode && h.Exchange != wire.Aggressive || h.MessageID != 0 || h.Encrypted() || h.CookieI == 0 {
		return d.drop(ike.DropUnexpected)
	}
	if t := d.byFirst[firstKey{h.CookieI, dg.Remote}]; t != nil {
		return Routed{Tunnel: t}
	}
	return d.admit(now, h, dg)
}

func (d *Demux) drop(r ike.Drop) Routed {
	d.env.Stats.Drops[r]++
	return Routed{Drop: r}
}

// refuse answers a first message without state, as often as the limit allows.
func (d *Demux) refuse(now time.Time, r ike.Drop, h wire.Header, dg ike.Datagram, n wire.NotifyType) Routed {
	routed := d.drop(r)
	if !d.mayReply(now) {
		return routed
	}
	m := wire.Message{
		Header: wire.Header{
			CookieI: h.CookieI, CookieR: ipsec.NewIKESPI(d.env.Member, random64(d.env)),
			Exchange: wire.Informational, MessageID: uint32(random64(d.env)) | 1,
		},
		Payloads: []wire.Payload{&wire.Notify{Protocol: wire.ProtocolISAKMP, Kind: n}},
	}
	if b, err := m.Append(nil); err == nil {
		routed.Reply = []ike.Datagram{{Local: dg.Local, Remote: dg.Remote, Payload: b}}
	}
	return routed
}

func (d *Demux) mayReply(now time.Time) bool {
	rate := float64(d.limits.Replies)
	if !d.repliedAt.IsZero() && now.After(d.repliedAt) {
		d.replies = min(rate, d.replies+rate*now.Sub(d.repliedAt).Seconds())
	}
	d.repliedAt = now
	if d.replies < 1 {
		return false
	}
	d.replies--
	return true
}

// admit decides whether a first message gets a tunnel. All that can be refused is
// refused here, before there is any state. IKEv1 has no cookies that are worth the
// name: what holds a flood off are the limits on half-open tunnels, and that main
// mode does its key exchange only with who has seen our cookie.
func (d *Demux) admit(now time.Time, h wire.Header, dg ike.Datagram) Routed {
	switch {
	case d.half >= d.limits.HalfOpen:
		return d.drop(ike.DropHalfOpenLimit)
	case d.perSource[dg.Remote.Addr()] >= d.limits.PerSource:
		return d.drop(ike.DropSourceLimit)
	}
	m, err := wire.Decode(dg.Payload)
	if err != nil {
		return d.refuse(now, ike.DropMalformed, h, dg, wire.PayloadMalformed)
	}
	sa := wire.Find[*wire.SA](m.Payloads)
	if sa == nil {
		return d.refuse(now, ike.DropMalformed, h, dg, wire.PayloadMalformed)
	}
	f := &firstMessage{payloads: m.Payloads}
	fit := d.candidates(h, dg, m, f)
	if len(fit) == 0 {
		r := d.refuse(now, ike.DropNoConnection, h, dg, wire.NoProposalChosen)
		if len(r.Reply) > 0 {
			d.env.Log.Warn("no connection of version 1 for these addresses", "exchange", h.Exchange.String(),
				"local", dg.Local, "remote", dg.Remote, "remote_id", f.id.String(), "check", "local-gw, remote-gw, ike-version and mode")
		}
		return r
	}
	if !f.choose(fit, sa) {
		r := d.refuse(now, ike.DropNoProposal, h, dg, wire.NoProposalChosen)
		if len(r.Reply) > 0 {
			d.env.Log.Warn("no proposal chosen", "local", dg.Local, "remote", dg.Remote,
				"offered", offeredNames(sa), "accepted", acceptedNames(fit, false), "check", "proposal and dhgrp against the peer's")
		}
		return r
	}
	return Routed{Tunnel: d.accept(now, h, dg, f)}
}

// candidates are the connections that a first message may be for.
func (d *Demux) candidates(h wire.Header, dg ike.Datagram, m wire.Message, f *firstMessage) []*ike.Connection {
	id := wire.Find[*wire.ID](m.Payloads)
	aggressive := h.Exchange == wire.Aggressive
	if aggressive {
		if id == nil || wire.Find[*wire.KE](m.Payloads) == nil || wire.Find[*wire.Nonce](m.Payloads) == nil {
			return nil
		}
		f.id = identityOf(id)
	}
	var named, open []*ike.Connection
	for _, c := range d.policy.ForAddresses(dg.Local.Addr().Unmap(), dg.Remote.Addr().Unmap()) {
		switch {
		case c.V1 == nil || c.PSK.Len() == 0 || c.V1.Aggressive != aggressive:
		case aggressive && !c.RemoteID.Accepts(f.id):
		case aggressive && !c.RemoteID.IsZero():
			named = append(named, c)
		default:
			open = append(open, c)
		}
	}
	all := append(named, open...)
	return all[:min(len(all), maxConnections)]
}

// choose selects the proposal, and keeps the connections that accept it too.
func (f *firstMessage) choose(fit []*ike.Connection, sa *wire.SA) bool {
	for _, c := range fit {
		choice, proposal, ok := choosePhase1(c, sa, method(c, false))
		switch {
		case !ok:
		case len(f.conns) == 0:
			f.choice, f.proposal = choice, proposal
			f.conns = append(f.conns, c)
		case choice.method == f.choice.method && slices.Contains(suites(c.Proposals), f.choice.suite):
			f.conns = append(f.conns, c)
		}
	}
	return len(f.conns) > 0
}

// accept makes the half-open tunnel of a responder.
func (d *Demux) accept(now time.Time, h wire.Header, dg ike.Datagram, f *firstMessage) *Tunnel {
	c := cookie(d.env)
	t := newTunnel(d.env, d.policy, f.conns[0], dg.Local, dg.Remote, c, false)
	t.sa.cookieI, t.sa.cookieR, t.sa.began = h.CookieI, c, now
	t.sa.main = &exchange{kind: h.Exchange, sa: t.sa}
	t.sa.first = firstKey{h.CookieI, dg.Remote}
	t.setup.first = f
	t.setup.started = now
	t.setup.deadline = now.Add(orDefault(d.limits.SetupTime, defaultSetupTime))
	d.env.Stats.Started[1]++
	d.Adopt(t)
	return t
}

// newTunnel is what both kinds of tunnels begin with.
func newTunnel(env *ike.Env, p ike.Policy, c *ike.Connection, local, remote netip.AddrPort, own ipsec.IKESPI, initiator bool) *Tunnel {
	t := &Tunnel{
		env: env, policy: p, conn: c, initiator: initiator,
		id: ipsec.TunnelID(own), local: local, remote: remote,
		setup: &setup{},
		sa:    &isakmpSA{initiator: initiator},
	}
	t.log = env.Log.With("tunnel", t.id.String(), "connection", c.Name)
	return t
}

// Step gives a tunnel an input and keeps the index up to date. Afterwards Woken
// may have tunnels that have work too.
func (d *Demux) Step(now time.Time, t *Tunnel, in ike.Input) ike.Ready {
	r := t.Step(now, in)
	if t.state == ike.StateClosed {
		d.Forget(t)
	} else if d.tunnels[t.id] == t {
		d.index(t)
	}
	return r
}

// Woken returns the tunnels to which other tunnels' steps have given work, and
// forgets them: each is to be given a Timeout now. It happens when the peer rekeys
// phase 1, which begins as a tunnel of its own.
func (d *Demux) Woken() []*Tunnel {
	w := d.woken
	d.woken = nil
	return w
}

// Initiate makes a tunnel to the peer of a connection, which must have a Remote.
// The input Initiate starts it.
func (d *Demux) Initiate(now time.Time, c *ike.Connection) *Tunnel {
	remote := netip.AddrPortFrom(c.Remote, orDefault(c.RemotePort, portIKE))
	local := netip.AddrPortFrom(c.Local, portIKE)
	if remote.Port() != portIKE {
		local = netip.AddrPortFrom(c.Local, portNATT)
	}
	own := cookie(d.env)
	t := newTunnel(d.env, d.policy, c, local, remote, own, true)
	t.sa.cookieI, t.sa.began = own, now
	t.setup.initialContact = d.up[c.Name] == 0
	d.Adopt(t)
	return t
}

// Adopt puts a tunnel into the index, such as a restored one.
func (d *Demux) Adopt(t *Tunnel) {
	t.demux, t.pool = d, d.pool
	if d.pool != nil && t.internal.IsValid() && t.conn.V1.Config.Role == ike.ModeConfigServer {
		d.pool.Hold(t.id, t.internal)
	}
	d.tunnels[t.id] = t
	d.index(t)
}

// Forget takes a tunnel out of the index. One that is not there is no error.
func (d *Demux) Forget(t *Tunnel) {
	if d.tunnels[t.id] != t {
		return
	}
	d.unindex(t)
	delete(d.tunnels, t.id)
}

// ByID returns the tunnel of that name, nil when it is not here.
func (d *Demux) ByID(id ipsec.TunnelID) *Tunnel { return d.tunnels[id] }

// BySPI returns the tunnel with this cookie of ours, nil when there is none.
func (d *Demux) BySPI(s ipsec.IKESPI) *Tunnel { return d.byCookie[s] }

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
	e := entry{cookies: t.LocalSPIs()}
	for _, sa := range t.all() {
		if sa.first != (firstKey{}) {
			e.firsts = append(e.firsts, sa.first)
		}
	}
	switch {
	case t.setup == nil:
		e.peer = peerKey{t.conn.Name, t.principal()}
	case !t.initiator:
		e.from = t.sa.first.remote.Addr()
	}
	if old, known := d.entries[t.id]; known && e.equal(old) {
		return
	}
	d.unindex(t)
	d.entries[t.id] = e
	for _, c := range e.cookies {
		d.byCookie[c] = t
	}
	for _, f := range e.firsts {
		d.byFirst[f] = t
	}
	if e.peer != (peerKey{}) {
		d.byPeer[e.peer] = append(d.byPeer[e.peer], t)
		d.up[e.peer.connection]++
	}
	if e.from.IsValid() {
		d.half++
		d.perSource[e.from]++
		d.env.Stats.HalfOpen++
		d.env.Stats.HalfOpenPeak = max(d.env.Stats.HalfOpenPeak, d.env.Stats.HalfOpen)
	}
}

func (d *Demux) unindex(t *Tunnel) {
	e, ok := d.entries[t.id]
	if !ok {
		return
	}
	delete(d.entries, t.id)
	for _, c := range e.cookies {
		if d.byCookie[c] == t {
			delete(d.byCookie, c)
		}
	}
	for _, f := range e.firsts {
		if d.byFirst[f] == t {
			delete(d.byFirst, f)
		}
	}
	if e.peer != (peerKey{}) {
		d.byPeer[e.peer] = slices.DeleteFunc(d.byPeer[e.peer], func(o *Tunnel) bool { return o == t })
		if len(d.byPeer[e.peer]) == 0 {
			delete(d.byPeer, e.peer)
		}
		decrement(d.up, e.peer.connection)
	}
	if e.from.IsValid() {
		d.half--
		d.env.Stats.HalfOpen--
		decrement(d.perSource, e.from)
	}
}

func (e entry) equal(o entry) bool {
	return e.from == o.from && e.peer == o.peer && slices.Equal(e.cookies, o.cookies) && slices.Equal(e.firsts, o.firsts)
}

func decrement[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}
