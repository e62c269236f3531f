package ike

import (
	"bytes"
	"errors"

	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/wire"
)

// Fragmentation of IKE messages, RFC 7383.

// parts are the fragments of one message that have come so far.
type parts struct {
	total  uint16
	first  wire.PayloadType
	bodies [][]byte // by number-1, nil for what is missing
	have   int
	octets int
}

// fragmentSize is the largest IKE message that is sent in one piece, in octets: a
// packet less the headers of IP and UDP and the non-ESP marker.
func (t *Tunnel) fragmentSize() int {
	headers := 40 + 8 + 4
	if t.remote.Addr().Unmap().Is4() {
		headers = 20 + 8 + 4
	}
	return max(t.packetSize()-headers, minFragment)
}

// packetSize is the largest IP packet of an IKE message: the configured one, or
// less if that was found not to get through. The defaults are those of RFC 7383
// section 2.5.1: what every path takes.
func (t *Tunnel) packetSize() int {
	sizes := t.packetSizes()
	size := orDefault(t.conn.FragmentSize, sizes[len(sizes)-1])
	if t.packet > 0 {
		size = min(size, t.packet)
	}
	return size
}

// packetSizes are those that are tried when larger packets do not get through.
func (t *Tunnel) packetSizes() []int {
	if t.remote.Addr().Unmap().Is4() {
		return []int{1280, 576}
	}
	return []int{1280}
}

// shrinkEvery is after how many retransmissions of one size a smaller one is
// tried: a packet that is lost was not necessarily too large.
const shrinkEvery = 2

// shrink replaces the request of sa by the same one in smaller fragments, when it
// has found no answer for some time: its packets may be too large for the path
// (RFC 7383 section 2.5.2, path MTU discovery). There is nothing to do for one
// that would not come in more fragments than before: by their number the peer
// tells the new ones from the old. It tells whether it did.
func (t *Tunnel) shrink(sa *ikeSA) bool {
	r := sa.pending
	if !t.fragments || r.exchange == wire.IKESAInit || r.tries%shrinkEvery != 0 {
		return false
	}
	before := t.packet
	for _, size := range t.packetSizes() {
		if size >= t.packetSize() {
			continue
		}
		t.packet = size
		packets, err := t.refragment(sa, r.packets)
		if err != nil {
			t.log().Error("message could not be cut into smaller fragments", "error", err)
			break
		}
		if len(packets) > len(r.packets) {
			t.log().Info("fragments made smaller", "exchange", r.exchange.String(), "remote", t.remote, "packet", size, "fragments", len(packets))
			r.packets = packets
			t.publish()
			return true
		}
	}
	t.packet = before
	return false
}

// refragment encodes one of our own messages anew.
func (t *Tunnel) refragment(sa *ikeSA, packets [][]byte) ([][]byte, error) {
	opener, err := suite.NewOpener(sa.suite, sa.keys.From(sa.initiator))
	if err != nil {
		return nil, err
	}
	var whole parts
	for _, b := range packets {
		m, err := wire.Decode(bytes.Clone(b))
		if err != nil {
			return nil, err
		}
		var first wire.PayloadType
		var plain []byte
		done := true
		if sk := wire.Find[*wire.SK](m.Payloads); sk != nil {
			first = sk.First
			plain, err = sk.Open(opener)
		} else if f := wire.Find[*wire.SKF](m.Payloads); f != nil {
			if plain, err = f.Open(opener); err == nil {
				first, plain, done, err = whole.join(f, plain)
			}
		}
		if err != nil {
			return nil, err
		}
		if !done {
			continue
		}
		payloads, err := wire.DecodePayloads(first, plain)
		if err != nil {
			return nil, err
		}
		return t.encode(sa, sa.header(m.Header.Exchange, m.Header.Flags.Response(), m.Header.MessageID), payloads)
	}
	return nil, errFragment
}

// minFragment keeps a fragment larger than its own headers.
const minFragment = 128

// sealedLen is the length of the message that Seal would make.
func sealedLen(s wire.Sealer, payloads []wire.Payload) (int, error) {
	_, plain, err := wire.AppendPayloads(make([]byte, 0, usualMessage), payloads)
	if err != nil {
		return 0, err
	}
	n := len(plain) + 1
	if b := s.BlockLen(); n%b != 0 {
		n += b - n%b
	}
	return wire.HeaderLen + 4 + s.IVLen() + n + s.ICVLen(), nil
}

var errFragment = errors.New("ike: fragment contradicts the others or is too many")

// join takes one authentic fragment. It returns the first payload type and the
// joined contents when the last one is there.
func (p *parts) join(f *wire.SKF, plain []byte) (wire.PayloadType, []byte, bool, error) {
	if f.Total > maxFragments || f.Number == 0 || f.Number > f.Total {
		return 0, nil, false, errFragment
	}
	switch {
	case f.Total > p.total:
		// The peer has begun again with smaller fragments; those that came so far
		// are of no use (RFC 7383 section 2.6).
		*p = parts{total: f.Total, bodies: make([][]byte, f.Total)}
	case f.Total < p.total:
		return 0, nil, false, errFragment
	}
	if p.bodies[f.Number-1] != nil {
		return 0, nil, false, nil
	}
	if p.octets+len(plain) > maxMessage {
		return 0, nil, false, errFragment
	}
	p.bodies[f.Number-1] = append(make([]byte, 0, len(plain)+1), plain...)
	p.have++
	p.octets += len(plain)
	if f.Number == 1 {
		p.first = f.First
	}
	if p.have < int(p.total) {
		return 0, nil, false, nil
	}
	all := make([]byte, 0, p.octets)
	for _, b := range p.bodies {
		all = append(all, b...)
	}
	return p.first, all, true, nil
}
