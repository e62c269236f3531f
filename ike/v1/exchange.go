package v1

import (
	"crypto/sha256"
	"slices"
	"time"

	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1/wire"
)

// exchange is one exchange: phase 1, a quick mode or a transaction. Several may
// be under way at once, unlike in IKEv2.
//
// Whoever waits for an answer repeats its message: the initiator always, and the
// responder where the exchange has a third message. The other one repeats its
// last message when the peer's last one comes again.
type exchange struct {
	kind      wire.ExchangeType
	sa        *isakmpSA
	id        uint32 // message ID; 0 for phase 1
	initiator bool
	flags     wire.Flags
	// step is the number of messages so far, sent or received.
	step uint8
	// iv is that of the next message, in either direction (RFC 2409 appendix B);
	// nil while nothing is encrypted.
	iv []byte

	// heard is the digest of the peer's last message.
	heard [sha256.Size]byte
	sent  [][]byte // our last message, datagram by datagram

	waiting  bool      // for the peer's answer
	nextAt   time.Time // of the next retransmission
	tries    int       // retransmissions so far
	forgetAt time.Time // of one that is over

	// inherited: the last owner began it, and may have had the answer.
	inherited bool

	task        task // what it is for, where we began it
	quick       *quick
	transaction *transaction

	unknown []byte // fields of a newer version's snapshot
}

func (x *exchange) wipe() {
	if x.quick != nil && x.quick.ke != nil {
		x.quick.ke.Wipe()
	}
}

// exchange finds an exchange of phase 2, nil when there is none.
func (t *Tunnel) exchange(sa *isakmpSA, id uint32) *exchange {
	for _, x := range t.exchanges {
		if x.sa == sa && x.id == id {
			return x
		}
	}
	return nil
}

// begin makes an exchange of phase 2 that we start.
func (t *Tunnel) begin(sa *isakmpSA, kind wire.ExchangeType, k task) *exchange {
	id := t.messageID(sa)
	x := &exchange{kind: kind, sa: sa, id: id, initiator: true, iv: sa.keys.ExchangeIV(sa.lastBlock, id), task: k}
	t.exchanges = append(t.exchanges, x)
	return x
}

// accept makes an exchange of phase 2 that the peer starts; nil when there are too
// many, or the message is a replay.
func (t *Tunnel) accept(sa *isakmpSA, h wire.Header) *exchange {
	if len(t.exchanges) >= maxExchanges {
		i := slices.IndexFunc(t.exchanges, func(x *exchange) bool { return !x.forgetAt.IsZero() })
		if i < 0 {
			t.drop(ike.DropUnexpected)
			return nil
		}
		t.exchanges = slices.Delete(t.exchanges, i, i+1)
	}
	if !sa.note(h.MessageID) {
		t.drop(ike.DropMessageID)
		return nil
	}
	if len(sa.used) >= maxUsed/2 {
		t.enqueue(task{kind: taskRekeyIKE})
	}
	x := &exchange{kind: h.Exchange, sa: sa, id: h.MessageID, iv: sa.keys.ExchangeIV(sa.lastBlock, h.MessageID)}
	t.exchanges = append(t.exchanges, x)
	return x
}

// heardLast ends an exchange with a message of the peer's: there is nothing that it
// could wait for, and so nothing to repeat, or the two ends would go on for ever.
func (t *Tunnel) heardLast(x *exchange) {
	x.sent = nil
	t.over(x)
}

// over ends an exchange; its last message can still be repeated.
func (t *Tunnel) over(x *exchange) {
	x.waiting = false
	x.forgetAt = t.now.Add(repeatTime)
	t.publish()
}

// dropExchanges forgets those that match.
func (t *Tunnel) dropExchanges(match func(*exchange) bool) {
	t.exchanges = slices.DeleteFunc(t.exchanges, func(x *exchange) bool {
		if !match(x) {
			return false
		}
		x.wipe()
		return true
	})
}

// emit sends the next message of an exchange; wait tells whether the peer is to
// answer it.
func (t *Tunnel) emit(x *exchange, seal, wait bool, payloads ...wire.Payload) bool {
	first, chain, err := wire.AppendChain(nil, payloads)
	if err != nil {
		t.log.Error("message could not be encoded", "exchange", x.kind.String(), "error", err)
		return false
	}
	msg := t.message(x, first, chain, seal)
	if len(msg) > wire.MaxMessage {
		t.log.Error("message is too long", "exchange", x.kind.String(), "octets", len(msg))
		return false
	}
	x.step++
	x.sent = t.split(msg)
	x.waiting, x.tries, x.nextAt = wait, 0, t.now.Add(t.interval(0))
	t.transmit(x.sent)
	t.publish()
	return true
}

