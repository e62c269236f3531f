package ike

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/wire"
)

// maxMessageID is where an IKE SA is rekeyed.
//
// "In the unlikely event that Message IDs grow too large to fit in 32 bits, the
// IKE SA MUST be closed or rekeyed." RFC 7296 section 2.2.
const maxMessageID = 1 << 31

// request is our one request in flight on an IKE SA.
//
// "An IKE endpoint MUST NOT exceed the peer's stated window size for
// transmitted IKE requests." RFC 7296 section 2.3. We stay at 1, whatever the
// peer allows.
type request struct {
	id       uint32
	exchange wire.ExchangeType
	task     task
	offer    offer
	packets  [][]byte // as they were sent; a repetition is the same octet by octet
	sentAt   time.Time
	nextAt   time.Time // of the next retransmission
	tries    int       // retransmissions so far
	step     uint64    // in which it was made: Refused may take it back
	// inherited: the last owner sent it, and may have had the answer.
	inherited bool
}

// offer is what a request of ours proposed, as far as the answer needs it.
type offer struct {
	nonce     []byte
	ke        *suite.KE // nil without
	spi       ipsec.SPI // our inbound SPI of the proposed child
	ikeSPI    ipsec.IKESPI
	proposals []ipsec.Proposal
	selectors ipsec.Selectors
	transport bool
	// rival is what the peer made meanwhile for the same purpose.
	rival *rival
	// dead are the peer's inbound SPIs that it deleted meanwhile: the answer on
	// its way may be about one of them.
	dead []ipsec.SPI
}

// rival is the other half of a collision: the exchange that the peer began for
// the SA that we are rekeying (RFC 7296 sections 2.8.1 and 2.8.2).
type rival struct {
	nonce []byte       // the lower one of its two
	child ipsec.SPI    // our inbound SPI of the pair that it made
	ike   ipsec.IKESPI // our SPI of the IKE SA that it made
}

func (o *offer) wipe() {
	if o.ke != nil {
		o.ke.Wipe()
	}
}

// send puts a request on the wire and into the window of sa, which must be
// free.
//
// "The Message ID is a 32-bit quantity, which is zero for the IKE_SA_INIT
// messages [...], and incremented for each subsequent exchange." RFC 7296
// section 2.2. It survives failover: the standby knows it before the request
// leaves, because Ready.Publish goes before Ready.Send.
func (t *Tunnel) send(sa *ikeSA, x wire.ExchangeType, tk task, o offer, payloads ...wire.Payload) bool {
	packets, err := t.encode(sa, sa.header(x, false, sa.sendID), payloads)
	if err != nil {
		t.log().Error("message could not be encoded", "exchange", x.String(), "error", err)
		o.wipe()
		return false
	}
	sa.pending = &request{id: sa.sendID, exchange: x, task: tk, offer: o, packets: packets, sentAt: t.now, step: t.steps}
	sa.sendID++
	sa.pending.nextAt = t.now.Add(t.interval(sa.pending))
	t.env.Stats.RequestsOut.count(x)
	t.transmit(t.local, t.remote, packets)
	t.publish()
	return true
}

// interval is the time until the next retransmission of r.
func (t *Tunnel) interval(r *request) time.Duration {
	if r.task.kind == taskProbe {
		return t.conn.DPD.interval()
	}
	d := t.conn.Retransmit.first()
	for n := r.tries; n > 0 && d < t.conn.Retransmit.max(); n-- {
		d = min(2*d, t.conn.Retransmit.max())
	}
	return d + t.env.spread(d/8)
}

func (t *Tunnel) maxTries(r *request) int {
	if r.task.kind == taskProbe {
		return t.conn.DPD.retries()
	}
	return t.conn.Retransmit.tries()
}

// repeat retransmits the request of sa, or gives up. It tells whether the tunnel
// goes on.
//
// RFC 7296 section 2.1: "The initiator MUST remember each request until it
// receives the corresponding response."
func (t *Tunnel) repeat(sa *ikeSA) bool {
	r := sa.pending
	if r.tries >= t.maxTries(r) {
		return t.giveUp(sa, r)
	}
	r.tries++
	r.nextAt = t.now.Add(t.interval(r))
	t.env.Stats.Retransmitted++
	if t.shrink(sa) {
		t.env.Stats.Refragmented++
	}
	if r.task.kind == taskProbe {
		t.env.Stats.Probes++
	}
	t.transmit(t.local, t.remote, r.packets)
	t.doubtSilence(sa)
	return true
}

