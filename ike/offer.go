package ike

import (
	"fmt"
	"slices"
	"strings"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/wire"
)

// What the payloads of a Child SA say, in IKE_AUTH and CREATE_CHILD_SA alike
// (RFC 7296 sections 1.2 and 1.3).

// childWish is what we ask for.
type childWish struct {
	want   *ipsec.Selectors // of the packet that asked, nil when none did
	single bool             // want only
	like   *childSA         // the pair that is rekeyed, nil for a new one
	group  ipsec.GroupID    // after INVALID_KE_PAYLOAD
	nonce  []byte
	first  bool // in IKE_AUTH: no key exchange of its own, no nonce
}

// offerChild draws an SPI and makes the payloads from SA to the notifications.
func (t *Tunnel) offerChild(conf *Child, w childWish) (offer, []wire.Payload, error) {
	o := offer{nonce: w.nonce, proposals: espProposals(conf.Proposals, w.first), transport: conf.Mode == ipsec.Transport}
	spi, err := t.childSPI()
	if err != nil {
		return offer{}, nil, err
	}
	o.spi = spi
	if o.selectors, err = t.offeredSelectors(conf, w); err != nil {
		return offer{}, nil, err
	}
	sa := &wire.SA{}
	for i, p := range o.proposals {
		sa.Proposals = append(sa.Proposals, wire.NewProposal(uint8(i+1), wire.ProtocolESP, wire.SPIBytes(spi), p))
	}
	payloads := []wire.Payload{sa}
	if !w.first {
		payloads = append(payloads, &wire.Nonce{Data: o.nonce})
	}
	group, pfs := firstGroup(o.proposals)
	if w.group != ipsec.GroupNone {
		group = w.group
	}
	if pfs {
		if o.ke, err = suite.NewKE(group, t.env.Rand); err != nil {
			return offer{}, nil, err
		}
		payloads = append(payloads, &wire.KE{Group: group, Data: o.ke.Public()})
	}
	payloads = append(payloads,
		&wire.TSi{TS: wire.TS{Selectors: o.selectors.Local}},
		&wire.TSr{TS: wire.TS{Selectors: o.selectors.Remote}})
	return o, append(payloads, childNotifies(o.transport)...), nil
}

// childNotifies go with every offer and answer. We do not check what TFC padding
// hides (RFC 7296 section 1.3.1), so we do without.
func childNotifies(transport bool) []wire.Payload {
	out := []wire.Payload{&wire.Notify{Type: wire.ESPTFCPaddingNotSupported}}
	if transport {
		out = append(out, &wire.Notify{Type: wire.UseTransportMode})
	}
	return out
}

// offeredSelectors are those of the pair that is rekeyed, else the configured
// ones with what the packet needs in front.
//
// RFC 7296 section 2.9.2 asks that a rekey never leaves the pair with less than
// the traffic that uses it.
func (t *Tunnel) offeredSelectors(conf *Child, w childWish) (ipsec.Selectors, error) {
	if w.like != nil {
		return w.like.selectors, nil
	}
	s := conf.Selectors
	if conf.Mode == ipsec.Transport {
		var ok bool
		if s, ok = hostPair(s, t.local.Addr(), t.remote.Addr()); !ok {
			return s, fmt.Errorf("ike: child %s: transport mode between %v and %v is outside of its selectors", conf.Name, t.local.Addr(), t.remote.Addr())
		}
	}
	switch {
	case w.want == nil:
	case w.single:
		s = *w.want
	default:
		s = ipsec.Selectors{
			Local:  slices.Concat(w.want.Local, s.Local),
			Remote: slices.Concat(w.want.Remote, s.Remote),
		}
	}
	return s, nil
}

// espProposals are ps as the wire wants them: with an ESN transform each, which
// RFC 7296 section 3.3.3 makes mandatory for ESP, and without key exchange where
// the IKE SA's own serves. Two that differ in nothing else are one there.
func espProposals(ps []ipsec.Proposal, first bool) []ipsec.Proposal {
	if first {
		ps = suite.WithoutKE(ps)
	}
	out := make([]ipsec.Proposal, 0, len(ps))
	for _, p := range ps {
		if len(p.OfType(ipsec.TypeESN)) == 0 {
			p = ipsec.Proposal{Transforms: append(slices.Clone(p.Transforms), ipsec.Transform{Type: ipsec.TypeESN, ID: ipsec.NoESN})}
		}
		if !slices.ContainsFunc(out, func(o ipsec.Proposal) bool { return slices.Equal(o.Transforms, p.Transforms) }) {
			out = append(out, p)
		}
	}
	return out
}

