package mem

import (
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// maxHeld bounds the packets that wait for the successor of an SA, of each tunnel.
const maxHeld = 64

// wait has a packet that found no number wait for a successor of sa, or drops it.
func (e *Engine) wait(sa *entry) error {
	switch tunnel := sa.desc.Tunnel; {
	case !e.about.HoldsPackets || sa.desc.Link != nil || !sa.spent():
		sa.drops.Ceiling++
		return ErrNoNumber
	case e.held[tunnel] == maxHeld:
		sa.drops.Queue++
		return ErrNoNumber
	default:
		e.held[tunnel]++
		sa.held++
		return ErrHeld
	}
}

// succeed sends by sa what has waited for it, in its tunnel.
func (e *Engine) succeed(sa *entry) {
	n := e.held[sa.desc.Tunnel]
	if n == 0 || sa.desc.Direction != ipsec.Outbound || sa.desc.Link != nil || sa.role != offload.Active {
		return
	}
	delete(e.held, sa.desc.Tunnel)
	for range n {
		if p, err := e.send(sa); err == nil {
			e.released = append(e.released, p)
		}
	}
}

// Released returns the packets that have waited and left since it was called last, in
// order. Whoever plays packets of SAs that end takes them now and then.
func (e *Engine) Released() []Packet {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := e.released
	e.released = nil
	return out
}