// emitHashed is emit with a HASH in front that covers the payloads behind it, and
// what prefix says before them.
func (t *Tunnel) emitHashed(x *exchange, wait bool, prefix []byte, payloads ...wire.Payload) bool {
	_, rest, err := wire.AppendChain(nil, payloads)
	if err != nil {
		t.log.Error("message could not be encoded", "exchange", x.kind.String(), "error", err)
		return false
	}
	hash := &wire.Hash{Data: x.sa.keys.Hash1(x.id, prefix, rest)}
	return t.emit(x, true, wait, append([]wire.Payload{hash}, payloads...)...)
}

// message puts the header in front of a chain, and encrypts it.
func (t *Tunnel) message(x *exchange, first wire.PayloadType, chain []byte, seal bool) []byte {
	h := wire.Header{CookieI: x.sa.cookieI, CookieR: x.sa.cookieR, Exchange: x.kind, MessageID: x.id, Flags: x.flags}
	if seal {
		h.Flags |= wire.FlagEncryption
		chain, x.iv = x.sa.keys.Encrypt(x.iv, chain)
	}
	return append(h.Append(nil, first, wire.HeaderLen+len(chain)), chain...)
}

// inform sends a message that is not answered, on an ISAKMP SA of its own
// message ID (RFC 2409 section 5.7).
func (t *Tunnel) inform(sa *isakmpSA, payloads ...wire.Payload) {
	id := t.messageID(sa)
	x := &exchange{kind: wire.Informational, sa: sa, id: id, iv: sa.keys.ExchangeIV(sa.lastBlock, id)}
	published := t.out.Publish
	t.emitHashed(x, false, nil, payloads...)
	t.out.Publish = published // nothing of it is kept
}

// transmit hands datagrams to the caller. Each gets a copy, because the machine
// keeps what it may have to repeat.
func (t *Tunnel) transmit(packets [][]byte) {
	for _, p := range packets {
		t.out.Send = append(t.out.Send, ike.Datagram{Local: t.local, Remote: t.remote, Payload: slices.Clone(p)})
	}
	t.lastOut = t.now
}

// repeatAnswer sends the last message of an exchange again, because the peer has
// sent its own again.
func (t *Tunnel) repeatAnswer(x *exchange) {
	if len(x.sent) == 0 {
		return
	}
	t.env.Stats.Repeated++
	t.transmit(x.sent)
}

// interval is the time until the next retransmission.
func (t *Tunnel) interval(tries int) time.Duration {
	r := t.conn.Retransmit
	d, most := orDefault(r.First, 500*time.Millisecond), orDefault(r.Max, 30*time.Second)
	for ; tries > 0 && d < most; tries-- {
		d = min(2*d, most)
	}
	return d + spread(t.env, d/8)
}

// repeat retransmits the message of x, or gives up.
func (t *Tunnel) repeat(x *exchange) {
	if x.tries >= orDefault(t.conn.Retransmit.Tries, 5) {
		t.env.Stats.TimedOut++
		x.waiting = false
		t.giveUp(x)
		return
	}
	x.tries++
	x.nextAt = t.now.Add(t.interval(x.tries))
	t.env.Stats.Retransmitted++
	t.transmit(x.sent)
}

// giveUp ends an exchange that the peer does not go on with. Only what sets the
// tunnel up takes the tunnel with it: whether the peer of one that is up still
// lives is for dead peer detection to find out.
func (t *Tunnel) giveUp(x *exchange) {
	check := "that UDP ports 500 and 4500 reach the peer"
	if x.sa.phase1 != nil && x.sa.keys != nil {
		// It has answered before, and is silent to our proof of identity.
		check = "psksecret, and that UDP port 4500 reaches the peer"
	}
	t.log.Warn("peer did not answer", "exchange", x.kind.String(), "message", x.step, "transmissions", x.tries+1,
		"remote", t.remote, "check", check)
	switch {
	case t.setup != nil:
		t.fail(ike.FailTimeout)
		t.finish(ike.ErrTimeout)
	case x.sa.main == x:
		t.candidateFailed(x.sa)
	default:
		t.env.Stats.Failures[ike.FailTimeout]++
		t.abandon(x)
		t.suspect()
	}
}

// abandon ends an exchange of phase 2 that failed.
func (t *Tunnel) abandon(x *exchange) {
	t.dropExchanges(func(o *exchange) bool { return o == x })
	if x.quick != nil {
		t.quickFailed(x)
	}
	t.publish()
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}
