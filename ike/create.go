package ike

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/wire"
)

// CREATE_CHILD_SA for Child SAs, RFC 7296 sections 1.3.1 and 1.3.3.

func (t *Tunnel) startCreate(k task) {
	conf := childNamed(t.conn, k.child)
	if conf == nil || t.live() >= maxChildren {
		t.log().Warn("child cannot be created", "child", k.child, "children", t.live())
		return
	}
	t.askChild(conf, k, nil)
}

func (t *Tunnel) startRekeyChild(k task) {
	old := t.childByIn(k.spi)
	if old == nil || old.state != childUp {
		return
	}
	if !old.sending {
		// It replaces another by the peer's rekey, and the peer may not have the
		// answer yet.
		t.again(k)
		return
	}
	t.askChild(old.conf, k, old)
}

// askChild sends the request for a new pair, or for a successor of old.
func (t *Tunnel) askChild(conf *Child, k task, old *childSA) {
	o, payloads, err := t.offerChild(conf, childWish{want: k.want, single: k.single, like: old, group: k.group, nonce: t.env.nonce()})
	if err != nil {
		t.log().Warn("child could not be offered", "child", conf.Name, "error", err)
		return
	}
	if old != nil {
		payloads = append([]wire.Payload{&wire.Notify{Protocol: wire.ProtocolESP, SPI: wire.SPIBytes(old.in), Type: wire.RekeySA}}, payloads...)
	}
	t.send(t.sa, wire.CreateChildSA, k, o, payloads...)
}

// onChildResponse takes the answer to a request for a pair.
func (t *Tunnel) onChildResponse(sa *ikeSA, r *request, payloads []wire.Payload) {
	defer r.offer.wipe()
	old := t.childByIn(r.task.spi)
	conf := childNamed(t.conn, r.task.child)
	if r.task.kind == taskRekeyChild {
		if conf = t.confOf(r, old); conf == nil {
			// Both the old pair and the peer's replacement are gone: nothing is
			// left that a new pair would be for. The peer's half, if it made one,
			// goes too.
			t.discardAnswer(r, payloads)
			return
		}
	}
	if n := firstError(payloads); n != nil {
		t.onChildError(r, old, conf, n)
		return
	}
	nonce := wire.Find[*wire.Nonce](payloads)
	if nonce == nil {
		t.childUnusable(conf.Name, nil, errors.New("ike: CREATE_CHILD_SA response without nonce"))
		return
	}
	x := childExchange{sa: sa, ni: r.offer.nonce, nr: nonce.Data}
	c, err := t.takeChild(conf, r.offer, x, payloads)
	if err == nil && r.inherited {
		c.worn = true
		defer t.enqueue(task{kind: taskRekeyChild, spi: c.in})
	}
	switch {
	case err != nil:
		t.childUnusable(conf.Name, c, err)
		t.retryRekey(r.task, old)
	case slices.Contains(r.offer.dead, c.out):
		// The peer has replaced the old pair by one that it then deleted: it wants
		// neither.
		t.log().Info("child sa was deleted by the peer before its answer came", "child", conf.Name, "out", c.out.String())
		if old != nil {
			t.closeChild(old)
		}
	case r.task.kind == taskRekeyChild:
		t.onChildRekeyed(r, old, c, x)
	default:
		t.refusal = &refusal{sa: sa, child: c}
		t.installPair(c)
	}
}

// confOf is the configuration of the pair that a rekey of ours was for; nil when
// neither it nor the peer's replacement is there any more.
func (t *Tunnel) confOf(r *request, old *childSA) *Child {
	if old != nil {
		return old.conf
	}
	if v := r.offer.rival; v != nil {
		if c := t.childByIn(v.child); c != nil {
			return c.conf
		}
	}
	for _, c := range t.children {
		if c.in == r.task.spi {
			return c.conf
		}
	}
	return nil
}

// discardAnswer tells the peer to delete the pair that it made for nothing.
func (t *Tunnel) discardAnswer(r *request, payloads []wire.Payload) {
	sa := wire.Find[*wire.SA](payloads)
	if firstError(payloads) != nil || sa == nil || len(sa.Proposals) == 0 {
		return
	}
	t.log().Info("child sa is no longer wanted", "in", r.offer.spi.String())
	t.orphan(r.offer.spi)
}

// onChildError handles a refusal of the peer.
func (t *Tunnel) onChildError(r *request, old *childSA, conf *Child, n *wire.Notify) {
	if r.offer.rival != nil {
		// "When A receives this error, it already knows there was simultaneous
		// rekeying, so it can ignore the error message." RFC 7296 section 2.8.1.
		if old != nil {
			old.state = childReplaced
		}
		return
	}
	switch n.Type {
	case wire.TemporaryFailure:
		t.env.Stats.TemporaryFailuresIn++
		t.again(r.task)
	case wire.InvalidKEPayload:
		t.retryGroup(r, old, conf, n)
	case wire.ChildSANotFound:
		t.onChildLost(old)
	case wire.SinglePairRequired:
		t.onSinglePair(r, conf, n)
	default:
		t.childRefused(conf.Name, n)
		t.retryRekey(r.task, old)
	}
}

// retryGroup asks again with the group that the peer wants, if we offered it.
func (t *Tunnel) retryGroup(r *request, old *childSA, conf *Child, n *wire.Notify) {
	if len(n.Data) == 2 {
		group := ipsec.GroupID(binary.BigEndian.Uint16(n.Data))
		if group != r.task.group && r.task.tries < maxInitTries && offersGroup(conf.Proposals, group) {
			k := r.task
			k.group = group
			k.tries++
			t.enqueue(k)
			return
		}
	}
	t.childRefused(conf.Name, n)
	t.retryRekey(r.task, old)
}