func (t *Tunnel) giveUp(sa *ikeSA, r *request) bool {
	t.env.Stats.TimedOut++
	if sa != t.sa {
		// A predecessor; its successor's own exchanges tell whether the peer lives.
		t.forget(sa)
		return true
	}
	switch {
	case t.state == StateClosing:
		t.finish(t.why)
	case r.task.kind == taskProbe:
		t.env.Stats.DeadPeers++
		t.log().Warn("peer is dead", "unanswered", r.tries+1, "remote", t.remote)
		t.finish(ErrDeadPeer)
	default:
		t.log().Warn("peer did not answer", "exchange", r.exchange.String(), "transmissions", r.tries+1, "remote", t.remote,
			"check", "that UDP ports 500 and 4500 reach the peer")
		t.fail(FailTimeout)
		t.finish(ErrTimeout)
	}
	return false
}

// respond answers the request that is being handled and opens the window for
// the next one. The answer is kept for retransmissions of the request.
//
// "The responder MUST remember each response until it receives a request whose
// sequence number is larger than or equal to the sequence number in the
// response plus its window size." RFC 7296 section 2.1.
func (t *Tunnel) respond(sa *ikeSA, x wire.ExchangeType, payloads ...wire.Payload) {
	packets, err := t.encode(sa, sa.header(x, true, sa.recvID), payloads)
	if err != nil {
		t.log().Error("message could not be encoded", "exchange", x.String(), "error", err)
		return
	}
	sa.answer = make([][]byte, len(packets))
	for i, p := range packets {
		sa.answer[i] = bytes.Clone(p) // kept for long: without the room that it was made in
	}
	sa.recvID++
	sa.inParts = nil
	t.env.Stats.ResponsesOut.count(x)
	for _, p := range packets {
		t.hand(t.from.Local, t.from.Remote, p)
	}
	t.publish()
}

// encode makes the datagrams of one message; sealed, and in fragments where
// that was agreed on and it is too large for one.
func (t *Tunnel) encode(sa *ikeSA, h wire.Header, payloads []wire.Payload) ([][]byte, error) {
	m := wire.Message{Header: h, Payloads: payloads}
	if h.Exchange == wire.IKESAInit {
		b, err := m.Append(make([]byte, 0, usualMessage))
		return [][]byte{b}, err
	}
	if t.fragments {
		size := t.fragmentSize()
		n, err := sealedLen(sa.sealer, payloads)
		if err != nil {
			return nil, err
		}
		if n > size {
			packets, err := m.SealFragments(sa.sealer, size)
			t.env.Stats.FragmentsOut += uint64(len(packets))
			return packets, err
		}
	}
	b, err := m.Seal(make([]byte, 0, usualMessage), sa.sealer)
	return [][]byte{b}, err
}

// usualMessage is how many octets most messages have room in while they are made.
const usualMessage = 512

// transmit hands datagrams to the caller. Each gets a copy, because the machine
// keeps what it may have to repeat.
func (t *Tunnel) transmit(local, remote netip.AddrPort, packets [][]byte) {
	for _, p := range packets {
		t.hand(local, remote, bytes.Clone(p))
	}
}

// hand hands a datagram to the caller, who owns packet from then on.
func (t *Tunnel) hand(local, remote netip.AddrPort, packet []byte) {
	t.out.Send = append(t.out.Send, Datagram{Local: local, Remote: remote, Payload: packet})
	t.lastOut = t.now
}

func (c *ByExchange) count(x wire.ExchangeType) {
	switch x {
	case wire.IKESAInit:
		c.Init++
	case wire.IKEAuth:
		c.Auth++
	case wire.CreateChildSA:
		c.Child++
	case wire.Informational:
		c.Informational++
	default:
		c.Other++
	}
}

func (r Retransmit) first() time.Duration { return orDefault(r.First, 500*time.Millisecond) }
func (r Retransmit) max() time.Duration   { return orDefault(r.Max, 30*time.Second) }
func (r Retransmit) tries() int           { return orDefault(r.Tries, 5) }

func (d DPD) interval() time.Duration { return orDefault(d.Interval, 20*time.Second) }
func (d DPD) retries() int            { return orDefault(d.Retries, 3) }

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}