// childExchange is what the keys of a child come from.
type childExchange struct {
	sa     *ikeSA // whose SK_d it is
	ni, nr []byte
	first  bool
}

// takeChild makes the pair that a response to our offer agreed on. With an error
// the pair is not nil when the peer has installed it and must be told to delete
// it.
func (t *Tunnel) takeChild(conf *Child, o offer, x childExchange, payloads []wire.Payload) (*childSA, error) {
	sa, tsi, tsr := wire.Find[*wire.SA](payloads), wire.Find[*wire.TSi](payloads), wire.Find[*wire.TSr](payloads)
	if sa == nil || tsi == nil || tsr == nil || len(sa.Proposals) != 1 {
		return nil, fmt.Errorf("ike: child %s: response lacks SA, TSi or TSr", conf.Name)
	}
	p := sa.Proposals[0]
	spi, ok := p.ESPSPI()
	if p.Protocol != wire.ProtocolESP || !ok || spi < ipsec.MinSPI {
		return nil, fmt.Errorf("ike: child %s: response has no SPI for ESP", conf.Name)
	}
	c := t.newChild(conf, o.spi, spi, true)
	answer, ok := p.Offer()
	if !ok {
		return c, fmt.Errorf("ike: child %s: the peer chose a transform with unknown attributes", conf.Name)
	}
	if err := suite.Verify(o.proposals, int(p.Number)-1, answer); err != nil {
		return c, err
	}
	chosen, err := suite.ChildFromProposal(answer)
	if err != nil {
		return c, err
	}
	shared, err := takeKE(o.ke, chosen.Group, wire.Find[*wire.KE](payloads))
	if err != nil {
		return c, err
	}
	defer shared.Wipe()
	c.selectors = ipsec.Selectors{Local: tsi.Selectors, Remote: tsr.Selectors}
	if err := t.agreeMode(c, o, payloads); err != nil {
		return c, err
	}
	if !o.selectors.Contains(c.selectors) || len(c.selectors.Local) == 0 || len(c.selectors.Remote) == 0 {
		return c, fmt.Errorf("ike: child %s: the peer's selectors (%s) are not within ours (%s)",
			conf.Name, selectorNames(c.selectors), selectorNames(o.selectors))
	}
	return c, t.keyChild(c, x, chosen, shared)
}

// takeKE finishes the key exchange of a response.
func takeKE(ours *suite.KE, group ipsec.GroupID, theirs *wire.KE) (ipsec.Key, error) {
	if group == ipsec.GroupNone {
		return ipsec.Key{}, nil
	}
	if ours == nil || theirs == nil || ours.Group() != group || theirs.Group != group {
		return ipsec.Key{}, fmt.Errorf("ike: the peer chose %v, but no keys were exchanged for it", group)
	}
	return ours.Shared(theirs.Data)
}

// agreeMode settles tunnel or transport mode of a response.
//
// "If the responder declines the request, the Child SA will be established in
// tunnel mode. If this is unacceptable to the initiator, the initiator MUST
// delete the SA." RFC 7296 section 1.3.1.
func (t *Tunnel) agreeMode(c *childSA, o offer, payloads []wire.Payload) error {
	agreed := wire.FindNotify(payloads, wire.UseTransportMode) != nil
	if agreed != o.transport {
		return fmt.Errorf("ike: child %s: the peer wants transport mode: %t, we: %t", c.conf.Name, agreed, o.transport)
	}
	if o.transport {
		c.mode = ipsec.Transport
		c.selectors = t.undoNAT(c.selectors)
	}
	return nil
}

// undoNAT replaces the addresses that a NAT has changed, in selectors of
// transport mode.
func (t *Tunnel) undoNAT(s ipsec.Selectors) ipsec.Selectors {
	if t.nat.remote {
		s.Remote = readdress(s.Remote, t.remote.Addr())
	}
	if t.nat.local {
		s.Local = readdress(s.Local, t.local.Addr())
	}
	return s
}

