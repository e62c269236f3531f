package engine

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// takeovers counts how often each tunnel came to us in this process: with the boot
// number that is what keeps the nonces of our IKE messages apart from those that we
// have sent with the same keys before (invariant I1).
type takeovers struct {
	counts map[ipsec.TunnelID]uint32
	// ended are those that have ended, in order.
	ended []endedTunnel
}

type endedTunnel struct {
	id ipsec.TunnelID
	at time.Time
}

// countTakeover is ike.Env.Takeovers.
func (s *Shard) countTakeover(id ipsec.TunnelID, seen uint32) uint32 {
	c := s.takeovers.counts
	c[id] = max(c[id], seen) + 1
	return c[id]
}

// end notes that a tunnel has ended here. It may come back all the same: another member
// may have owned it already and have the peer. So its count is forgotten when no IKE SA
// of it can live any more.
func (o *takeovers) end(now time.Time, id ipsec.TunnelID) {
	if o.counts[id] != 0 {
		o.ended = append(o.ended, endedTunnel{id, now})
	}
	for len(o.ended) > 0 && now.Sub(o.ended[0].at) > ha.DefaultTombstoneLife {
		delete(o.counts, o.ended[0].id)
		o.ended = o.ended[1:]
	}
}
