package engine

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
)

// firstLease is what a new SA may send before it must ask for more: an active
// plane stops at a ceiling, so that whoever goes on with the SA after it knows
// from where (invariant I2). One that comes with numbers of its own keeps them, and
// one that was used before goes on above, where other members may have, too, once
// they agree: it must ask.
func (s *Shard) firstLease(t *tunnel, desc ipsec.SA) ipsec.Sequence {
	if o := t.idleOf(desc.ID); o != nil {
		seq := o.sequence(desc.Algorithms)
		if last := desc.Algorithms.MaxSequence(); !s.replicates(t) && o.above < last {
			seq.Ceiling = raised(o.above, last, s.lease)
		}
		return seq
	}
	if desc.Direction != ipsec.Outbound || desc.Sequence.Next != 0 {
		return desc.Sequence
	}
	last := desc.Algorithms.MaxSequence()
	if s.overflowing(t) {
		return ipsec.Sequence{Next: 1, Ceiling: last}
	}
	return ipsec.Sequence{Next: 1, Ceiling: min(s.lease, last)}
}

// nextLease is the sequence state with which an outbound SA goes on after a
// dataplane that is gone: above all that it may have used. It is false when the
// numbers do not last for another lease.
func nextLease(desc ipsec.SA, size uint64) (ipsec.Sequence, bool) {
	last := desc.Algorithms.MaxSequence()
	if desc.Sequence.Ceiling >= last {
		return ipsec.Sequence{}, false
	}
	return ipsec.Sequence{Next: desc.Sequence.Ceiling + 1, Ceiling: raised(desc.Sequence.Ceiling, last, size)}, true
}

func raised(ceiling, last, size uint64) uint64 {
	if last-ceiling < size {
		return last
	}
	return ceiling + size
}

// raiseLease answers LeaseLow: one more lease, and a new SA in good time before
// the numbers end.
//
// "the transmitter [...] MUST NOT send a packet on an SA if doing so would cause
// the sequence number to cycle." RFC 4303 section 3.3.3.
func (s *Shard) raiseLease(now time.Time, t *tunnel, ev offload.LeaseLow) {
	e := t.sa(ev.ID)
	last := e.desc.Algorithms.MaxSequence()
	if ceiling := e.desc.Sequence.Ceiling; ceiling < last && ev.Next+s.lease/2 >= ceiling {
		e.desc.Sequence.Ceiling = raised(ceiling, last, s.lease)
		s.stats.LeasesRaised++
		s.note(now, t, ev.ID)
	}
	// The answer goes out in any case: a dataplane that is behind catches up.
	s.rd.Plane = append(s.rd.Plane, Op{ID: s.nextOp(), Update: []offload.Change{{
		ID: ev.ID, Sequence: &ipsec.Sequence{Ceiling: e.desc.Sequence.Ceiling},
	}}})
	if last-e.desc.Sequence.Ceiling < s.lease {
		s.step(now, t, ike.RekeyChild{ID: ev.ID})
	}
}
