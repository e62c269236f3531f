package v1

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/v1/keymat"
	"github.com/evergate/evergate/ike/v1/wire"
)

// Quick mode (RFC 2409 section 5.5):
//
//	1  HDR*, HASH(1), SA, Ni [, KE ] [, IDci, IDcr ] -->
//	2                 <--  HDR*, HASH(2), SA, Nr [, KE ] [, IDci, IDcr ]
//	3  HDR*, HASH(3)                                 -->
//
// The responder receives on the new pair before it sends 2, and sends on it when 3
// has come; the initiator does both before it sends 3.

// quick is what a quick mode knows until it is over.
type quick struct {
	conf      *ike.Child
	began     uint64    // the tunnel's generation then
	spi       ipsec.SPI // our inbound SPI
	ni, nr    []byte
	ke        *suite.KE // nil without PFS
	group     ipsec.GroupID
	selectors ipsec.Selectors // ours: local and remote
}

// startQuick sends message 1.
func (t *Tunnel) startQuick(k task, conf *ike.Child, selectors ipsec.Selectors) {
	q := &quick{conf: conf, began: t.generation, ni: nonce(t.env), selectors: selectors, group: t.quickGroup(k, conf)}
	payloads, err := t.offerQuick(q)
	if err != nil {
		t.env.Stats.Failures[ike.FailOther]++
		t.log.Warn("quick mode could not be begun", "child", conf.Name, "error", err)
		return
	}
	x := t.begin(t.sa, wire.QuickMode, k)
	x.quick = q
	if !t.emitHashed(x, true, nil, payloads...) {
		t.dropExchanges(func(o *exchange) bool { return o == x })
	}
}

// offerQuick makes the payloads behind the HASH of message 1.
func (t *Tunnel) offerQuick(q *quick) ([]wire.Payload, error) {
	offer := t.quickOffer(q)
	if len(offer) == 0 {
		return nil, fmt.Errorf("ike/v1: child %s has no proposal that IKEv1 can offer", q.conf.Name)
	}
	var err error
	if q.spi, err = t.childSPI(); err != nil {
		return nil, err
	}
	payloads := []wire.Payload{phase2Offer(offer, q.spi), &wire.Nonce{Data: q.ni}}
	if q.group != ipsec.GroupNone {
		if q.ke, err = suite.NewKE(q.group, t.env.Rand); err != nil {
			return nil, err
		}
		payloads = append(payloads, &wire.KE{Data: q.ke.Public()})
	}
	ids, err := selectorIDs(q.selectors.Local[0], q.selectors.Remote[0])
	if err != nil {
		return nil, err
	}
	payloads = append(payloads, ids...)
	return append(payloads, t.natOriginal(q.conf.Mode, true)...), nil
}

// quickGroup is the key exchange method that a quick mode of ours is to have. There
// is one in each, and the peer cannot ask for another: a rekeying has that of the
// pair that it replaces, which the peer agreed to, all others have the preferred one.
func (t *Tunnel) quickGroup(k task, conf *ike.Child) ipsec.GroupID {
	all := choices(conf, t.nat.encap)
	if c := t.childByIn(k.spi); k.kind == taskRekeyChild && c != nil {
		if slices.ContainsFunc(all, func(o phase2Choice) bool { return o.child.Group == c.group }) {
			return c.group
		}
	}
	if len(all) == 0 {
		return ipsec.GroupNone
	}
	return all[0].child.Group
}

// quickOffer are the choices with the key exchange method of q.
func (t *Tunnel) quickOffer(q *quick) []phase2Choice {
	return slices.DeleteFunc(choices(q.conf, t.nat.encap), func(c phase2Choice) bool { return c.child.Group != q.group })
}

func selectorIDs(initiator, responder ipsec.TrafficSelector) ([]wire.Payload, error) {
	i, err := wire.SelectorID(initiator)
	if err != nil {
		return nil, err
	}
	r, err := wire.SelectorID(responder)
	if err != nil {
		return nil, err
	}
	return []wire.Payload{i, r}, nil
}

