package engine

import "sync"

// NameTable is the Names of one process.
type NameTable struct {
	mu     sync.Mutex
	taken  map[string]map[int]bool
	serial uint64
}

// NewNameTable makes an empty table.
func NewNameTable() *NameTable { return &NameTable{taken: make(map[string]map[int]bool)} }

// Take implements Names.
func (n *NameTable) Take(connection string) (int, uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.taken[connection]
	if m == nil {
		m = make(map[int]bool)
		n.taken[connection] = m
	}
	i := 0
	for m[i] {
		i++
	}
	m[i] = true
	n.serial++
	return i, n.serial
}

// Release implements Names.
func (n *NameTable) Release(connection string, index int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.taken[connection], index)
}
