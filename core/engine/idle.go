package engine

import (
	"slices"

	"github.com/evergate/evergate/core/ipsec"
)

// idleSA is an outbound SA of a pair that we have, which is not in the dataplane, and
// whose numbers are not all free: it was in use before, here or at another member, or
// the group has agreed on a lease of it. When it comes into the dataplane it must not
// begin with its first number (invariants I1, I2).
type idleSA struct {
	// pair is the inbound SA. With that, this is forgotten.
	pair, id ipsec.SAID
	// above is the number up to which it may have been sent on, the highest that there
	// is where nobody knows; ceiling is up to where we may send.
	above, ceiling uint64
}

// sequence is what it may send: nothing where above is the highest number, and nothing
// yet where its lease ends there.
func (o idleSA) sequence(a ipsec.Algorithms) ipsec.Sequence {
	last := a.MaxSequence()
	if o.above >= last {
		return ipsec.Sequence{Next: last, Ceiling: last - 1}
	}
	return ipsec.Sequence{Next: o.above + 1, Ceiling: max(o.above, o.ceiling)}
}

// restingSA is an outbound SA that goes out of use.
func restingSA(pair ipsec.SAID, out ipsec.SA) idleSA {
	above, last := out.Sequence.Ceiling, out.Algorithms.MaxSequence()
	if above == 0 || out.Sequence.Next >= last {
		above = last // it had no ceiling, or no number
	}
	return idleSA{pair: pair, id: out.ID, above: above, ceiling: above}
}

// unheldSA is an outbound SA of a pair that is not ours to send on: it never does.
func unheldSA(pair, out ipsec.SAID, a ipsec.Algorithms) idleSA {
	return idleSA{pair: pair, id: out, above: a.MaxSequence()}
}

// idleOf returns the place of an SA among those that are idle, nil when its numbers are
// all free.
func (t *tunnel) idleOf(id ipsec.SAID) *idleSA {
	i := slices.IndexFunc(t.idle, func(o idleSA) bool { return o.id == id })
	if i < 0 {
		return nil
	}
	return &t.idle[i]
}

// setIdle notes it, in the place of what was known.
func (t *tunnel) setIdle(o idleSA) {
	if have := t.idleOf(o.id); have != nil {
		*have = o
		return
	}
	t.idle = append(t.idle, o)
}

// forgetIdle forgets the outbound SA of an inbound one that is gone.
func (t *tunnel) forgetIdle(pair ipsec.SAID) {
	t.idle = slices.DeleteFunc(t.idle, func(o idleSA) bool { return o.pair == pair })
}

// rest notes how far an outbound SA may have counted that is taken out. Where its
// pair stays it may come back, and then goes on above (invariant I2).
func (t *tunnel) rest(e *sa) {
	if e.desc.Direction == ipsec.Inbound {
		t.forgetIdle(e.desc.ID)
	} else if pair := t.pairOf(e); pair != nil {
		t.setIdle(restingSA(pair.desc.ID, e.desc))
	}
}

// raiseIdle notes a lease of an outbound SA that is not in the dataplane yet. What lies
// below it others may have used.
func (t *tunnel) raiseIdle(id ipsec.SAID, seq ipsec.Sequence) {
	i := slices.IndexFunc(t.sas, func(e *sa) bool { return e.desc.Direction == ipsec.Inbound && e.desc.Pair == id.SPI })
	if i < 0 {
		return // the pair is gone
	}
	in := t.sas[i].desc
	o := idleSA{pair: in.ID, id: id}
	if have := t.idleOf(id); have != nil {
		o = *have
	}
	o.above, o.ceiling = max(o.above, max(seq.Next, 1)-1), max(o.ceiling, seq.Ceiling)
	if seq.Next >= in.Algorithms.MaxSequence() {
		o.above = seq.Next
	}
	t.setIdle(o)
}