// onPhase2 handles a message of quick mode or of a transaction.
func (t *Tunnel) onPhase2(sa *isakmpSA, h wire.Header) {
	digest := sha256.Sum256(t.from.Payload)
	x := t.exchange(sa, h.MessageID)
	switch {
	case !sa.alive() || h.MessageID == 0 || !h.Encrypted():
		t.drop(ike.DropUnexpected)
		return
	case x != nil && x.step > 0 && digest == x.heard:
		t.repeatAnswer(x)
		return
	case x != nil && (!x.forgetAt.IsZero() || x.kind != h.Exchange):
		t.drop(ike.DropMessageID)
		return
	}
	iv := sa.keys.ExchangeIV(sa.lastBlock, h.MessageID)
	var prefix []byte
	if x != nil {
		iv = x.iv
		prefix = x.prefix()
	}
	chain, next, ok := t.unseal(sa, iv, prefix)
	if x != nil && x.kind == wire.QuickMode && !x.initiator && x.step == 2 {
		ok = t.proves3(x, chain)
	}
	if !ok {
		t.drop(ike.DropIntegrity)
		return
	}
	if x == nil {
		if x = t.accept(sa, h); x == nil {
			return
		}
	}
	t.heard(sa)
	sa.proven = true
	x.iv, x.heard, x.waiting = next, digest, false
	x.step++
	if h.Exchange == wire.Transaction {
		t.onTransaction(x, chain.Payloads)
		return
	}
	t.onQuick(x, h, chain.Payloads)
}

// prefix is what the HASH of the next message covers in front of its payloads: the
// initiator's nonce in HASH(2).
func (x *exchange) prefix() []byte {
	if x.kind == wire.QuickMode && x.initiator && x.step == 1 {
		return x.quick.ni
	}
	return nil
}

// unseal decrypts the message that is being handled and checks its HASH, which
// must come first (RFC 2409 section 5.5). Where it does not verify, the chain is
// that of HASH(3) or nothing.
func (t *Tunnel) unseal(sa *isakmpSA, iv, prefix []byte) (wire.Chain, []byte, bool) {
	m, err := wire.Decode(t.from.Payload)
	if err != nil {
		return wire.Chain{}, nil, false
	}
	plain, next, err := sa.keys.Decrypt(iv, m.Sealed)
	if err != nil {
		return wire.Chain{}, nil, false
	}
	chain, err := wire.DecodeChain(m.Header.Next, plain)
	if err != nil {
		return wire.Chain{}, nil, false
	}
	hash, ok := chain.Payloads[0].(*wire.Hash)
	if !ok {
		return wire.Chain{}, nil, false
	}
	return chain, next, keymat.Equal(hash.Data, sa.keys.Hash1(m.Header.MessageID, prefix, chain.AfterFirst))
}

// proves3 checks HASH(3).
func (t *Tunnel) proves3(x *exchange, chain wire.Chain) bool {
	hash := wire.Find[*wire.Hash](chain.Payloads)
	return hash != nil && keymat.Equal(hash.Data, x.sa.keys.Hash3(x.id, x.quick.ni, x.quick.nr))
}

// onQuick handles an authentic message of a quick mode.
func (t *Tunnel) onQuick(x *exchange, h wire.Header, payloads []wire.Payload) {
	switch {
	case x.initiator && x.step == 2:
		t.quick2(x, h, payloads)
	case x.initiator && x.step == 4: // the peer's fourth: CONNECTED
		t.connected(x)
	case !x.initiator && x.step == 1:
		t.quick1(x, payloads)
	case !x.initiator && x.step == 3:
		t.quick3(x)
	default:
		t.drop(ike.DropUnexpected)
	}
}

