package hatest

import (
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// plane is a dataplane as package offload specifies it, as far as replication
// can see it.
type plane struct {
	of     *member
	boot   uint32
	sas    map[ipsec.SAID]*planeSA
	armed  [ipsec.MaxMembers]bool
	epochs [ipsec.MaxMembers]ha.Epoch
	ivs    uint64
}

type planeSA struct {
	desc          ipsec.SA
	active        bool
	next, ceiling uint64
	size          uint64 // of the lease
	low, out      bool   // LeaseLow was told, and once more that none is left
	reported      bool
	seen          window
}

// window is a replay window of 64 packets.
type window struct {
	highest uint64
	bits    uint64 // bit i stands for highest-i
}

const windowSize = 64

// take marks a number; it is false when it was marked or left of the window.
func (w *window) take(seq uint64) bool {
	switch {
	case seq > w.highest:
		shift := seq - w.highest
		w.bits = w.bits<<min(shift, windowSize) | 1
		if shift >= windowSize {
			w.bits = 1
		}
		w.highest = seq
		return true
	case w.highest-seq >= windowSize, w.bits&(1<<(w.highest-seq)) != 0:
		return false
	default:
		w.bits |= 1 << (w.highest - seq)
		return true
	}
}

// merge imports a checkpoint: what lies left of its bitmap was received.
func (w *window) merge(highest uint64, bitmap []byte) {
	var bits uint64
	for i := range min(len(bitmap), 8) {
		bits |= uint64(bitmap[i]) << (8 * i)
	}
	if highest >= w.highest {
		shift := highest - w.highest
		if shift < windowSize {
			bits |= w.bits << shift
		}
		w.highest, w.bits = highest, bits
		return
	}
	if d := w.highest - highest; d < windowSize {
		w.bits |= bits << d
	}
}

func (w *window) bitmap() []byte {
	out := make([]byte, 8)
	for i := range out {
		out[i] = byte(w.bits >> (8 * i))
	}
	return out
}

func newPlane(m *member) *plane {
	return &plane{of: m, boot: m.boot, sas: make(map[ipsec.SAID]*planeSA)}
}

// carry carries out one order. An older epoch than one seen is a breach: nothing
// overtakes within a member.
func (p *plane) carry(o ha.Order) {
	touch := func(g ipsec.MemberID) {
		if o.Epoch < p.epochs[g] {
			p.of.c.breach("I5: member %d: an order of epoch %v came to group %d after %v", p.of.id, o.Epoch, g, p.epochs[g])
		}
		p.epochs[g] = o.Epoch
	}
	switch o.Kind {
	case ha.Install:
		for _, sa := range o.SAs {
			touch(sa.Group)
			p.install(sa, false)
		}
	case ha.Update:
		for _, ch := range o.Changes {
			p.change(ch, touch)
		}
	case ha.Discard:
		for _, id := range o.IDs {
			delete(p.sas, id)
		}
	case ha.Arm:
		touch(o.Group)
		p.armed[o.Group] = true
	case ha.Promote:
		touch(o.Group)
		p.armed[o.Group] = false
		for _, sa := range p.sas {
			if sa.desc.Group == o.Group {
				sa.active, sa.reported = true, false
			}
		}
	case ha.Disarm:
		touch(o.Group)
		p.armed[o.Group] = false
		for _, sa := range p.sas {
			if sa.desc.Group == o.Group {
				sa.active, sa.reported = false, false
			}
		}
	}
}

func (p *plane) install(desc ipsec.SA, active bool) {
	p.of.hadSA[desc.ID] = true
	sa := p.sas[desc.ID]
	if sa != nil && sa.desc.Generation >= desc.Generation {
		return
	}
	if sa == nil {
		sa = &planeSA{next: 1}
		p.sas[desc.ID] = sa
	}
	sa.desc, sa.active = desc, active
	sa.sequence(desc.Sequence)
}

func (sa *planeSA) sequence(s ipsec.Sequence) {
	next, ceiling := max(sa.next, s.Next), max(sa.ceiling, s.Ceiling)
	if next != sa.next || ceiling != sa.ceiling {
		sa.next, sa.ceiling, sa.low, sa.out = next, ceiling, false, false
		sa.size = 0
		if ceiling >= next {
			sa.size = ceiling - next + 1
		}
	}
	sa.seen.merge(s.Highest, s.Bitmap)
}

func (p *plane) change(ch ha.Change, touch func(ipsec.MemberID)) {
	sa := p.sas[ch.ID]
	if sa == nil {
		return
	}
	touch(sa.desc.Group)
	if ch.Group != nil {
		touch(*ch.Group)
		sa.desc.Group = *ch.Group
	}
	if ch.Sequence != nil {
		sa.sequence(*ch.Sequence)
	}
	if ch.Active != nil && *ch.Active != sa.active {
		sa.active, sa.reported = *ch.Active, false
	}
}

// first deals with a packet of an SA that stands by.
func (p *plane) first(sa *planeSA) {
	t := sa.desc.Tunnel
	if !p.armed[sa.desc.Group] {
		if !sa.reported {
			sa.reported = true
			p.of.tell(ha.Stray{Tunnel: t})
		}
		return
	}
	for _, o := range p.sas {
		if o.desc.Tunnel == t && o.desc.Group == sa.desc.Group {
			o.active = true
		}
	}
	p.of.c.tracef("member %d: plane activates %v", p.of.id, t)
	p.of.tell(ha.Activated{Tunnel: t, Group: sa.desc.Group})
}

// send uses up to count numbers of an SA and returns the first and last, 0 when
// there are none.
func (p *plane) send(id ipsec.SAID, count uint64) (from, to uint64) {
	sa := p.sas[id]
	if sa == nil {
		return 0, 0
	}
	if !sa.active {
		p.first(sa)
	}
	if !sa.active {
		return 0, 0
	}
	ceiling := sa.ceiling
	if p.of.c.cfg.Fault == NoLease {
		ceiling = 1<<32 - 1
	}
	if sa.next > ceiling {
		p.leaseLow(sa, &sa.out)
		return 0, 0
	}
	from = sa.next
	to = min(from+count-1, ceiling)
	sa.next = to + 1
	p.ivs += to - from + 1
	p.of.c.used(p, sa, from, to)
	if ceiling-to < sa.size/2 {
		p.leaseLow(sa, &sa.low)
	}
	return from, to
}

func (p *plane) leaseLow(sa *planeSA, told *bool) {
	if !*told {
		*told = true
		p.of.tell(ha.LeaseLow{SA: sa.desc.ID})
	}
}

// receive tells whether a packet of the client is taken.
func (p *plane) receive(id ipsec.SAID, seq uint64) bool {
	sa := p.sas[id]
	if sa == nil {
		return false
	}
	if !sa.active {
		p.first(sa)
	}
	return sa.seen.take(seq)
}
