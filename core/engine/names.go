package engine

import (
	"container/heap"
	"sync"

	"github.com/evergate/evergate/core/ipsec"
)

// NameTable is the Names of one process.
type NameTable struct {
	first, step int

	mu     sync.Mutex
	taken  map[string]*indexes
	serial uint64
}

// indexes are those of one connection.
type indexes struct {
	taken map[int]bool
	// freed holds all free ones below next, and perhaps some that are not free;
	// the smallest comes first.
	freed intHeap
	next  int
}

// NewNameTable makes an empty table for a gateway that stands alone: indexes
// count from 0.
func NewNameTable() *NameTable { return newNameTable(0, 1) }

// NewMemberNameTable makes an empty table for a member of a group. A name means
// one tunnel in the whole group (C10), so every member has indexes of its own:
// the first of member 1 is 1, and then 17.
func NewMemberNameTable(m ipsec.MemberID) *NameTable { return newNameTable(int(m), ipsec.MaxMembers) }

func newNameTable(first, step int) *NameTable {
	return &NameTable{first: first, step: step, taken: make(map[string]*indexes)}
}

// Take implements Names.
func (n *NameTable) Take(connection string) (int, uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.serial++
	return n.of(connection).take(n.step), n.serial
}

// Adopt implements Names.
func (n *NameTable) Adopt(connection string, index int) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.of(connection).taken[index] = true
	n.serial++
	return n.serial
}

// Up implements Names.
func (n *NameTable) Up(connection string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	x := n.taken[connection]
	return x != nil && len(x.taken) > 0
}

// Release implements Names.
func (n *NameTable) Release(connection string, index int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	x := n.of(connection)
	delete(x.taken, index)
	if index < x.next && (index-n.first)%n.step == 0 { // others are of other members
		heap.Push(&x.freed, index)
	}
}

func (n *NameTable) of(connection string) *indexes {
	x := n.taken[connection]
	if x == nil {
		x = &indexes{taken: make(map[int]bool), next: n.first}
		n.taken[connection] = x
	}
	return x
}

// take finds the lowest free index.
func (x *indexes) take(step int) int {
	for len(x.freed) > 0 {
		if i, _ := heap.Pop(&x.freed).(int); !x.taken[i] {
			x.taken[i] = true
			return i
		}
	}
	for x.taken[x.next] {
		x.next += step
	}
	i := x.next
	x.taken[i] = true
	x.next += step
	return i
}

// intHeap is a heap.Interface.
type intHeap []int

func (h intHeap) Len() int           { return len(h) }
func (h intHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h intHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *intHeap) Push(v any) {
	if i, ok := v.(int); ok {
		*h = append(*h, i)
	}
}

// Pop implements heap.Interface.
func (h *intHeap) Pop() any {
	last := len(*h) - 1
	v := (*h)[last]
	*h = (*h)[:last]
	return v
}
