package softesp

import (
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// linkTable finds the outbound SA of the link to a member. The packet path reads
// it; a control call publishes a new list.
type linkTable struct {
	// byMember has the SAs of the links to each member, newest first.
	byMember [ipsec.MaxMembers]atomic.Pointer[[]*association]
}

// find returns the newest SA of a link to the member that owns g, nil for none.
func (t *linkTable) find(g offload.Group) *association {
	if sas := t.byMember[g].Load(); sas != nil && len(*sas) > 0 {
		return (*sas)[0]
	}
	return nil
}

// replace puts a in the place of old; either may be nil.
func (t *linkTable) replace(old, a *association) {
	for m := range t.byMember {
		var next []*association
		if now := t.byMember[m].Load(); now != nil {
			next = slices.DeleteFunc(slices.Clone(*now), func(x *association) bool { return x == old })
		}
		if a != nil && int(a.Link.Member) == m {
			next = append(next, a)
			slices.SortFunc(next, func(x, y *association) int { return cmp.Compare(y.serial, x.serial) })
		}
		t.byMember[m].Store(&next)
	}
}

// relay carries on what another member sent over a link: r's own transmitter, in
// r's goroutine, finds the SA of the inner packet as for one from the TUN device,
// encrypts it and has it sent with the batch. Nothing waits in a queue, so packets
// keep the order that they had in the link. None is put on a link again.
func (r *receiver) relay(link *association, inner []byte) {
	t := r.onward
	t.now = r.now
	if len(t.jobs) == cap(t.jobs) {
		t.encrypt()
	}
	if !t.super.ParsePacket(inner) {
		link.drop(dropMalformed, 1)
		return
	}
	a := t.find(&t.super.Header)
	switch {
	case a == nil:
		link.drop(dropSelector, 1)
	case !a.active() && !r.e.knock(a):
		link.drop(dropStandby, 1)
	default:
		r.run.count(1, len(inner))
		t.carry(a)
	}
}
