package ike

import "github.com/evergate/evergate/ike/wire"

// refusal is what a step would take back if the dataplane refused an SA of it.
type refusal struct {
	sa    *ikeSA
	child *childSA
	// exchange is that of the response that announces the child, and rest what
	// it says besides; zero when we are the initiator.
	exchange wire.ExchangeType
	rest     []wire.Payload
}

// onRefused takes a pair back that the dataplane did not take. Nothing of the
// last Ready after Install was carried out, so the peer has not been told: as
// the responder we tell it something else under the same message ID, as the
// initiator we delete what it has installed.
func (t *Tunnel) onRefused(in Refused) {
	t.env.Stats.Refused++
	t.env.Stats.Failures[FailDataplane]++
	t.log().Warn("dataplane refused an sa", "sa", in.ID.String(), "error", in.Err)
	last, r := t.last, t.refusal
	t.refusal = nil
	t.out.Move, t.out.Publish = last.Move, last.Publish
	t.out.Remove = append(t.out.Remove, last.Remove...)
	t.out.Send = last.Send
	c := t.childByID(in.ID)
	if c == nil {
		return
	}
	if r == nil || r.child != c {
		t.closeChild(c)
		return
	}
	for _, o := range t.children {
		if o.successor == c.in && o.state != childGone {
			o.successor, o.state = 0, childUp
			t.cancel(func(k task) bool { return k.spi == o.in })
			t.retryRekey(task{kind: taskRekeyChild, spi: o.in}, o)
		}
	}
	if r.exchange != 0 {
		t.answerAgain(r)
	} else {
		t.takeBackRequest(r.sa)
		t.orphan(c.in)
	}
	t.remove(c)
}

// answerAgain replaces the response that was not sent.
func (t *Tunnel) answerAgain(r *refusal) {
	t.out.Send = nil
	r.sa.recvID--
	t.respond(r.sa, r.exchange, append(r.rest, &wire.Notify{Type: wire.NoAdditionalSAs})...)
}

// takeBackRequest frees the window from a request that the last step made and
// nobody sent.
func (t *Tunnel) takeBackRequest(sa *ikeSA) {
	if p := sa.pending; p != nil && p.step+1 == t.steps {
		sa.pending = nil
		sa.sendID = p.id
		p.offer.wipe()
		t.out.Send = nil
	}
}
