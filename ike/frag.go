package ike

import (
	"errors"

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

// fragmentSize is the largest IKE message that is sent in one piece, in octets:
// the configured packet less the headers of IP and UDP and the non-ESP marker.
// The defaults are those of RFC 7383 section 2.5.1.
func (t *Tunnel) fragmentSize() int {
	packet, headers := t.conn.FragmentSize, 20+8+4
	if t.remote.Addr().Unmap().Is4() {
		packet = orDefault(packet, 576)
	} else {
		packet, headers = orDefault(packet, 1280), 40+8+4
	}
	return max(packet-headers, minFragment)
}

// minFragment keeps a fragment larger than its own headers.
const minFragment = 128

// sealedLen is the length of the message that Seal would make.
func sealedLen(s wire.Sealer, payloads []wire.Payload) (int, error) {
	_, plain, err := wire.AppendPayloads(nil, payloads)
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
