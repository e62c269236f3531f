package ike

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/wire"
)

// INFORMATIONAL exchanges: Delete, dead peer detection, notifications (RFC 7296
// sections 1.4 and 2.4).

// onInformational answers a request.
func (t *Tunnel) onInformational(sa *ikeSA, payloads []wire.Payload) {
	var closed []ipsec.SPI
	for _, p := range payloads {
		switch p := p.(type) {
		case *wire.Delete:
			if p.Protocol == wire.ProtocolIKE {
				t.onDeleteIKE(sa)
				return
			}
			if p.Protocol == wire.ProtocolESP {
				closed = append(closed, t.onDelete(sa, p.SPIs)...)
			}
		case *wire.Notify:
			if p.Type == wire.AuthenticationFailed {
				t.log().Warn("peer does not accept our proof of identity", "remote", t.remote, "check", "psksecret and localid")
				t.respond(sa, wire.Informational)
				t.fail(FailPSK)
				t.finish(&PeerError{Notify: p.Type, During: "IKE_AUTH"})
				return
			}
			t.log().Debug("notification ignored", "notify", p.Type.String())
		}
	}
	if len(closed) == 0 {
		t.respond(sa, wire.Informational)
		return
	}
	t.respond(sa, wire.Informational, &wire.Delete{Protocol: wire.ProtocolESP, SPIs: closed})
}

// onDelete closes the pairs whose outbound SPIs the peer lists, and returns our
// own SPIs for the response.
//
// RFC 7296 section 2.25.1: for one that we are closing ourselves, or do not know,
// the reply has no Delete payload; for one that we are rekeying it has.
func (t *Tunnel) onDelete(sa *ikeSA, spis []ipsec.SPI) []ipsec.SPI {
	var closed []ipsec.SPI
	for _, spi := range spis {
		c := t.childByOut(spi)
		if c == nil {
			t.noteDeleted(sa, spi)
			continue
		}
		if c.state == childDeleting {
			t.env.Stats.Collisions++
			if !t.deleteSent(c.in) {
				closed = append(closed, c.in)
			}
		} else {
			closed = append(closed, c.in)
		}
		t.cancel(func(k task) bool { return k.spi == c.in && k.spi != 0 })
		t.retire(c)
	}
	return closed
}

// deleteSent tells whether our own Delete of a pair is under way.
func (t *Tunnel) deleteSent(in ipsec.SPI) bool {
	sent := func(sa *ikeSA) bool {
		return sa.pending != nil && sa.pending.task.kind == taskDeleteChild && sa.pending.task.spi == in
	}
	if sent(t.sa) {
		return true
	}
	for _, sa := range t.others {
		if sent(sa) {
			return true
		}
	}
	return false
}

// onDeleteIKE ends the IKE SA that the peer deletes, and the tunnel with it if
// that was the current one.
func (t *Tunnel) onDeleteIKE(sa *ikeSA) {
	t.respond(sa, wire.Informational)
	if sa == t.sa {
		// "If a peer receives a request to close an IKE SA that it is currently
		// rekeying, it SHOULD reply as usual, and forget about its own rekeying
		// request." RFC 7296 section 2.25.2; and section 2.8.2: the peer may not
		// have noticed that both were at it, then its new IKE SA goes on.
		if t.rekeyingIKE(sa) && sa.pending.offer.rival != nil {
			t.adoptRival(sa, sa.pending.offer.rival)
		} else if next := t.candidate(sa.successor); next != nil {
			t.confirm(next)
		}
	}
	if sa == t.sa {
		if t.state == StateClosing {
			t.finish(t.why)
			return
		}
		t.log().Info("peer deleted the tunnel", "remote", t.remote)
		t.finish(ErrDeletedByPeer)
		return
	}
	sa.role = roleDead
	sa.giveUpAt = t.now.Add(failedTime)
	if sa.pending != nil {
		sa.pending.offer.wipe()
		sa.pending = nil
	}
}

// startDeleteIKE tells the peer that sa is over.
func (t *Tunnel) startDeleteIKE(sa *ikeSA) {
	if sa != t.sa {
		sa.role = roleClosing
		sa.giveUpAt = t.now.Add(replacedTime)
		if sa.pending != nil {
			return // its window is not free; it is forgotten in time
		}
	}
	t.send(sa, wire.Informational, task{kind: taskDeleteIKE}, offer{}, &wire.Delete{Protocol: wire.ProtocolIKE})
}

func (t *Tunnel) onIKEDeleted(sa *ikeSA) {
	if sa == t.sa {
		t.finish(t.why)
		return
	}
	t.forget(sa)
}

// startDeleteChild tells the peer that a pair is over. The pair may be one of
// which only the peer has its half.
func (t *Tunnel) startDeleteChild(k task) {
	t.send(t.sa, wire.Informational, k, offer{}, &wire.Delete{Protocol: wire.ProtocolESP, SPIs: []ipsec.SPI{k.spi}})
}

// onChildDeleted ends the pair that we have asked the peer to close. Whatever
// the answer says, the peer cannot use it any more.
func (t *Tunnel) onChildDeleted(r *request, _ []wire.Payload) {
	if c := t.childByIn(r.task.spi); c != nil {
		t.retire(c)
	}
}

// probeDue is when dead peer detection probes, zero for never.
//
// RFC 7296 section 2.4 makes any fresh protected packet a sign of life, so ESP
// counts as much as IKE. What the last owner heard counts for nothing after a
// takeover: the peer may have died with it, and then it is to be flushed.
func (t *Tunnel) probeDue() time.Time {
	if t.state != StateUp || t.conn.DPD.Mode == DPDOff {
		return time.Time{}
	}
	if !t.probeAt.IsZero() {
		return t.probeAt
	}
	heard := later(t.lastIn, t.espIn)
	if t.conn.DPD.Mode == DPDOnDemand && !t.espOut.After(heard) {
		return time.Time{}
	}
	return heard.Add(t.conn.DPD.interval())
}

// onActivity notes when ESP passed. What came since a takeover answers its probe.
func (t *Tunnel) onActivity(in Activity) {
	t.espIn, t.espOut = later(t.espIn, in.In), later(t.espOut, in.Out)
	if in.In.After(t.takenAt) {
		t.probeAt = time.Time{}
	}
}

func (t *Tunnel) startProbe() {
	t.env.Stats.Probes++
	t.probeAt = time.Time{}
	t.send(t.sa, wire.Informational, task{kind: taskProbe}, offer{})
}

// expire ends a tunnel whose IKE SA reached its hard lifetime.
func (t *Tunnel) expire() {
	t.why = ErrExpired
	t.close("hard lifetime")
}