// answerChild makes the pair that a request asks for, and the payloads of the
// response. old is the pair that it replaces, nil for a new one.
func (t *Tunnel) answerChild(x childExchange, old *childSA, payloads []wire.Payload) (*childSA, []wire.Payload, *LocalError) {
	sa, tsi, tsr := wire.Find[*wire.SA](payloads), wire.Find[*wire.TSi](payloads), wire.Find[*wire.TSr](payloads)
	if sa == nil || tsi == nil || tsr == nil {
		return nil, nil, refuse(wire.NoProposalChosen, FailSyntax, "request for a child lacks SA, TSi or TSr")
	}
	if t.live() >= maxChildren {
		return nil, nil, refuse(wire.NoAdditionalSAs, FailOther, "the tunnel has %d children already", t.live())
	}
	wanted := ipsec.Selectors{Local: tsr.Selectors, Remote: tsi.Selectors}
	transport := wire.FindNotify(payloads, wire.UseTransportMode) != nil
	m, lerr := t.matchChild(sa, wanted, transport, x.first, old)
	if lerr != nil {
		return nil, nil, lerr
	}
	shared, public, lerr := t.answerKE(m.chosen.Group, wire.Find[*wire.KE](payloads))
	if lerr != nil {
		return nil, nil, lerr
	}
	defer shared.Wipe()
	spi, err := t.childSPI()
	if err != nil {
		return nil, nil, refuse(wire.NoAdditionalSAs, FailOther, "%w", err)
	}
	c := t.newChild(m.conf, spi, m.spi, false)
	c.mode, c.selectors = m.mode, m.selectors
	if err := t.keyChild(c, x, m.chosen, shared); err != nil {
		return nil, nil, refuse(wire.NoProposalChosen, FailOther, "%w", err)
	}
	answer := []wire.Payload{&wire.SA{Proposals: []wire.Proposal{
		wire.NewProposal(m.number, wire.ProtocolESP, wire.SPIBytes(spi), m.proposal),
	}}}
	if !x.first {
		answer = append(answer, &wire.Nonce{Data: x.nr})
	}
	if public != nil {
		answer = append(answer, &wire.KE{Group: m.chosen.Group, Data: public})
	}
	answer = append(answer,
		&wire.TSi{TS: wire.TS{Selectors: c.selectors.Remote}},
		&wire.TSr{TS: wire.TS{Selectors: c.selectors.Local}})
	return c, append(answer, childNotifies(c.mode == ipsec.Transport)...), nil
}

// answerKE does our half of a key exchange and finishes it.
func (t *Tunnel) answerKE(group ipsec.GroupID, theirs *wire.KE) (ipsec.Key, []byte, *LocalError) {
	if group == ipsec.GroupNone {
		return ipsec.Key{}, nil, nil
	}
	if theirs == nil || theirs.Group != group {
		return ipsec.Key{}, nil, invalidKE(group)
	}
	ke, err := suite.NewKE(group, t.env.Rand)
	if err != nil {
		return ipsec.Key{}, nil, refuse(wire.NoProposalChosen, FailKE, "%w", err)
	}
	defer ke.Wipe()
	shared, err := ke.Shared(theirs.Data)
	if err != nil {
		return ipsec.Key{}, nil, refuse(wire.NoProposalChosen, FailKE, "%w", err)
	}
	return shared, ke.Public(), nil
}

// invalidKE asks for another group.
func invalidKE(group ipsec.GroupID) *LocalError {
	e := refuse(wire.InvalidKEPayload, FailKE, "the peer's key is for another group than %v", group)
	e.Data = []byte{byte(group >> 8), byte(group)}
	return e
}

// childMatch is what we choose from a request.
type childMatch struct {
	conf      *Child
	selectors ipsec.Selectors
	mode      ipsec.Mode
	number    uint8
	proposal  ipsec.Proposal
	chosen    suite.Child
	spi       ipsec.SPI // the peer's
}