// makeChild makes the pair that a quick mode agreed on.
func (t *Tunnel) makeChild(x *exchange, choice phase2Choice, out ipsec.SPI, shared ipsec.Key) (*childSA, error) {
	q := x.quick
	c := &childSA{
		conf: q.conf, in: q.spi, out: out, initiator: x.initiator, mode: choice.mode, selectors: q.selectors,
		inID:       ipsec.SAID{SPI: q.spi, Dst: t.local.Addr(), Proto: ipsec.ESP},
		outID:      ipsec.SAID{SPI: out, Dst: t.remote.Addr(), Proto: ipsec.ESP},
		algorithms: choice.child.Algorithms, group: choice.child.Group, began: q.began,
	}
	if encap := t.encapPorts(); encap != nil {
		c.outID.Port = encap.RemotePort
	}
	from := keymat.Child{Algorithms: c.algorithms, Protocol: uint8(wire.ProtocolESP), Shared: shared, Ni: q.ni, Nr: q.nr}
	var err error
	from.SPI = c.in
	if c.inKeys, err = x.sa.keys.Child(from); err != nil {
		return nil, err
	}
	from.SPI = c.out
	if c.outKeys, err = x.sa.keys.Child(from); err != nil {
		return nil, err
	}
	t.limit(c, choice.life)
	return c, nil
}

// limit starts the lifetime of c: the shorter one of ours and the peer's.
func (t *Tunnel) limit(c *childSA, theirs ipsec.Limits) {
	own := c.conf.Lifetime
	if theirs.Time == 0 {
		theirs.Time = defaultLife
	}
	own.Hard = shorter(own.Hard, theirs)
	c.born = t.now
	c.life = jittered(t.env, own)
	c.softAt, c.hardAt = after(t.now, c.life.Soft.Time), after(t.now, c.life.Hard.Time)
}

// quick2 is the initiator's receipt of the answer.
func (t *Tunnel) quick2(x *exchange, h wire.Header, payloads []wire.Payload) {
	q := x.quick
	c, err := t.takeQuick(x, payloads)
	if err != nil {
		t.env.Stats.Failures[ike.FailOther]++
		t.log.Warn("peer's answer to quick mode was not acceptable", "child", q.conf.Name, "error", err)
		t.inform(x.sa, &wire.Delete{Protocol: wire.ProtocolESP, SPIs: [][]byte{wire.SPIBytes(q.spi)}})
		t.abandon(x)
		return
	}
	q.nr = bytes.Clone(wire.Find[*wire.Nonce](payloads).Data)
	if x.inherited {
		c.worn = true
		defer t.enqueue(task{kind: taskRekeyChild, spi: c.in})
	}
	t.installInbound(c)
	t.refusal = &refusal{x: x, child: c}
	commit := h.Flags&wire.FlagCommit != 0
	if !commit {
		t.startSendingSoon(c)
	}
	// "If set(1), the entity which did not set the Commit Bit MUST wait for an
	// Informational Exchange containing a Notify payload (with the CONNECTED
	// Notify Message) from the entity which set the Commit Bit." RFC 2408 section
	// 3.1. We repeat message 3 until it comes.
	hash := &wire.Hash{Data: x.sa.keys.Hash3(x.id, q.ni, q.nr)}
	t.emit(x, true, commit, hash)
	if !commit {
		t.over(x)
	}
}

// takeQuick makes the pair that an answer agreed on.
func (t *Tunnel) takeQuick(x *exchange, payloads []wire.Payload) (*childSA, error) {
	q := x.quick
	sa, nr := wire.Find[*wire.SA](payloads), wire.Find[*wire.Nonce](payloads)
	if sa == nil || nr == nil || len(sa.Proposals) != 1 || len(sa.Proposals[0].Transforms) != 1 {
		return nil, errors.New("ike/v1: an answer to quick mode lacks SA or NONCE")
	}
	q.nr = bytes.Clone(nr.Data)
	choice, proposal, ok := choosePhase2(t.quickOffer(q), sa)
	if !ok {
		return nil, fmt.Errorf("ike/v1: the peer chose %s, which we did not offer", choiceNames(readAll(sa)))
	}
	spi, ok := wire.ParseSPI(proposal.SPI)
	if !ok || spi < ipsec.MinSPI {
		return nil, fmt.Errorf("ike/v1: the peer's SPI is %x", proposal.SPI)
	}
	if err := q.checkIDs(payloads); err != nil {
		return nil, err
	}
	var shared ipsec.Key
	if q.ke != nil {
		ke := wire.Find[*wire.KE](payloads)
		if ke == nil {
			return nil, errors.New("ike/v1: an answer to quick mode lacks KE")
		}
		var err error
		if shared, err = q.ke.Shared(ke.Data); err != nil {
			return nil, err
		}
		defer shared.Wipe()
	}
	if n := wire.FindNotify(payloads, wire.ResponderLifetime); n != nil && n.Protocol == wire.ProtocolESP {
		if less, ok := readLifetime(n); ok {
			choice.life = shorter(choice.life, less)
		}
	}
	return t.makeChild(x, choice, spi, shared)
}

