package softesp

import (
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/evergate/evergate/core/ipsec"
)

// This table and that of policies are read by the packet path and written by
// control calls, one at a time. A writer never changes what a reader may see: it
// publishes a new version of the part that changes.

// inboundShards is how many parts the table of inbound SAs has, by the low bits
// of the SPI, which are random. A change copies one of them.
const inboundShards = 1 << 12

// inboundTable finds inbound SAs by SPI and local address.
type inboundTable struct {
	shards [inboundShards]atomic.Pointer[[]inboundEntry]
}

type inboundEntry struct {
	spi ipsec.SPI
	sa  *association
}

func (t *inboundTable) shard(spi ipsec.SPI) *atomic.Pointer[[]inboundEntry] {
	return &t.shards[spi%inboundShards]
}

// find returns the SA, nil for none. The address is compared with where the SA's
// packets arrive now: its name keeps the first one.
func (t *inboundTable) find(spi ipsec.SPI, local netip.Addr) *association {
	entries := t.shard(spi).Load()
	if entries == nil {
		return nil
	}
	for _, e := range *entries {
		if e.spi == spi && e.sa.path.Load().local == local {
			return e.sa
		}
	}
	return nil
}

// replace puts a in the place of old; either may be nil.
func (t *inboundTable) replace(old, a *association) {
	at := a
	if at == nil {
		at = old
	}
	p := t.shard(at.ID.SPI)
	var next []inboundEntry
	if now := p.Load(); now != nil {
		next = slices.DeleteFunc(slices.Clone(*now), func(e inboundEntry) bool { return e.sa == old })
	}
	if a != nil {
		next = append(next, inboundEntry{spi: a.ID.SPI, sa: a})
	}
	p.Store(&next)
}
