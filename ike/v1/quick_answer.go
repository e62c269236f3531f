package v1

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/v1/wire"
)

// quick1 is the responder's answer.
func (t *Tunnel) quick1(x *exchange, payloads []wire.Payload) {
	if t.state != ike.StateUp || x.sa.stage == stageXAuth || x.sa.stage == stageConfig {
		t.dropExchanges(func(o *exchange) bool { return o == x })
		t.drop(ike.DropUnexpected)
		return
	}
	sa, ni := wire.Find[*wire.SA](payloads), wire.Find[*wire.Nonce](payloads)
	if sa == nil || ni == nil {
		t.refuseChild(x, wire.PayloadMalformed, ike.FailSyntax, errors.New("ike/v1: a quick mode lacks SA or NONCE"))
		return
	}
	m, bad := t.matchQuick(sa, payloads)
	if bad != nil {
		t.refuseChild(x, bad.notify, bad.failure, bad.cause)
		return
	}
	q := &quick{conf: m.conf, began: t.generation, ni: bytes.Clone(ni.Data), nr: nonce(t.env), selectors: m.selectors, group: m.choice.child.Group}
	x.quick = q
	shared, answer, err := t.answerKE(q, wire.Find[*wire.KE](payloads))
	if err != nil {
		t.refuseChild(x, wire.InvalidKeyInformation, ike.FailKE, err)
		return
	}
	defer shared.Wipe()
	if q.spi, err = t.childSPI(); err != nil {
		t.refuseChild(x, wire.NoProposalChosen, ike.FailOther, err)
		return
	}
	c, err := t.makeChild(x, m.choice, m.spi, shared)
	if err != nil {
		t.refuseChild(x, wire.NoProposalChosen, ike.FailOther, err)
		return
	}
	t.installInbound(c)
	t.refusal = &refusal{x: x, child: c}
	m.proposal.SPI = wire.SPIBytes(q.spi)
	out := append([]wire.Payload{&wire.SA{Proposals: []wire.Proposal{m.proposal}}, &wire.Nonce{Data: q.nr}}, answer...)
	out = append(out, m.ids...)
	out = append(out, t.natOriginal(c.mode, false)...)
	if notify := t.lifetimeNotice(c, m.choice.life); notify != nil {
		out = append(out, notify)
	}
	if t.conn.V1.Commit {
		x.flags |= wire.FlagCommit
	}
	t.emitHashed(x, true, q.ni, out...)
}

// lifetimeNotice tells an initiator that its SAs end earlier here than it has
// offered (RFC 2407 section 4.6.3.1), nil when they do not.
func (t *Tunnel) lifetimeNotice(c *childSA, offered ipsec.Limits) wire.Payload {
	own := c.conf.Lifetime.Hard
	less := ipsec.Limits{}
	if own.Time > 0 && (offered.Time == 0 || own.Time < offered.Time) {
		less.Time = own.Time
	}
	if own.Bytes > 0 && (offered.Bytes == 0 || own.Bytes < offered.Bytes) {
		less.Bytes = own.Bytes
	}
	if less == (ipsec.Limits{}) {
		return nil
	}
	return &wire.Notify{
		Protocol: wire.ProtocolESP, SPI: wire.SPIBytes(c.in), Kind: wire.ResponderLifetime,
		Data: attributes(lifeAttributes(less)...),
	}
}

// quickMatch is what we choose from a request.
type quickMatch struct {
	conf      *ike.Child
	selectors ipsec.Selectors
	choice    phase2Choice
	proposal  wire.Proposal
	spi       ipsec.SPI // the peer's
	ids       []wire.Payload
}

// refused is why a request is refused.
type refused struct {
	notify  wire.NotifyType
	failure ike.Failure
	cause   error
}

