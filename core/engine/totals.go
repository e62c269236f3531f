package engine

import (
	"maps"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// Traffic is what passed through the tunnels of one connection since the start,
// those that are gone included: it never goes back.
type Traffic struct {
	PacketsIn, PacketsOut uint64
	BytesIn, BytesOut     uint64
	Drops                 offload.Drops
}

func (t *Traffic) add(d ipsec.Direction, packets, bytes uint64, drops offload.Drops) {
	if d == ipsec.Inbound {
		t.PacketsIn += packets
		t.BytesIn += bytes
	} else {
		t.PacketsOut += packets
		t.BytesOut += bytes
	}
	t.Drops = sumDrops(t.Drops, drops)
}

// addSA adds what an SA has carried so far.
func (t *Traffic) addSA(e *sa) {
	packets, bytes := e.total()
	t.add(e.desc.Direction, packets, bytes, e.count.dropped())
}

func sumDrops(a, b offload.Drops) offload.Drops {
	return offload.Drops{
		Replayed: a.Replayed + b.Replayed, Authentication: a.Authentication + b.Authentication,
		Malformed: a.Malformed + b.Malformed, Selector: a.Selector + b.Selector, Lifetime: a.Lifetime + b.Lifetime,
		Ceiling: a.Ceiling + b.Ceiling, Standby: a.Standby + b.Standby, TooBig: a.TooBig + b.TooBig, Queue: a.Queue + b.Queue,
	}
}

// totals keeps the traffic of SAs that are gone, by connection.
type totals struct {
	gone map[string]Traffic
	// dying SAs were counted as far as known when they were removed; the
	// dataplane's last word brings the rest.
	dying map[ipsec.SAID]dying
}

type dying struct {
	phase1         string
	packets, bytes uint64
}

// maxDying bounds the SAs whose last counters are awaited; a dataplane that
// never answers costs accuracy, not memory.
const maxDying = 4096

func newTotals() totals {
	return totals{gone: make(map[string]Traffic), dying: make(map[ipsec.SAID]dying)}
}

// bury counts an SA that is being removed, as far as it is known.
func (n *totals) bury(t *tunnel, e *sa) {
	if t.conn == nil {
		return
	}
	sum := n.gone[t.conn.Name]
	sum.addSA(e)
	n.gone[t.conn.Name] = sum
	if len(n.dying) < maxDying {
		n.dying[e.desc.ID] = dying{t.conn.Name, e.count.packets, e.count.bytes}
	}
}

// settle adds what the dataplane counted after the last checkpoint.
func (n *totals) settle(last []offload.Counters) {
	for _, c := range last {
		d, ok := n.dying[c.ID]
		if !ok {
			continue
		}
		delete(n.dying, c.ID)
		sum := n.gone[d.phase1]
		sum.add(c.Direction, since(d.packets, c.Packets), since(d.bytes, c.Bytes), offload.Drops{})
		n.gone[d.phase1] = sum
	}
}

func since(before, after uint64) uint64 { return after - min(before, after) }

// Traffic is the traffic of this shard by connection.
func (s *Shard) Traffic() map[string]Traffic {
	out := maps.Clone(s.totals.gone)
	for _, t := range s.tunnels {
		if t.conn == nil {
			continue
		}
		sum := out[t.conn.Name]
		for _, e := range t.sas {
			sum.addSA(e)
		}
		out[t.conn.Name] = sum
	}
	return out
}