// matchChild finds the configured child for a request: the first whose selectors
// and proposals fit. A rekey stays with the configuration of the old pair.
func (t *Tunnel) matchChild(sa *wire.SA, wanted ipsec.Selectors, transport, first bool, old *childSA) (childMatch, *LocalError) {
	confs := t.conn.Children
	if old != nil {
		confs = []*Child{old.conf}
	}
	var lerr *LocalError
	for _, conf := range confs {
		m := childMatch{conf: conf}
		asked := wanted
		if transport && conf.Mode == ipsec.Transport {
			m.mode = ipsec.Transport
			asked = t.undoNAT(wanted)
		}
		var ok bool
		if m.selectors, ok = overlap(conf.Selectors, asked); !ok {
			continue
		}
		if m.mode == ipsec.Transport {
			if m.selectors, ok = hostPair(m.selectors, t.local.Addr(), t.remote.Addr()); !ok {
				continue
			}
		}
		if err := m.choose(sa, first); err != nil {
			lerr = refuse(wire.NoProposalChosen, FailNoProposal, "child %s: %w", conf.Name, err)
			continue
		}
		return m, nil
	}
	if lerr == nil {
		lerr = refuse(wire.TSUnacceptable, FailSelectors, "the peer asks for %s, we accept %s", selectorNames(wanted), childSelectors(confs))
	}
	return childMatch{}, lerr
}

// choose selects a proposal.
func (m *childMatch) choose(sa *wire.SA, first bool) error {
	offered, from := offeredFor(sa, wire.ProtocolESP)
	if first {
		offered = suite.WithoutKE(offered)
	}
	proposal, i, err := suite.Select(espProposals(m.conf.Proposals, first), offered)
	if err != nil {
		return err
	}
	if m.chosen, err = suite.ChildFromProposal(proposal); err != nil {
		return err
	}
	spi, ok := from[i].ESPSPI()
	if !ok || spi < ipsec.MinSPI {
		return fmt.Errorf("ike: proposal %d has no SPI", from[i].Number)
	}
	m.proposal, m.number, m.spi = proposal, from[i].Number, spi
	return nil
}

// offeredFor returns the acceptable proposals of one protocol, and which of the
// payload they are.
func offeredFor(sa *wire.SA, p wire.ProtocolID) ([]ipsec.Proposal, []wire.Proposal) {
	var offered []ipsec.Proposal
	var from []wire.Proposal
	for _, w := range sa.Proposals {
		if w.Protocol != p {
			continue
		}
		if o, ok := w.Offer(); ok {
			offered, from = append(offered, o), append(from, w)
		}
	}
	return offered, from
}

func (t *Tunnel) newChild(conf *Child, in, out ipsec.SPI, initiator bool) *childSA {
	c := &childSA{
		conf: conf, in: in, out: out, initiator: initiator,
		inID:  ipsec.SAID{SPI: in, Dst: t.local.Addr(), Proto: ipsec.ESP},
		outID: ipsec.SAID{SPI: out, Dst: t.remote.Addr(), Proto: ipsec.ESP},
	}
	if encap := t.encapPorts(); encap != nil {
		c.outID.Port = encap.RemotePort
	}
	return c
}

// keyChild derives the keys of c and starts its lifetime.
func (t *Tunnel) keyChild(c *childSA, x childExchange, chosen suite.Child, shared ipsec.Key) error {
	keys, err := x.sa.prf().ChildKeys(x.sa.keys.D, chosen.Algorithms, shared, x.ni, x.nr)
	if err != nil {
		return err
	}
	c.algorithms, c.group = chosen.Algorithms, chosen.Group
	c.inKeys, c.outKeys = keys.Initiator, keys.Responder
	if c.initiator {
		c.inKeys, c.outKeys = keys.Responder, keys.Initiator
	}
	c.born = t.now
	c.life = jittered(t.env, c.conf.Lifetime)
	c.softAt, c.hardAt = after(t.now, c.life.Soft.Time), after(t.now, c.life.Hard.Time)
	return nil
}

func childSelectors(confs []*Child) string {
	names := make([]string, len(confs))
	for i, c := range confs {
		names[i] = c.Name + ": " + selectorNames(c.Selectors)
	}
	return strings.Join(names, ", or ")
}
