package engine

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1"
)

// IKEv1 messages do not tell which of their two cookies is ours: there is no flag
// for who began. That of the responder decides, because peers call us more often
// than we call them; what is not known by it may be known by the other one, at
// another shard or another member.

// Misplaced is an IKEv1 message for a tunnel of another shard.
type Misplaced struct {
	Shard   int
	Packets Packets
}

// cookies reads both cookies of an IKEv1 message.
func cookies(message []byte) (initiator, responder ipsec.IKESPI) {
	return ipsec.IKESPI(binary.BigEndian.Uint64(message)), ipsec.IKESPI(binary.BigEndian.Uint64(message[8:]))
}

// speaksV1 tells whether a message is IKEv1's, and for us to understand: a first
// one that no connection could take is for the Demux of IKEv2 to refuse, which
// tells the operator.
func (s *Shard) speaksV1(dg ike.Datagram) bool {
	if !v1.IsV1(dg.Payload) {
		return false
	}
	if _, responder := cookies(dg.Payload); responder != 0 {
		return true
	}
	for _, c := range s.policy.ForAddresses(dg.Local.Addr().Unmap(), dg.Remote.Addr().Unmap()) {
		if c.V1 != nil {
			return true
		}
	}
	return false
}

// onV1 handles a message of IKEv1.
func (s *Shard) onV1(now time.Time, dg ike.Datagram, in Packets) {
	initiator, responder := cookies(dg.Payload)
	if responder == 0 && s.rekeysElsewhere(dg, in) {
		return
	}
	known := s.machines.v1.BySPI(responder) != nil || s.machines.v1.BySPI(initiator) != nil
	if other := ShardOf(uint64(initiator), s.count); responder != 0 && !known && !in.Again && other != s.index {
		s.misplaced(other, dg, in)
		return
	}
	r := s.machines.v1.Route(now, dg)
	s.rd.Send = append(s.rd.Send, r.Reply...)
	switch {
	case r.Tunnel != nil:
		t := s.own(r.Tunnel)
		if responder == 0 {
			t.called = dg.Remote
		}
		s.step(now, t, ike.Received{Datagram: dg})
	case r.Drop == ike.DropUnknownSPI && s.replicated:
		s.rd.Foreign = append(s.rd.Foreign, Strange{Datagram: dg, SPI: responder, Other: initiator, Relayed: in.Relayed})
	}
}

// locate notes where the peer of an established tunnel of IKEv1 is.
func (s *Shard) locate(t *tunnel) {
	if old, ok := t.ike.(*v1.Tunnel); ok && s.addresses != nil && t.name != "" {
		s.addresses.Locate(old.ID(), old.Remote(), t.called)
	}
}

// rekeysElsewhere sends the first message of a phase 1 to where its peer's tunnel
// is, which may be another shard or another member: the old phase 1 and the pairs
// that it made are to have one owner with the new one. It tells whether it did.
func (s *Shard) rekeysElsewhere(dg ike.Datagram, in Packets) bool {
	if s.addresses == nil {
		return false
	}
	id, there := s.addresses.TunnelAt(dg.Remote)
	if !there || s.tunnels[id] != nil {
		return false
	}
	if shard := ShardOf(uint64(id), s.count); shard != s.index && !in.Again {
		s.misplaced(shard, dg, in)
		return true
	}
	if s.replicated && !in.Relayed {
		s.rd.Foreign = append(s.rd.Foreign, Strange{Datagram: dg, Tunnel: id})
		return true
	}
	return false
}

// misplaced hands a message to another shard.
func (s *Shard) misplaced(shard int, dg ike.Datagram, in Packets) {
	s.rd.Misplaced = append(s.rd.Misplaced, Misplaced{
		Shard: shard, Packets: Packets{Datagrams: []ike.Datagram{dg}, Relayed: in.Relayed, Again: true},
	})
}

// wake steps the tunnels that others have given work to: a phase 1 that a peer has
// begun turned out to be the rekeying of an older tunnel.
func (s *Shard) wake(now time.Time) {
	for _, m := range s.machines.v1.Woken() {
		t := s.tunnels[m.ID()]
		switch {
		case t == nil:
		case t.pending == nil:
			t.heard = true
			s.apply(now, t, s.machines.step(now, m, ike.Timeout{}))
		case !slices.Contains(t.queue, ike.Input(ike.Timeout{})):
			t.queue = append(t.queue, ike.Timeout{})
		}
	}
}

// overflow is a pair that has no sequence number left since it was taken over, and
// the moment when it gets a successor: those of thousands of tunnels must not be
// negotiated in one burst (C6).
type overflow struct {
	at     time.Time
	tunnel ipsec.TunnelID
	out    ipsec.SAID
}

// rekeysPerSecond is how many pairs a member rekeys per second because of it, all
// its shards together.
const rekeysPerSecond = 200

// overflowing tells whether the pairs of t stand by at their last number. Leases,
// and what the replication machine makes of them, are not for those.
func (s *Shard) overflowing(t *tunnel) bool {
	return t.conn != nil && t.conn.MaxSeq && s.replicates(t)
}

// onOverflow plans new keys for a pair on which a packet found no number. A
// dataplane tells it, and counts it, in case that the tunnel was not here yet.
func (s *Shard) onOverflow(now time.Time, t *tunnel, out ipsec.SAID) {
	if slices.ContainsFunc(s.overflows, func(o overflow) bool { return o.out == out }) {
		return
	}
	s.overflows = append(s.overflows, overflow{s.rekeys.slot(now), t.ike.ID(), out})
	s.overflow(now)
}

// overflow rekeys the pairs whose turn has come.
func (s *Shard) overflow(now time.Time) {
	for len(s.overflows) > 0 && !s.overflows[0].at.After(now) {
		o := s.overflows[0]
		s.overflows = s.overflows[1:]
		if t := s.tunnels[o.tunnel]; t != nil {
			s.step(now, t, ike.RekeyChild{ID: o.out})
		}
	}
}
