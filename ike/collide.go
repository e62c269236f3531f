package ike

import (
	"bytes"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/wire"
)

// Exchanges that cross each other, RFC 7296 sections 2.8.1, 2.8.2 and 2.25.
//
// "[...] the SA created with the lowest of the four nonces used in the two
// exchanges SHOULD be closed by the endpoint that created it." RFC 7296 section
// 2.8.1.

// lowest compares as RFC 7296 section 2.8.1 does: "[...] an octet-by-octet
// comparison (instead of, for instance, comparing the nonces as large integers).
// [...] If you reach the end of one nonce, that nonce is the lower one."
func lowest(a, b []byte) []byte {
	if bytes.Compare(a, b) <= 0 {
		return bytes.Clone(a)
	}
	return bytes.Clone(b)
}

// rekeyingIKE tells whether our rekey of sa is under way.
func (t *Tunnel) rekeyingIKE(sa *ikeSA) bool {
	return sa.pending != nil && sa.pending.task.kind == taskRekeyIKE
}

// makingChild tells whether a pair that we asked for on sa may come to be.
func (t *Tunnel) makingChild(sa *ikeSA) bool {
	return sa.pending != nil && (sa.pending.task.kind == taskCreate || sa.pending.task.kind == taskRekeyChild)
}

// busyWithChild tells whether an exchange of ours about a Child SA is under way.
func (t *Tunnel) busyWithChild(sa *ikeSA) bool {
	return t.makingChild(sa) || sa.pending != nil && sa.pending.task.kind == taskDeleteChild
}

// closing tells whether sa, or the whole tunnel, is on its way out, so that
// nothing new is to be made on it.
func (t *Tunnel) closing(sa *ikeSA) bool {
	return t.state != StateUp || sa.role == roleReplaced || sa.role == roleClosing || sa.successor != 0
}

// collidesChild notes that the peer has rekeyed the pair that we are rekeying.
//
// "At this point, A knows there is a simultaneous rekeying happening. However,
// it cannot yet know which of the exchanges will have the lowest nonce, so it
// will just note the situation and respond as usual." RFC 7296 section 2.8.1.
func (t *Tunnel) collidesChild(sa *ikeSA, old, c *childSA, x childExchange) bool {
	r := sa.pending
	if r == nil || r.task.kind != taskRekeyChild || r.task.spi != old.in {
		return false
	}
	t.env.Stats.Collisions++
	r.offer.rival = &rival{nonce: lowest(x.ni, x.nr), child: c.in}
	return true
}

// settleChild decides between our new pair and the peer's. Only the nonces count:
// the peer's may be gone or replaced by now, and the peer decides by them too.
func (t *Tunnel) settleChild(v *rival, old, c *childSA, x childExchange) {
	if bytes.Compare(lowest(x.ni, x.nr), v.nonce) < 0 {
		// Ours is the redundant one. It is never sent on; the old pair is the
		// peer's to delete, and if it has done so theirs is sending already.
		t.installInbound(c)
		t.closeChild(c)
		if old != nil {
			old.state = childReplaced
		}
		t.env.Stats.ChildRekeys++
		return
	}
	t.refusal = &refusal{sa: x.sa, child: c}
	t.installPair(c)
	t.env.Stats.ChildRekeys++
	if old != nil {
		old.successor = c.in
		t.closeChild(old)
	}
}

// collidesIKE notes that the peer has rekeyed the IKE SA that we are rekeying.
func (t *Tunnel) collidesIKE(sa, next *ikeSA, low []byte) bool {
	if !t.rekeyingIKE(sa) {
		return false
	}
	t.env.Stats.Collisions++
	next.role = roleCandidate
	t.others = append(t.others, next)
	sa.pending.offer.rival = &rival{nonce: low, ike: next.local()}
	return true
}

// settleIKE decides between our new IKE SA and the peer's.
//
// "[...] the new IKE SA containing the lowest nonce SHOULD be deleted by the
// node that created it, and the other surviving new IKE SA MUST inherit all the
// Child SAs." RFC 7296 section 2.8.2.
func (t *Tunnel) settleIKE(old, ours *ikeSA, v *rival, low []byte) {
	theirs := t.candidate(v.ike)
	t.env.Stats.IKERekeys++
	if theirs != nil && bytes.Compare(low, v.nonce) < 0 {
		t.succeed(old, theirs)
		t.others = append(t.others, ours)
		t.startDeleteIKE(ours)
		return
	}
	t.succeed(old, ours)
	if theirs != nil {
		theirs.role = roleReplaced
		theirs.giveUpAt = t.now.Add(replacedTime)
	}
	t.startDeleteIKE(old)
}

// adoptRival goes over to the peer's new IKE SA, because our own rekey came to
// nothing.
func (t *Tunnel) adoptRival(old *ikeSA, v *rival) {
	if theirs := t.candidate(v.ike); theirs != nil {
		t.env.Stats.IKERekeys++
		t.succeed(old, theirs)
	}
}

// candidate finds the IKE SA of a collision, nil when the peer has deleted it.
func (t *Tunnel) candidate(spi ipsec.IKESPI) *ikeSA {
	for _, sa := range t.others {
		if sa.local() == spi && sa.role == roleCandidate {
			return sa
		}
	}
	return nil
}

// noteDeleted remembers what the peer deletes while an answer of its is on the
// way: it may be about just that pair.
func (t *Tunnel) noteDeleted(sa *ikeSA, spi ipsec.SPI) {
	r := sa.pending
	if t.makingChild(sa) && len(r.offer.dead) < wire.MaxDeleteSPIs {
		r.offer.dead = append(r.offer.dead, spi)
	}
}
