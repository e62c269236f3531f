package v1

import (
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1/wire"
)

// Fragmentation of IKE messages: whole messages, headers and all, in pieces of
// one payload each, to peers that announced it by their vendor id. The pieces
// are not authentic by themselves; what they join to is.

// parts are the fragments of one message that have come so far.
type parts struct {
	id     uint16
	last   uint8 // the number of the last one, 0 while it is not known
	bodies [maxFragments][]byte
	have   int
	octets int
}

// fragmentHeaderLen is what a fragment has besides its part of the message.
const fragmentHeaderLen = wire.HeaderLen + 4 + 4

// split cuts a message into fragments, where it is too long for one datagram and
// the peer can join them.
func (t *Tunnel) split(msg []byte) [][]byte {
	size := t.fragmentSize()
	if len(msg) <= size || !t.peer.fragmentation || t.conn.NoFragmentation {
		return [][]byte{msg}
	}
	room := size - fragmentHeaderLen
	if (len(msg)+room-1)/room > maxFragments {
		room = (len(msg) + maxFragments - 1) / maxFragments
	}
	h, err := wire.ParseHeader(msg)
	if err != nil {
		return [][]byte{msg}
	}
	t.fragment++
	h.Flags = 0
	var out [][]byte
	for number := uint8(1); len(msg) > 0; number++ {
		n := min(room, len(msg))
		m := wire.Message{Header: h, Payloads: []wire.Payload{
			&wire.Fragment{ID: t.fragment, Number: number, Last: n == len(msg), Data: msg[:n]},
		}}
		b, err := m.Append(nil)
		if err != nil {
			t.log.Error("fragment could not be encoded", "error", err)
			return nil
		}
		out, msg = append(out, b), msg[n:]
	}
	t.env.Stats.FragmentsOut += uint64(len(out))
	return out
}

// fragmentSize is the largest IKE message that is sent in one piece, in octets:
// the configured packet less the headers of IP and UDP and the non-ESP marker.
func (t *Tunnel) fragmentSize() int {
	packet, headers := orDefault(t.conn.FragmentSize, 576), 20+8+4
	if !t.remote.Addr().Unmap().Is4() {
		packet, headers = orDefault(t.conn.FragmentSize, 1280), 40+8+4
	}
	return max(packet-headers, 128)
}

// join takes a fragment, and returns the whole message with the last one; nil
// before that. There is room for one message: that of another number, or one that
// contradicts the others, begins anew.
func (t *Tunnel) join(datagram []byte) []byte {
	m, err := wire.Decode(datagram)
	if err != nil || len(m.Payloads) != 1 {
		t.drop(ike.DropMalformed)
		return nil
	}
	f := wire.Find[*wire.Fragment](m.Payloads)
	if f == nil || f.Number > maxFragments || t.conn.NoFragmentation {
		t.drop(ike.DropFragment)
		return nil
	}
	t.env.Stats.FragmentsIn++
	p := t.parts
	if p == nil || p.id != f.ID {
		p = &parts{id: f.ID}
		t.parts = p
	}
	return t.add(p, f)
}

func (t *Tunnel) add(p *parts, f *wire.Fragment) []byte {
	switch {
	case p.bodies[f.Number-1] != nil:
		return nil
	case p.octets+len(f.Data) > wire.MaxMessage, f.Last && p.last != 0, p.last != 0 && f.Number > p.last:
		t.parts = nil
		t.drop(ike.DropFragment)
		return nil
	}
	if f.Last {
		p.last = f.Number
	}
	p.bodies[f.Number-1] = append(make([]byte, 0, len(f.Data)+1), f.Data...)
	p.have++
	p.octets += len(f.Data)
	if p.last == 0 || p.have < int(p.last) {
		return nil
	}
	t.parts = nil
	whole := make([]byte, 0, p.octets)
	for _, b := range p.bodies[:p.last] {
		whole = append(whole, b...)
	}
	return whole
}
