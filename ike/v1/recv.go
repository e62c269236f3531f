package v1

import (
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1/wire"
)

// onDatagram is the way in. Nothing of phase 2 is trusted before its HASH has been
// checked; what is not encrypted can only be about phase 1.
func (t *Tunnel) onDatagram(d ike.Datagram) {
	t.from = d
	h, err := wire.ParseHeader(d.Payload)
	if err == nil && h.Next == wire.PayloadFragment && !h.Encrypted() {
		whole := t.join(d.Payload)
		if whole == nil {
			return
		}
		t.from.Payload = whole
		h, err = wire.ParseHeader(whole)
	}
	if err != nil {
		t.drop(ike.DropMalformed)
		return
	}
	sa := t.lookup(h)
	if sa == nil {
		t.drop(ike.DropUnknownSPI)
		return
	}
	switch h.Exchange {
	case wire.MainMode, wire.Aggressive:
		t.onPhase1(sa, h)
	case wire.QuickMode, wire.Transaction:
		t.onPhase2(sa, h)
	case wire.Informational:
		t.onInformational(sa, h)
	default:
		t.drop(ike.DropUnexpected)
	}
}

// onInformational handles notifications and deletions (RFC 2409 section 5.7).
//
// They are not acknowledged, and nothing keeps a copy from being sent again by
// anybody. So they move no address, and they prove nothing about the peer's life,
// apart from the numbered ones of dead peer detection.
func (t *Tunnel) onInformational(sa *isakmpSA, h wire.Header) {
	if !h.Encrypted() {
		t.onClear(sa)
		return
	}
	last := sa.lastBlock
	if last == nil && sa.main != nil {
		last = sa.main.iv // phase 1 is not over
	}
	if sa.keys == nil || last == nil || h.MessageID == 0 || sa.stage == stageDead {
		t.drop(ike.DropUnexpected)
		return
	}
	x := t.exchange(sa, h.MessageID)
	chain, _, ok := t.unseal(sa, sa.keys.ExchangeIV(last, h.MessageID), nil)
	if !ok && x != nil {
		chain, _, ok = t.unseal(sa, x.iv, nil)
	}
	if !ok {
		t.drop(ike.DropIntegrity)
		return
	}
	sa.proven = true
	for _, p := range chain.Payloads {
		switch p := p.(type) {
		case *wire.Delete:
			t.onDelete(p)
		case *wire.Notify:
			t.onNotify(sa, h, p)
		}
		if t.state == ike.StateClosed {
			return
		}
	}
}

// onClear handles a notification that anybody may have sent. An initiator that
// waits for the first answer believes in a refusal, as there can be no better
// one.
func (t *Tunnel) onClear(sa *isakmpSA) {
	t.drop(ike.DropUnprotected)
	m, err := wire.Decode(t.from.Payload)
	if err != nil {
		return
	}
	n := wire.Find[*wire.Notify](m.Payloads)
	if n == nil || !n.Kind.IsError() {
		return
	}
	if n.Kind == wire.InvalidCookie {
		t.env.Stats.InvalidSPIsIn++
	}
	if sa.initiator && sa.phase1 != nil && sa.main.step == 1 {
		t.log.Warn("peer refused phase 1", "notify", n.Kind.String(), "remote", t.remote,
			"offered", acceptedNames([]*ike.Connection{t.conn}, true), "check", "proposal and dhgrp against the peer's")
		t.refusePhase1(sa, failureOf(n.Kind), &PeerError{Notify: n.Kind, During: sa.main.kind.String()})
	}
}

// onNotify handles an authentic notification. h is of the message that it came in.
func (t *Tunnel) onNotify(sa *isakmpSA, h wire.Header, n *wire.Notify) {
	switch {
	case n.Kind == wire.RUThere:
		t.onProbe(sa, h.MessageID, n)
	case n.Kind == wire.RUThereAck:
		t.onProbeAnswer(sa, n)
	case n.Kind == wire.Connected:
		if x := t.exchange(sa, h.MessageID); x != nil && x.initiator && x.quick != nil && x.step >= 3 && x.forgetAt.IsZero() {
			t.connected(x)
		}
	case n.Kind == wire.ResponderLifetime:
		t.onLifetime(sa, n)
	case n.Kind.IsError():
		t.onError(sa, n)
	default:
		t.log.Debug("notification ignored", "notify", n.Kind.String())
	}
}