// checkIDs holds the answer to the selectors that were asked for.
func (q *quick) checkIDs(payloads []wire.Payload) error {
	ids := wire.All[*wire.ID](payloads)
	if len(ids) == 0 {
		return nil
	}
	want := []ipsec.TrafficSelector{q.selectors.Local[0], q.selectors.Remote[0]}
	for i, id := range ids {
		s, err := id.Selector()
		if err != nil {
			return err
		}
		if i >= len(want) || s != want[i] {
			return fmt.Errorf("ike/v1: the peer answers with the selector %v", s)
		}
	}
	return nil
}

// quick3 is the responder's start: the peer has the pair.
func (t *Tunnel) quick3(x *exchange) {
	c := t.childByIn(x.quick.spi)
	if c == nil {
		t.dropExchanges(func(o *exchange) bool { return o == x })
		return
	}
	t.startSending(c)
	t.refusal = &refusal{x: x, child: c}
	t.heardLast(x)
	if x.flags&wire.FlagCommit != 0 {
		t.emitHashed(x, false, nil, &wire.Notify{Protocol: wire.ProtocolESP, SPI: wire.SPIBytes(c.in), Kind: wire.Connected})
	}
}

// connected lets us send on a pair whose responder has set the commit bit.
func (t *Tunnel) connected(x *exchange) {
	if c := t.childByIn(x.quick.spi); c != nil {
		t.startSending(c)
	}
	t.heardLast(x)
}

// refuseChild tells the peer why it does not get its pair.
func (t *Tunnel) refuseChild(x *exchange, n wire.NotifyType, f ike.Failure, cause error) {
	t.env.Stats.Failures[f]++
	t.log.Warn("child sa refused", "remote", t.remote, "remote_id", t.remoteID.String(), "notify", n.String(), "error", cause, "check", adviceFor(n))
	t.refuseQuick(x, n, 0)
	t.dropExchanges(func(o *exchange) bool { return o == x })
}

// refuseQuick sends the notification. Its SPI is the peer's, where it is known.
func (t *Tunnel) refuseQuick(x *exchange, n wire.NotifyType, spi ipsec.SPI) {
	p := &wire.Notify{Protocol: wire.ProtocolESP, Kind: n}
	if spi != 0 {
		p.SPI = wire.SPIBytes(spi)
	}
	t.inform(x.sa, p)
}

// quickFailed cleans up after a quick mode that came to nothing.
func (t *Tunnel) quickFailed(x *exchange) {
	if c := t.childByIn(x.quick.spi); c != nil && c.state == childPending {
		if x.initiator {
			// Only the commit bit kept us from sending; a peer that does not send
			// CONNECTED has the pair all the same.
			t.log.Warn("peer set the commit bit and did not say CONNECTED", "child", x.quick.conf.Name)
			t.startSending(c)
			return
		}
		t.remove(c)
		return
	}
	if x.task.kind == taskRekeyChild {
		t.again(x.task)
	}
}

func adviceFor(n wire.NotifyType) string {
	switch n {
	case wire.NoProposalChosen:
		return "phase 2 proposal and pfs group against the peer's"
	case wire.InvalidIDInformation:
		return "src-subnet and dst-subnet against the peer's"
	default:
		return "the peer's log"
	}
}
