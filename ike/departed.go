package ike

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/internal/statepb"
	"github.com/evergate/evergate/ike/wire"
)

// Farewell is the answer to the request that ended a tunnel. It may get lost like
// any other, or die with the member that gave it, and then the peer asks again.
//
// "The responder MUST remember each response until it receives a request whose
// sequence number is larger than or equal to the sequence number in the
// response plus its window size [...]. In order to allow saving memory,
// responders are allowed to forget the response after a timeout of several
// minutes." RFC 7296 section 2.1. The keys are gone with the tunnel, but "a
// retransmission from the initiator MUST be bitwise identical to the original
// request", so a comparison does, of what stays as it was when a message is
// decrypted in place.
type Farewell struct {
	spi     ipsec.IKESPI // ours, by which the request found the tunnel
	request messageTrace
	packets [][]byte
}

// farewell is the one that answers request with sent, false where there is none.
func farewell(request Datagram, sent []Datagram) (*Farewell, bool) {
	ours, ok := ourSPI(request)
	if !ok || len(sent) == 0 {
		return nil, false
	}
	f := &Farewell{spi: ours, request: trace(request.Payload)}
	for _, dg := range sent {
		f.packets = append(f.packets, append([]byte(nil), dg.Payload...))
	}
	return f, true
}

// Marshal encodes f for another member. It holds no key.
func (f *Farewell) Marshal() []byte {
	b, err := proto.Marshal(&statepb.Farewell{Spi: uint64(f.spi), Request: f.request[:], Packets: f.packets})
	if err != nil {
		panic(fmt.Sprintf("ike: octets and numbers have no encoding: %v", err))
	}
	return b
}

// ParseFarewell decodes what Marshal made.
func ParseFarewell(b []byte) (*Farewell, error) {
	m := &statepb.Farewell{}
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("ike: decode the last answer of a tunnel: %w", err)
	}
	f := &Farewell{spi: ipsec.IKESPI(m.Spi), packets: m.Packets}
	if len(m.Request) != len(f.request) || len(f.packets) == 0 {
		return nil, errors.New("ike: the last answer of a tunnel lacks its request or itself")
	}
	copy(f.request[:], m.Request)
	return f, nil
}

// Departed keeps the last answers of tunnels that are gone, for FarewellTime, and
// no more than a fixed number of them. The zero value is ready.
type Departed struct {
	answers map[ipsec.IKESPI]lastAnswer // by our SPI
	order   []ipsec.IKESPI              // oldest first
}

type lastAnswer struct {
	*Farewell
	until time.Time
}

// Keep remembers f. The oldest make room.
func (d *Departed) Keep(now time.Time, f *Farewell) {
	if d.answers == nil {
		d.answers = make(map[ipsec.IKESPI]lastAnswer)
	}
	if _, known := d.answers[f.spi]; known {
		return
	}
	d.prune(now)
	d.answers[f.spi] = lastAnswer{f, now.Add(FarewellTime)}
	d.order = append(d.order, f.spi)
}

// prune forgets what is too old, and the oldest where there is no more room.
func (d *Departed) prune(now time.Time) {
	for len(d.order) > 0 && (len(d.order) >= maxDeparted || now.After(d.answers[d.order[0]].until)) {
		delete(d.answers, d.order[0])
		d.order = d.order[1:]
	}
}

// Repeat returns the answer to a request that comes again, nil for any other
// message.
func (d *Departed) Repeat(now time.Time, dg Datagram) []Datagram {
	ours, ok := ourSPI(dg)
	if !ok {
		return nil
	}
	a, ok := d.answers[ours]
	if !ok || now.After(a.until) || a.request != trace(dg.Payload) {
		return nil
	}
	out := make([]Datagram, len(a.packets))
	for i, p := range a.packets {
		out[i] = Datagram{Local: dg.Local, Remote: dg.Remote, Payload: append([]byte(nil), p...)}
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
