package ha

import (
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
)

// index finds tunnels by their owner and sums them up, so that what is asked
// every second, or of one member, does not look at all of them. What a step
// touches is filed anew before the index is asked the next time.
type index struct {
	// shelves hold the tunnels by owner and bucket, in an order that follows from
	// what happened only: a run repeats.
	shelves [ipsec.MaxMembers][Buckets][]*tunnel
	tallies map[tallyKey]*tally
	touched []*tunnel
}

// tallyKey is by what tunnels are summed up.
type tallyKey struct {
	owner ipsec.MemberID
	life  Life
	class string
}

// tally counts the tunnels of one key, and sums up each bucket of them for
// digests.
type tally struct {
	tallyKey
	count int
	sums  [Buckets]uint64
}

// filed is a tunnel's place in the index.
type filed struct {
	tally   *tally // nil: in none
	sum     uint64 // what it adds to the tally
	pos     int    // on its shelf
	touched bool
}

// touch notes that t, or what it is part of, changes in this step.
func (n *Node) touch(t *tunnel) {
	if !t.filed.touched {
		t.filed.touched = true
		n.byOwner.touched = append(n.byOwner.touched, t)
	}
}

// filing returns the index as of now.
func (n *Node) filing() *index {
	x := &n.byOwner
	for _, t := range x.touched {
		t.filed.touched = false
		if n.tunnels[t.id] == t {
			x.file(t, n.owns(t))
		} else {
			x.unfile(t)
		}
	}
	clear(x.touched)
	x.touched = x.touched[:0]
	return x
}

func (t *tunnel) key() tallyKey { return tallyKey{t.owner(), t.life, t.ike.Class} }

// file puts t where it belongs.
func (x *index) file(t *tunnel, ours bool) {
	key, sum := t.key(), t.sum(ours)
	if f := &t.filed; f.tally != nil && f.tally.tallyKey == key {
		f.tally.sums[bucket(t.id)] += sum - f.sum
		f.sum = sum
		return
	}
	x.unfile(t)
	s := x.tallies[key]
	if s == nil {
		s = &tally{tallyKey: key}
		x.tallies[key] = s
	}
	t.ike.Class = s.class // one string for all
	b := bucket(t.id)
	s.count++
	s.sums[b] += sum
	shelf := &x.shelves[key.owner][b]
	t.filed = filed{tally: s, sum: sum, pos: len(*shelf)}
	*shelf = append(*shelf, t)
}

// unfile takes t out.
func (x *index) unfile(t *tunnel) {
	s := t.filed.tally
	if s == nil {
		return
	}
	b := bucket(t.id)
	s.sums[b] -= t.filed.sum
	if s.count--; s.count == 0 {
		delete(x.tallies, s.tallyKey)
	}
	shelf := &x.shelves[s.owner][b]
	last := len(*shelf) - 1
	moved := (*shelf)[last]
	(*shelf)[t.filed.pos], moved.filed.pos = moved, t.filed.pos
	(*shelf)[last] = nil
	*shelf = (*shelf)[:last]
	t.filed = filed{}
}

// sum is what t adds to a digest. A copy that is not complete differs from all
// others.
func (t *tunnel) sum(ours bool) uint64 {
	sum := mix(uint64(t.id), uint64(t.version.Epoch), t.version.Change)
	if !ours && !t.complete() {
		sum = mix(sum)
	}
	return sum
}

// ownedBy returns the tunnels of a member.
func (n *Node) ownedBy(m ipsec.MemberID) []*tunnel {
	x := n.filing()
	count := 0
	for b := range Buckets {
		count += len(x.shelves[m][b])
	}
	out := make([]*tunnel, 0, count)
	for b := range Buckets {
		out = append(out, x.shelves[m][b]...)
	}
	return out
}

// others returns the tunnels of all other members.
func (n *Node) others() []*tunnel {
	var out []*tunnel
	for _, p := range n.peers {
		if p != nil {
			out = append(out, n.ownedBy(p.id)...)
		}
	}
	return out
}

// held is how many tunnels of a member we know.
func (n *Node) held(m ipsec.MemberID) int {
	count := 0
	for _, s := range n.filing().tallies {
		if s.owner == m {
			count += s.count
		}
	}
	return count
}

// orphans tells whether we hold a tunnel of p that has lost its owner.
func (n *Node) orphans(p *peer) bool {
	for _, s := range n.filing().tallies {
		if s.owner == p.id && (!p.lives() || s.life != p.life) {
			return true
		}
	}
	return false
}

// digest adds up the tallies that keep accepts. The order does not matter.
func (n *Node) digest(keep func(tallyKey) bool) [Buckets]uint64 {
	var sums [Buckets]uint64
	for key, s := range n.filing().tallies {
		if keep(key) {
			for b := range sums {
				sums[b] += s.sums[b]
			}
		}
	}
	return sums
}

// Audit compares the index of tunnels with the tunnels themselves. It is for
// tests: it takes as long as there are tunnels, and finds nothing.
func (n *Node) Audit() error {
	x := n.filing()
	want := make(map[tallyKey]tally)
	for _, t := range n.tunnels {
		s := want[t.key()]
		s.count++
		s.sums[bucket(t.id)] += t.sum(n.owns(t))
		want[t.key()] = s
		f := t.filed
		if f.tally == nil || f.tally.tallyKey != t.key() {
			return fmt.Errorf("ha: tunnel %v of %+v is not filed so", t.id, t.key())
		}
		if shelf := x.shelves[t.owner()][bucket(t.id)]; f.pos >= len(shelf) || shelf[f.pos] != t {
			return fmt.Errorf("ha: tunnel %v is not on its shelf", t.id)
		}
	}
	if len(want) != len(x.tallies) {
		return fmt.Errorf("ha: there are %d tallies for %d kinds of tunnels", len(x.tallies), len(want))
	}
	for key, s := range want {
		if got := x.tallies[key]; got == nil || got.count != s.count || got.sums != s.sums {
			return fmt.Errorf("ha: the tally of %+v does not add up", key)
		}
	}
	return nil
}
