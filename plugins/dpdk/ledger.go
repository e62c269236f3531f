//go:build dpdk

package dpdk

// maxLedger bounds the keys that a ledger remembers.
const maxLedger = 1 << 18

// ledger remembers how many explicit IVs went to keys whose SA was deleted, so that
// the same key, installed again, never meets the same IV (invariant I1). A key that
// it forgets raises the floor of all that come later.
type ledger struct {
	next  map[uint64]uint64 // by fingerprint of the key
	order []uint64          // fingerprints, oldest first
	floor uint64
}

// start returns where the counter of a key goes on.
func (l *ledger) start(key uint64) uint64 { return max(l.next[key], l.floor) }

// record keeps where the counter of a key stopped.
func (l *ledger) record(key, counter uint64) {
	if l.next == nil {
		l.next = make(map[uint64]uint64)
	}
	if _, known := l.next[key]; !known {
		if len(l.order) == maxLedger {
			oldest := l.order[0]
			l.floor = max(l.floor, l.next[oldest])
			delete(l.next, oldest)
			l.order = l.order[1:]
		}
		l.order = append(l.order, key)
	}
	l.next[key] = max(l.next[key], counter)
}
