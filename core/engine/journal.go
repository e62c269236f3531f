package engine

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ike"
)

// Journal remembers the tunnels of a gateway for its next life: a member that stands
// by, but never takes over. Note returns once the records
// cannot be lost with this process; the peers hear of a step after that, and the
// dataplane of a lease, so that the next life knows all that they may know
// (invariants I2, I6). Records are PutIKE, PutChild, DropChild and Remove, of this
// package's own tunnels; versions and titles mean something in those of a group only.
type Journal interface{ Note(...ha.Record) error }

// journals tells whether t is for the journal: from the moment that its IKE SA is
// up.
func (s *Shard) journals(t *tunnel) bool { return s.journaled && t.name != "" }

// records are what a publication means to a journal.
func (p Publication) records() []ha.Record {
	var out []ha.Record
	if p.IKE != nil {
		out = append(out, ha.PutIKE{Tunnel: p.Tunnel, IKE: *p.IKE})
	}
	for _, pair := range p.Stored {
		out = append(out, ha.PutChild{Tunnel: p.Tunnel, Child: ha.Child{In: pair.In, Out: pair.Out}})
	}
	for _, id := range p.Dropped {
		out = append(out, ha.DropChild{Tunnel: p.Tunnel, Child: id})
	}
	if p.Over {
		out = append(out, ha.Remove{Tunnel: p.Tunnel})
	}
	return out
}

// note notes the pairs of t anew, as far as the SA of that name is in them, or all
// of them where it names none: their addresses or ceilings are others now.
func (s *Shard) note(now time.Time, t *tunnel, of ...ipsec.SAID) {
	if !s.journals(t) {
		return
	}
	p := Publication{Tunnel: t.ike.ID()}
	for _, e := range t.sas {
		if e.desc.Direction != ipsec.Inbound || len(of) > 0 && e.desc.ID != of[0] && !e.pairedWith(t, of[0]) {
			continue
		}
		_, out, ok := t.ike.Pair(now, e.desc.ID)
		if !ok {
			continue
		}
		out.Sequence = s.firstLease(t, out)
		if o := t.pairOf(e); o != nil {
			out = o.desc
		}
		p.Stored = append(p.Stored, Pair{In: e.desc, Out: out})
	}
	if len(p.Stored) > 0 {
		s.rd.Publish = append(s.rd.Publish, p)
	}
}

// pairedWith tells whether id is the other SA of e's pair.
func (e *sa) pairedWith(t *tunnel, id ipsec.SAID) bool {
	o := t.pairOf(e)
	return o != nil && o.desc.ID == id
}

// verify looks at the SAs of a tunnel that an earlier life has left in the
// dataplane. What the dataplane has counted is the truth. What it has lost is not
// put back, as nobody knows which packets had been accepted (invariant I9): the
// pair gets a successor. It returns the pairs, by one of their SAs.
func (s *Shard) verify(t *tunnel, have map[ipsec.SAID]uint64) (lost []ipsec.SAID) {
	for _, e := range t.sas {
		if !e.inherited {
			continue
		}
		if _, there := have[e.desc.ID]; !there {
			lost = append(lost, e.desc.ID)
			continue
		}
		e.inherited = false
		if e.desc.Direction == ipsec.Outbound {
			e.desc.Sequence.Ceiling = max(e.desc.Sequence.Ceiling, e.count.sequence().Ceiling)
		}
	}
	return lost
}

// renew asks for successors of pairs.
func (s *Shard) renew(now time.Time, t *tunnel, ids []ipsec.SAID) {
	for _, id := range ids {
		s.step(now, t, ike.RekeyChild{ID: id})
	}
}
