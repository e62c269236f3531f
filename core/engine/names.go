package engine

import (
	"sync"

	"github.com/evergate/evergate/core/ipsec"
)

// NameTable is the Names of one process.
type NameTable struct {
	first, step int

	mu     sync.Mutex
	taken  map[string]map[int]bool
	serial uint64
}

// NewNameTable makes an empty table for a gateway that stands alone: indexes
// count from 0.
func NewNameTable() *NameTable { return newNameTable(0, 1) }

// NewMemberNameTable makes an empty table for a member of a group. A name means
// one tunnel in the whole group (C10), so every member has indexes of its own:
// the first of member 1 is 1, and then 17.
func NewMemberNameTable(m ipsec.MemberID) *NameTable { return newNameTable(int(m), ipsec.MaxMembers) }

func newNameTable(first, step int) *NameTable {
	return &NameTable{first: first, step: step, taken: make(map[string]map[int]bool)}
}

// Take implements Names.
func (n *NameTable) Take(connection string) (int, uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.taken[connection]
	if m == nil {
		m = make(map[int]bool)
		n.taken[connection] = m
	}
	i := n.first
	for m[i] {
		i += n.step
	}
	m[i] = true
	n.serial++
	return i, n.serial
}

// Adopt implements Names.
func (n *NameTable) Adopt(connection string, index int) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.taken[connection]
	if m == nil {
		m = make(map[int]bool)
		n.taken[connection] = m
	}
	m[index] = true
	n.serial++
	return n.serial
}

// Release implements Names.
func (n *NameTable) Release(connection string, index int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.taken[connection], index)
}
