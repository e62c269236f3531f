package softesp

import (
	"sync/atomic"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/plugins/softesp/esp"
)

// sequencer hands out the sequence numbers and IV counters of an outbound SA. It
// outlives replacements of the SA's description, so nothing in it moves back.
// Several transmitters use it at once.
type sequencer struct {
	last uint64 // the highest number of the SA
	next atomic.Uint64
	// ceiling is the last number of the current lease (invariant I2); 0 for an
	// SA that is not leased.
	ceiling atomic.Uint64
	// half is the next number from which on less than half of the lease is left;
	// 0 for an SA that is not leased.
	half             atomic.Uint64
	lowTold, endTold atomic.Bool
	// counter is the IV's next one (package esp), firstUse the first.
	counter  atomic.Uint64
	firstUse uint64
}

func newSequencer(a ipsec.Algorithms, s ipsec.Sequence, counter uint64) *sequencer {
	// The very last number of 64 bits is left out, so that next always fits.
	q := &sequencer{last: min(a.MaxSequence(), 1<<64-2), firstUse: counter}
	q.next.Store(1)
	q.counter.Store(counter)
	q.merge(s)
	return q
}

// merge takes what a control call says; nothing moves back. Calls to it do not
// overlap. What lies between next and ceiling when either changes is a lease.
func (q *sequencer) merge(s ipsec.Sequence) {
	raised := s.Ceiling > q.ceiling.Load()
	if raised {
		q.ceiling.Store(s.Ceiling)
	}
	if !q.jump(s.Next) && !raised {
		return
	}
	q.half.Store(0)
	if next, end := q.next.Load(), q.end(); q.ceiling.Load() != 0 && next <= end {
		q.half.Store(end - (end-next)/2)
	}
	q.lowTold.Store(false)
	q.endTold.Store(false)
}

// jump moves next ahead to at least n; false when it is there already.
func (q *sequencer) jump(n uint64) bool {
	for {
		next := q.next.Load()
		if n <= next {
			return false
		}
		if q.next.CompareAndSwap(next, n) {
			return true
		}
	}
}

// end is the last number that may be sent.
//
// "The transmitted sequence number must never be allowed to cycle." RFC 4303
// section 2.2.
func (q *sequencer) end() uint64 {
	if c := q.ceiling.Load(); c != 0 {
		return min(c, q.last)
	}
	return q.last
}

// spent tells whether no number will ever be left: only a successor of the SA sends
// again.
func (q *sequencer) spent() bool {
	next := q.next.Load()
	return next >= q.last && next > q.end()
}

// reserve takes up to n sequence numbers: first and those that follow it. Fewer
// than n are left under the ceiling when got is less.
func (q *sequencer) reserve(n uint64) (first, got uint64) {
	for {
		next, end := q.next.Load(), q.end()
		if next > end {
			return 0, 0
		}
		got = min(n, end-next+1)
		if q.next.CompareAndSwap(next, next+got) {
			return next, got
		}
	}
}

// counters takes n counters for IVs; false when they are used up.
func (q *sequencer) counters(n uint64) (first uint64, ok bool) {
	end := q.counter.Add(n)
	return end - n, end <= esp.MaxCounter
}

// low tells, once per lease, that less than half of it is left.
func (q *sequencer) low() bool {
	half := q.half.Load()
	return half != 0 && q.next.Load() > half && !q.lowTold.Load() && !q.lowTold.Swap(true)
}

// exhausted tells, once per lease, that nothing is left.
func (q *sequencer) exhausted() bool { return !q.endTold.Load() && !q.endTold.Swap(true) }

// used tells whether an IV was taken.
func (q *sequencer) used() bool { return q.counter.Load() != q.firstUse }

// ivLedger remembers how many IVs went to keys whose SA was deleted, so that the
// same key, installed again, never meets the same IV (invariant I1). What it
// forgets, because the number of entries is bounded, raises the floor of all
// SAs that come later.
type ivLedger struct {
	counters map[uint64]uint64 // fingerprint of the key -> next counter
	order    []uint64          // fingerprints, oldest first
	floor    uint64
}

// maxLedger bounds the entries of an ivLedger.
const maxLedger = 1 << 18

// start returns the first counter for a key.
func (l *ivLedger) start(fingerprint uint64) uint64 {
	return max(l.counters[fingerprint], l.floor)
}

// record keeps the next counter of a key.
func (l *ivLedger) record(fingerprint, counter uint64) {
	if l.counters == nil {
		l.counters = make(map[uint64]uint64)
	}
	if _, known := l.counters[fingerprint]; !known {
		if len(l.order) == maxLedger {
			l.floor = max(l.floor, l.counters[l.order[0]])
			delete(l.counters, l.order[0])
			l.order = l.order[1:]
		}
		l.order = append(l.order, fingerprint)
	}
	l.counters[fingerprint] = max(l.counters[fingerprint], counter)
}
