package engine

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
)

// onCheckpoint notes the counters: the standing of each SA from which another
// dataplane would go on, and what dead peer detection lives on.
func (s *Shard) onCheckpoint(now time.Time, counters []offload.Counters) {
	var active []*tunnel
	seen := make(map[*tunnel]ike.Activity)
	for _, c := range counters {
		t := s.bySA[c.ID]
		if t == nil {
			continue
		}
		e := t.sa(c.ID)
		if (hindered{c.Drops, c.Held}).starved() > e.count.hindrance().starved() && s.overflowing(t) {
			s.onOverflow(now, t, c.ID)
		}
		e.count.note(c)
		if c.PathMTU != 0 {
			e.desc.PathMTU = c.PathMTU
		}
		if c.Idle < 0 {
			continue
		}
		a, known := seen[t]
		if !known {
			active = append(active, t)
		}
		at := now.Add(-c.Idle)
		if e.desc.Direction == ipsec.Inbound && at.After(a.In) {
			a.In = at
		}
		if e.desc.Direction == ipsec.Outbound && at.After(a.Out) {
			a.Out = at
		}
		seen[t] = a
	}
	for _, t := range active {
		if a := newer(t.activity, seen[t]); a != t.activity {
			t.activity = a
			s.step(now, t, a)
		}
	}
}

func newer(a, b ike.Activity) ike.Activity {
	if b.In.After(a.In) {
		a.In = b.In
	}
	if b.Out.After(a.Out) {
		a.Out = b.Out
	}
	return a
}

// reconcile makes the dataplane hold what it should, after it lost its state or
// its events: it installs what is missing and deletes what nobody knows. It
// never flushes.
func (s *Shard) reconcile(now time.Time, inventory []offload.Counters) {
	have := make(map[ipsec.SAID]uint64, len(inventory))
	stray := Op{ID: s.nextOp()}
	for _, c := range inventory {
		if c.Link != nil {
			continue // those are Links' to judge
		}
		have[c.ID] = c.Generation
		if t := s.bySA[c.ID]; t == nil {
			stray.Delete = append(stray.Delete, c.ID)
		}
	}
	s.onCheckpoint(now, inventory)
	if len(stray.Delete) > 0 {
		s.stats.StraySAs += uint64(len(stray.Delete))
		s.rd.Plane = append(s.rd.Plane, stray)
	}
	for _, t := range s.each() {
		s.reinstall(now, t, have)
	}
}

// reinstall puts back the SAs of one tunnel that the dataplane lacks.
func (s *Shard) reinstall(now time.Time, t *tunnel, have map[ipsec.SAID]uint64) {
	op := Op{ID: s.nextOp()}
	exhausted := s.verify(t, have)
	for _, e := range inboundFirst(t) {
		id := e.desc.ID
		if g, ok := have[id]; ok && g >= e.desc.Generation || !e.installed || e.inherited {
			continue // it is there, or its first Install is still on its way, or it must not come back
		}
		if !e.resume(now, s.replicates(t), s.lease) {
			exhausted = append(exhausted, id)
		}
		op.Install = append(op.Install, e.desc)
	}
	if len(op.Install) > 0 {
		s.stats.Reinstalled += uint64(len(op.Install))
		s.log.Info("sas reinstalled", "tunnel", t.name, "count", len(op.Install))
		s.note(now, t)
		s.rd.Plane = append(s.rd.Plane, op)
	}
	s.renew(now, t, exhausted)
}

// resume changes the description of e to that with which a fresh dataplane goes
// on: outbound above the lease (I2), inbound from the last checkpoint (I9), with
// what is left of its limits. It is false when the outbound numbers have come to
// their end; the SA then sends nothing more and needs a successor. Numbers that
// other members must agree to are not taken: the dataplane will ask for them.
func (e *sa) resume(now time.Time, replicated bool, lease uint64) bool {
	e.earlier.packets, e.earlier.bytes = e.total()
	e.desc.Lifetime.Hard = used(e.desc.Lifetime.Hard, e.count)
	e.desc.Lifetime.Soft = used(e.desc.Lifetime.Soft, e.count)
	e.desc.Lifetime.Age += now.Sub(e.since)
	e.since = now
	enough := true
	if e.desc.Direction == ipsec.Inbound {
		e.desc.Sequence = ipsec.Sequence{Highest: e.count.highest, Bitmap: e.count.bitmap}
	} else {
		var next ipsec.Sequence
		if next, enough = nextLease(e.desc, lease); enough && replicated {
			next.Ceiling = e.desc.Sequence.Ceiling
		}
		if !enough {
			last := e.desc.Algorithms.MaxSequence()
			next = ipsec.Sequence{Next: last, Ceiling: last - 1}
		}
		e.desc.Sequence = next
	}
	e.count.begin(e.desc.Sequence)
	return enough
}

// used subtracts what has passed from the limits. A limit that is used up stays
// at one, because zero would mean none.
func used(l ipsec.Limits, n count) ipsec.Limits {
	l.Bytes = left(l.Bytes, n.bytes)
	l.Packets = left(l.Packets, n.packets)
	return l
}

func left(limit, used uint64) uint64 {
	switch {
	case limit == 0:
		return 0
	case used >= limit:
		return 1
	default:
		return limit - used
	}
}

// inboundFirst orders the SAs of a tunnel so that nothing is sent that could not
// be answered.
func inboundFirst(t *tunnel) []*sa {
	out := make([]*sa, 0, len(t.sas))
	for _, d := range []ipsec.Direction{ipsec.Inbound, ipsec.Outbound} {
		for _, e := range t.sas {
			if e.desc.Direction == d {
				out = append(out, e)
			}
		}
	}
	return out
}
