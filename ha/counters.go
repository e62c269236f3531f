package ha

import (
	"bytes"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// countersPerRecord keeps records of counters well below a frame's limit: a
// window of 4096 packets takes half a KiB.
const countersPerRecord = 128

// onCount keeps the newest counters until they go out. Those that are as before
// are known.
func (n *Node) onCount(now time.Time, in Count) {
	for _, s := range in.SAs {
		c := n.bySA[s.ID]
		if c == nil || !n.owns(c.of) {
			continue
		}
		told := &c.told[0]
		if s.ID == c.Out.ID {
			told = &c.told[1]
		}
		if *told && c.knows(s) {
			continue
		}
		*told = true
		if _, waits := n.counts[s.ID]; !waits {
			n.countOrder = append(n.countOrder, s.ID)
		}
		n.counts[s.ID] = s
		heard := c.of.heard
		c.counted(now, s)
		if n.drowsy(now) {
			c.of.heard = heard
		}
	}
}

// knows tells whether s says nothing new. How long an SA has been idle is no news.
func (c *child) knows(s Counted) bool {
	used := c.InUsed
	if s.ID == c.Out.ID {
		used = c.OutUsed
	} else if s.Sequence.Highest != c.In.Sequence.Highest || !bytes.Equal(s.Sequence.Bitmap, c.In.Sequence.Bitmap) {
		return false
	}
	return s.Used.Packets == used.Packets && s.Used.Bytes == used.Bytes
}

// tellAgain has the next counters of all SAs go out: a member has missed some while it
// was away.
func (n *Node) tellAgain() {
	for _, t := range n.ownedBy(n.cfg.Member) {
		for _, c := range t.pairs() {
			c.told = [2]bool{}
		}
	}
}

// drowsy tells whether we have just been away. What the dataplane counts then may
// have waited for it all the while, and the peer may be another member's by now.
func (n *Node) drowsy(now time.Time) bool {
	return !n.woke.IsZero() && now.Sub(n.woke) < 2*n.cfg.CountersEvery
}

// counted notes what one SA has carried, and what it has received.
func (c *child) counted(now time.Time, s Counted) {
	if s.ID == c.Out.ID {
		c.OutUsed = s.Used
		return
	}
	c.InUsed = s.Used
	if s.Sequence.Highest > c.In.Sequence.Highest {
		c.of.heard = now
	}
	if s.Sequence.Highest >= c.In.Sequence.Highest {
		c.In.Sequence.Highest, c.In.Sequence.Bitmap = s.Sequence.Highest, s.Sequence.Bitmap
	}
}

// countBatch is how many counters one step tells of: after a join they are those of all
// SAs, and heartbeats must not wait for these.
const countBatch = 4096

// sendCounts publishes the newest counters of SAs that had new ones, and tells whether
// there are more. When a member lags behind, all get them again the next time: newer
// ones replace them.
func (n *Node) sendCounts() (more bool) {
	part := n.countOrder[:min(countBatch, len(n.countOrder))]
	lags := false
	for _, p := range n.peers {
		if p == nil || !p.present() {
			continue
		}
		if len(p.out.queue) > n.cfg.Limits.Window/2 {
			lags = true
			continue
		}
		var batch []Counted
		for _, id := range part {
			s, waits := n.counts[id]
			if c := n.bySA[id]; waits && c != nil && c.of.given.Has(p.id) {
				batch = append(batch, s)
			}
		}
		for some := range slices.Chunk(batch, countersPerRecord) {
			n.enqueue(p, Counters{SAs: some}, 0)
		}
	}
	if lags {
		n.countOrder = slices.DeleteFunc(n.countOrder, func(id ipsec.SAID) bool {
			_, waits := n.counts[id]
			return !waits // the SA has gone
		})
		return false
	}
	for _, id := range part {
		delete(n.counts, id)
	}
	if n.countOrder = n.countOrder[len(part):]; len(n.countOrder) > 0 {
		return true
	}
	if len(part) > 0 {
		// Not kept: a map has the room that it once had, and the first report after a
		// join is of all SAs.
		n.counts, n.countOrder = make(map[ipsec.SAID]Counted), nil
	}
	return false
}

// onCounters moves our replay windows to the owner's checkpoint, so that nothing
// that was accepted before it is accepted again after a takeover (I9).
func (n *Node) onCounters(now time.Time, p *peer, r Counters) {
	var changes []Change
	for _, s := range r.SAs {
		c := n.bySA[s.ID]
		if c == nil || c.of.owner() != p.id || len(s.Sequence.Bitmap) > ipsec.MaxReplayWindow/8 {
			continue
		}
		c.counted(now, s)
		if s.ID == c.In.ID && s.Sequence.Highest != 0 {
			changes = append(changes, Change{ID: s.ID, Sequence: &ipsec.Sequence{
				Highest: s.Sequence.Highest, Bitmap: s.Sequence.Bitmap,
			}})
		}
	}
	if len(changes) > 0 {
		n.order(Order{Kind: Update, Changes: changes})
	}
}
