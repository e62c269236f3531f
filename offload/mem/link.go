package mem

import (
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// linkTo returns the newest outbound SA of a link to the member that owns g, nil
// for none.
func (e *Engine) linkTo(g offload.Group) *entry {
	var newest *entry
	for _, sa := range e.sas {
		to := sa.desc.Link
		if to != nil && sa.desc.Direction == ipsec.Outbound && offload.Group(to.Member) == g &&
			(newest == nil || sa.serial > newest.serial) {
			newest = sa
		}
	}
	return newest
}

// Arrived plays an authentic packet with the number seq that arrives over the
// inbound SA of a link, and that the outbound SA id selects; it returns the packet
// that leaves. Errors: those of Inbound and Outbound, and ErrNoSA where id is not
// there.
func (e *Engine) Arrived(over ipsec.SAID, seq uint64, id ipsec.SAID) (Packet, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	link, err := e.carrier(over, ipsec.Inbound)
	if err != nil {
		return Packet{}, err
	}
	if err := e.accept(link, seq); err != nil {
		return Packet{}, err
	}
	sa := e.sas[id]
	if sa == nil || sa.desc.Direction != ipsec.Outbound {
		link.drops.Selector++
		return Packet{}, ErrNoSA
	}
	if sa.role == offload.Standby {
		e.noteFirst(sa)
	}
	if sa.role == offload.Standby {
		link.drops.Standby++ // and on no link again
		return Packet{}, ErrStandby
	}
	e.carried(link)
	return e.send(sa)
}