// onLifetime shortens what the peer says ends earlier.
func (t *Tunnel) onLifetime(sa *isakmpSA, n *wire.Notify) {
	if n.Protocol == wire.ProtocolISAKMP {
		list, err := wire.ParseAttributes(n.Data)
		if err != nil {
			return
		}
		var life lifeReader
		for _, a := range list {
			v, ok := a.Uint()
			ok = ok && (a.Type == p1LifeType && life.kind(v) || a.Type == p1LifeDuration && life.duration(v))
			if !ok {
				return
			}
		}
		sa.shorten(t.env, life.time)
		t.publish()
		return
	}
	spi, ok := wire.ParseSPI(n.SPI)
	c := t.childByOut(spi)
	if less, readable := readLifetime(n); ok && readable && c != nil {
		c.life.Hard = shorter(c.life.Hard, less)
		c.life = jittered(t.env, ipsec.Lifetime{Hard: c.life.Hard, Soft: c.conf.Lifetime.Soft})
		c.softAt, c.hardAt = after(c.born, c.life.Soft.Time), after(c.born, c.life.Hard.Time)
		t.publish()
	}
}

// onError handles a refusal: of phase 1, or of a quick mode of ours.
func (t *Tunnel) onError(sa *isakmpSA, n *wire.Notify) {
	if sa.stage == stagePhase1 || t.setup != nil {
		t.log.Warn("peer refused phase 1", "notify", n.Kind.String(), "remote", t.remote, "check", "psksecret, localid and peerid")
		t.refusePhase1(sa, failureOf(n.Kind), &PeerError{Notify: n.Kind, During: sa.main.kind.String()})
		return
	}
	for _, x := range t.exchanges {
		if x.sa != sa || !x.initiator || x.quick == nil || !x.forgetAt.IsZero() {
			continue
		}
		t.env.Stats.Failures[failureOf(n.Kind)]++
		t.log.Warn("peer refused the child sa", "child", x.quick.conf.Name, "notify", n.Kind.String(), "check", adviceFor(n.Kind))
		x.waiting = false
		t.abandon(x)
		return
	}
	t.log.Warn("peer reports an error", "notify", n.Kind.String(), "remote", t.remote)
}

// onDelete handles the end of SAs at the peer.
func (t *Tunnel) onDelete(d *wire.Delete) {
	for _, b := range d.SPIs {
		switch d.Protocol {
		case wire.ProtocolESP:
			if spi, ok := wire.ParseSPI(b); ok {
				if c := t.childByOut(spi); c != nil {
					t.peerDeleted(c)
				}
			}
		case wire.ProtocolISAKMP:
			for _, sa := range t.all() {
				if string(b) == string(wire.Cookies(sa.cookieI, sa.cookieR)) {
					t.peerDeletedISAKMP(sa)
					break
				}
			}
		default: // AH, which we have none of
		}
		if t.state == ike.StateClosed {
			return
		}
	}
}

// peerDeletedISAKMP ends an ISAKMP SA. The ESP SAs live on as long as there is
// another one, or one on its way.
func (t *Tunnel) peerDeletedISAKMP(sa *isakmpSA) {
	if sa != t.sa {
		if sa.stage < stageUp {
			t.candidateFailed(sa)
			return
		}
		t.forget(sa)
		return
	}
	for _, o := range t.others {
		if o.stage == stageUp || o.stage == stageReplaced {
			o.stage, o.giveUpAt = stageUp, o.hardAt
			t.swap(o)
			t.forget(sa)
			return
		}
	}
	if t.candidate() != nil {
		sa.stage = stageDead
		t.dropExchanges(func(x *exchange) bool { return x.sa == sa })
		t.publish()
		return
	}
	if t.setup != nil {
		t.fail(ike.FailPeer)
	}
	t.log.Info("peer deleted the tunnel", "remote", t.remote)
	t.finish(ike.ErrDeletedByPeer)
}