// onChildLost handles CHILD_SA_NOT_FOUND: the peer lacks the pair that we wanted
// to rekey. What is left of it carries nothing, so a new one is made from
// scratch.
func (t *Tunnel) onChildLost(old *childSA) {
	if old == nil {
		return
	}
	if next := t.childByIn(old.successor); next != nil {
		t.retire(old)
		return
	}
	t.log().Warn("peer does not know the child sa", "child", old.conf.Name, "in", old.in.String())
	t.remove(old)
	t.enqueue(task{kind: taskCreate, child: old.conf.Name})
}

// onSinglePair asks again for the packet's own addresses only.
//
// "The SINGLE_PAIR_REQUIRED error indicates that a CREATE_CHILD_SA request is
// unacceptable because its sender is only willing to accept Traffic Selectors
// specifying a single pair of addresses. The requestor is expected to respond by
// requesting an SA for only the specific traffic it is trying to forward." RFC
// 7296 section 2.9.
func (t *Tunnel) onSinglePair(r *request, conf *Child, n *wire.Notify) {
	want := r.task.want
	if want == nil || r.task.single || len(want.Local) == 0 || len(want.Remote) == 0 {
		t.childRefused(conf.Name, n)
		return
	}
	k := r.task
	k.single = true
	t.enqueue(k)
}

// retryRekey tries a failed rekey again while the old pair lives.
func (t *Tunnel) retryRekey(k task, old *childSA) {
	if old != nil && old.state == childUp {
		t.again(k)
	}
}

// childUnusable drops an answer that we cannot accept. Where the peer has
// installed its half, it is told to delete it.
func (t *Tunnel) childUnusable(name string, c *childSA, err error) {
	t.env.Stats.Failures[FailOther]++
	t.log().Warn("peer's answer for the child sa was not acceptable", "child", name, "error", err)
	if c != nil {
		t.orphan(c.in)
	}
}

// orphan deletes a pair of which only the peer has its half.
func (t *Tunnel) orphan(in ipsec.SPI) {
	t.enqueue(task{kind: taskDeleteChild, spi: in})
}

// onCreateChild answers a CREATE_CHILD_SA request.
func (t *Tunnel) onCreateChild(sa *ikeSA, payloads []wire.Payload) {
	offered := wire.Find[*wire.SA](payloads)
	nonce := wire.Find[*wire.Nonce](payloads)
	if offered == nil || nonce == nil || len(offered.Proposals) == 0 {
		t.badSyntax(sa, wire.CreateChildSA, errors.New("ike: CREATE_CHILD_SA request lacks SA or nonce"))
		return
	}
	if err := sa.prf().CheckNonce(nonce.Data); err != nil {
		t.badSyntax(sa, wire.CreateChildSA, err)
		return
	}
	t.forgetCandidate(sa)
	if offered.Proposals[0].Protocol == wire.ProtocolIKE {
		t.onRekeyIKE(sa, offered, nonce.Data, payloads)
		return
	}
	var old *childSA
	if n := wire.FindNotify(payloads, wire.RekeySA); n != nil {
		var err *LocalError
		if old, err = t.rekeyed(sa, n); err != nil {
			t.respond(sa, wire.CreateChildSA, err.payload())
			return
		}
	}
	// "If a peer receives a request to create or rekey a Child SA when it is
	// currently rekeying the IKE SA, it SHOULD reply with TEMPORARY_FAILURE."
	// RFC 7296 section 2.25.2. The same serves for one that is being closed.
	if t.rekeyingIKE(sa) || t.closing(sa) {
		t.putOff(sa)
		return
	}
	x := childExchange{sa: sa, ni: nonce.Data, nr: t.env.nonce()}
	c, answer, err := t.answerChild(x, old, payloads)
	if err != nil {
		t.refuseChild(err)
		t.respond(sa, wire.CreateChildSA, err.payload())
		return
	}
	t.refusal = &refusal{sa: sa, child: c, exchange: wire.CreateChildSA}
	if old == nil {
		t.installPair(c)
	} else {
		t.replace(sa, old, c, x)
	}
	t.respond(sa, wire.CreateChildSA, answer...)
}

// putOff asks the peer to try again later.
func (t *Tunnel) putOff(sa *ikeSA) {
	t.env.Stats.TemporaryFailuresOut++
	t.env.Stats.Collisions++
	t.respond(sa, wire.CreateChildSA, &wire.Notify{Type: wire.TemporaryFailure})
}

// refuseChild logs why a peer does not get its child.
func (t *Tunnel) refuseChild(err *LocalError) {
	if err.Notify == wire.InvalidKEPayload {
		return // it will ask again
	}
	t.env.Stats.Failures[err.Failure]++
	t.log().Warn("child sa refused", "remote", t.remote, "remote_id", t.remoteID.String(), "notify", err.Notify.String(),
		"error", err.Cause, "check", adviceFor(err.Notify))
}

// payload is the notification that the peer is told.
func (e *LocalError) payload() wire.Payload {
	n := &wire.Notify{Type: e.Notify, Data: bytes.Clone(e.Data)}
	if len(e.spi) > 0 {
		n.Protocol, n.SPI = wire.ProtocolESP, e.spi
	}
	return n
}
