package ike

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// LocalSPIs are the SPIs by which messages for this tunnel are known: those that
// we chose for its IKE SAs, the current one first.
func (t *Tunnel) LocalSPIs() []ipsec.IKESPI { return t.spis() }

// Pair describes both SAs of a pair by the name of either, the outbound one also
// when it is not in use yet: a standby must know it from the start. False when
// there is no such pair.
func (t *Tunnel) Pair(now time.Time, id ipsec.SAID) (in, out ipsec.SA, ok bool) {
	c := t.childByID(id)
	if c == nil {
		return ipsec.SA{}, ipsec.SA{}, false
	}
	return t.describe(now, c, ipsec.Inbound), t.describe(now, c, ipsec.Outbound), true
}
