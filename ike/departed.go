package ike

import (
	"bytes"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/wire"
)

// departed keeps what was answered to the requests that ended tunnels. Such an
// answer may get lost like any other, and then the peer asks again.
//
// "The responder MUST remember each response until it receives a request whose
// sequence number is larger than or equal to the sequence number in the
// response plus its window size [...]. In order to allow saving memory,
// responders are allowed to forget the response after a timeout of several
// minutes." RFC 7296 section 2.1. The keys are gone with the tunnel, but "a
// retransmission from the initiator MUST be bitwise identical to the original
// request", so a comparison does, of what stays as it was when a message is
// decrypted in place.
type departed struct {
	answers map[ipsec.IKESPI]lastAnswer // by our SPI
	order   []ipsec.IKESPI              // oldest first
}

// lastAnswer is what the peer got for its request.
type lastAnswer struct {
	request messageTrace
	packets [][]byte
	until   time.Time
}

// keep remembers that request was answered with sent. The oldest answers make
// room.
func (d *departed) keep(now time.Time, request Datagram, sent []Datagram) {
	ours, ok := ourSPI(request)
	if !ok || len(sent) == 0 {
		return
	}
	if d.answers == nil {
		d.answers = make(map[ipsec.IKESPI]lastAnswer)
	}
	if _, known := d.answers[ours]; known {
		return
	}
	d.prune(now)
	a := lastAnswer{request: trace(request.Payload), until: now.Add(departedTime)}
	for _, dg := range sent {
		a.packets = append(a.packets, bytes.Clone(dg.Payload))
	}
	d.answers[ours] = a
	d.order = append(d.order, ours)
}

// prune forgets what is too old, and the oldest where there is no more room.
func (d *departed) prune(now time.Time) {
	for len(d.order) > 0 && (len(d.order) >= maxDeparted || now.After(d.answers[d.order[0]].until)) {
		delete(d.answers, d.order[0])
		d.order = d.order[1:]
	}
}

// repeat returns the answer to a request that comes again, nil for any other.
func (d *departed) repeat(now time.Time, ours ipsec.IKESPI, dg Datagram) []Datagram {
	a, ok := d.answers[ours]
	if !ok || now.After(a.until) || a.request != trace(dg.Payload) {
		return nil
	}
	out := make([]Datagram, len(a.packets))
	for i, p := range a.packets {
		out[i] = Datagram{Local: dg.Local, Remote: dg.Remote, Payload: bytes.Clone(p)}
	}
	return out
}

// messageTrace is what tells one protected message from all others: its header,
// and the last octets of its integrity check value, which no algorithm has fewer
// of.
type messageTrace [wire.HeaderLen + 8]byte

func trace(message []byte) (t messageTrace) {
	n := copy(t[:wire.HeaderLen], message)
	copy(t[n:], message[max(0, len(message)-len(t)+n):])
	return t
}

// ourSPI returns the SPI by which a request finds its tunnel, false for what is
// no request.
func ourSPI(dg Datagram) (ipsec.IKESPI, bool) {
	h, err := wire.ParseHeader(dg.Payload)
	if err != nil || h.Flags.Response() {
		return 0, false
	}
	if h.Flags.Initiator() {
		return h.SPIr, h.SPIr != 0
	}
	return h.SPIi, true
}
