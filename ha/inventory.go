package ha

import (
	"maps"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// onInventory makes the dataplane hold again what stands by, after it lost its
// state or its events. What is ours is the engine's to put back: tunnels whose
// claim is under way come to life at once, so that it knows of them, and so do those
// that were handed to us: the dataplane that they waited for may be gone.
func (n *Node) onInventory(now time.Time, in Inventory) {
	n.planeUp, n.bare = true, n.bare || len(in.SAs) == 0
	if n.estate != nil {
		maps.DeleteFunc(n.estate.left, func(id ipsec.SAID, _ Left) bool { return !in.SAs[id] })
	}
	for _, s := range n.seized {
		n.reveal(now, s)
	}
	n.seized = nil
	for _, t := range n.restoring {
		t.restoreBy = now
	}
	for _, t := range n.others() {
		for _, c := range t.pairs() {
			if !in.SAs[c.In.ID] || !in.SAs[c.Out.ID] {
				n.reinstall(c)
			}
		}
	}
	for _, p := range n.peers {
		if p != nil && n.armed[p.id] != 0 {
			n.armGroup(p)
		}
	}
}

// reinstall puts a pair back that stood by. Where it was armed, it may have
// started and used its numbers, and the word of it was lost with the dataplane.
func (n *Node) reinstall(c *child) {
	n.expose(c)
	c.base = max(c.base, c.used)
	// A dataplane that kept half of the pair would keep it as it is.
	n.order(Order{Kind: Discard, IDs: []ipsec.SAID{c.In.ID, c.Out.ID}})
	c.spent = 0
	n.install(c, false)
}
