package ha

// Graves yields what a member is told that comes with a tunnel that has ended.
func (n *Node) Graves(yield func(Remove)) {
	for id := range n.tombs.byID {
		yield(n.tombs.remove(id))
	}
}