// matchQuick finds the configured child for a request: the first whose selectors
// contain what is asked for, and that has a proposal in common with it. IKEv1
// narrows nothing: the answer has the very selectors that were asked for.
func (t *Tunnel) matchQuick(sa *wire.SA, payloads []wire.Payload) (quickMatch, *refused) {
	asked, ids, err := t.askedSelectors(payloads)
	if err != nil {
		return quickMatch{}, &refused{wire.InvalidIDInformation, ike.FailSelectors, err}
	}
	if len(t.children) >= maxChildren {
		return quickMatch{}, &refused{wire.NoProposalChosen, ike.FailOther, fmt.Errorf("ike/v1: the tunnel has %d children already", len(t.children))}
	}
	bad := &refused{wire.InvalidIDInformation, ike.FailSelectors, fmt.Errorf("ike/v1: the peer asks for %s, we accept %s", selectorNames(asked), childSelectors(t.conn.Children))}
	for _, conf := range t.conn.Children {
		selectors := asked
		if conf.Mode == ipsec.Transport {
			selectors = t.undoNAT(asked)
		}
		if !conf.Selectors.Contains(selectors) || !t.mayUse(selectors) {
			continue
		}
		m := quickMatch{conf: conf, selectors: selectors, ids: ids}
		var ok bool
		m.choice, m.proposal, ok = choosePhase2(choices(conf, t.nat.encap), sa)
		if !ok {
			bad = &refused{wire.NoProposalChosen, ike.FailNoProposal, fmt.Errorf("ike/v1: child %s: the peer offers %s, we accept %s",
				conf.Name, choiceNames(readAll(sa)), choiceNames(choices(conf, t.nat.encap)))}
			continue
		}
		if m.spi, ok = wire.ParseSPI(m.proposal.SPI); !ok || m.spi < ipsec.MinSPI {
			bad = &refused{wire.InvalidSPI, ike.FailSyntax, fmt.Errorf("ike/v1: the peer's SPI is %x", m.proposal.SPI)}
			continue
		}
		return m, nil
	}
	return quickMatch{}, bad
}

// mayUse holds a peer to the address that it was assigned.
func (t *Tunnel) mayUse(s ipsec.Selectors) bool {
	if !t.internal.IsValid() || t.conn.V1.Config.Role != ike.ModeConfigServer {
		return true
	}
	return hostSelector(t.internal).Contains(s.Remote[0])
}

// askedSelectors are what the Identification payloads say, seen from here, with
// the payloads to answer with.
//
// "If ISAKMP is acting as a client negotiator on behalf of another party, the
// identities of the parties MUST be passed as IDci and then IDcr." RFC 2409
// section 5.5. Without them they are the addresses of the two ends.
func (t *Tunnel) askedSelectors(payloads []wire.Payload) (ipsec.Selectors, []wire.Payload, error) {
	ids := wire.All[*wire.ID](payloads)
	if len(ids) == 0 {
		return ipsec.Selectors{
			Local:  []ipsec.TrafficSelector{hostSelector(t.local.Addr())},
			Remote: []ipsec.TrafficSelector{hostSelector(t.remote.Addr())},
		}, nil, nil
	}
	if len(ids) != 2 {
		return ipsec.Selectors{}, nil, fmt.Errorf("ike/v1: %d identities in quick mode, want 2", len(ids))
	}
	i, err := ids[0].Selector()
	if err != nil {
		return ipsec.Selectors{}, nil, err
	}
	r, err := ids[1].Selector()
	if err != nil {
		return ipsec.Selectors{}, nil, err
	}
	return ipsec.Selectors{Local: []ipsec.TrafficSelector{r}, Remote: []ipsec.TrafficSelector{i}}, []wire.Payload{ids[0], ids[1]}, nil
}

// undoNAT replaces the addresses that a NAT has changed, in selectors of transport
// mode (RFC 3947 section 5.2).
func (t *Tunnel) undoNAT(s ipsec.Selectors) ipsec.Selectors {
	if t.nat.remote {
		s.Remote = readdress(s.Remote, t.remote.Addr())
	}
	if t.nat.local {
		s.Local = readdress(s.Local, t.local.Addr())
	}
	return s
}

func readdress(list []ipsec.TrafficSelector, a netip.Addr) []ipsec.TrafficSelector {
	out := make([]ipsec.TrafficSelector, len(list))
	for i, s := range list {
		if s.Min == s.Max && s.Min.Is4() == a.Unmap().Is4() {
			s.Min, s.Max = a.Unmap(), a.Unmap()
		}
		out[i] = s
	}
	return out
}

// answerKE does our half of a key exchange and finishes it.
func (t *Tunnel) answerKE(q *quick, theirs *wire.KE) (ipsec.Key, []wire.Payload, error) {
	if q.group == ipsec.GroupNone {
		return ipsec.Key{}, nil, nil
	}
	if theirs == nil {
		return ipsec.Key{}, nil, fmt.Errorf("ike/v1: the peer offers %v without a public value", q.group)
	}
	ke, err := suite.NewKE(q.group, t.env.Rand)
	if err != nil {
		return ipsec.Key{}, nil, err
	}
	defer ke.Wipe()
	shared, err := ke.Shared(theirs.Data)
	if err != nil {
		return ipsec.Key{}, nil, err
	}
	return shared, []wire.Payload{&wire.KE{Data: ke.Public()}}, nil
}
