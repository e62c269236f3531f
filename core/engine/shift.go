package engine

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
)

// shiftSlack is more than an SA sends between two checkpoints: its present number
// is at most that far above the one that is known here.
const shiftSlack = 1 << 22

// shift moves the sequence numbers of a tunnel, as it has agreed with its peer to
// (RFC 6311 section 5.2). Inbound, all is old that is not above the last checkpoint
// by that much; outbound, the numbers go ahead by at least that much, within the
// lease, and the dataplane asks for another when that comes to its end. An SA with
// too few numbers left gets a successor.
func (s *Shard) shift(now time.Time, t *tunnel, by ike.Shift) {
	op := Op{ID: s.nextOp()}
	var short []ipsec.SAID
	for _, e := range t.sas {
		id := e.desc.ID
		last := e.desc.Algorithms.MaxSequence()
		switch known := e.count.sequence(); {
		case e.desc.Direction == ipsec.Inbound && by.In > 0:
			if highest := max(known.Highest, e.desc.Sequence.Highest) + by.In; highest < last {
				op.Update = append(op.Update, offload.Change{ID: id, Sequence: &ipsec.Sequence{Highest: highest}})
			}
		case e.desc.Direction == ipsec.Outbound && by.Out > 0:
			next := max(known.Next, e.desc.Sequence.Next) + by.Out + shiftSlack
			if last < s.lease || next > last-s.lease {
				short = append(short, id)
				continue
			}
			op.Update = append(op.Update, offload.Change{ID: id, Sequence: &ipsec.Sequence{Next: next}})
		}
	}
	if len(op.Update) > 0 {
		s.rd.Plane = append(s.rd.Plane, op)
	}
	for _, id := range short {
		s.step(now, t, ike.RekeyChild{ID: id})
	}
}
