package e2e_test

import (
	"testing"

	"github.com/evergate/evergate/core/netlab/gateway"
)

// TestAllDaemonsOfAUnitDie kills both daemons of a unit at once. Their dataplanes go
// on; the unit's addresses do not, as another member might have them by now. What the
// owner had on disk, and nobody else remembers, is enough to go on with, whoever comes
// back first.
func TestAllDaemonsOfAUnitDie(t *testing.T) { // B6, C1, C2, C7, I1, I2
	t.Parallel()
	f := newFGCPOf(t, dialect{more: sealKey})
	one, two := f.members[0], f.members[1]
	before := one.Tunnel("vpn1_1")
	for _, first := range []*gateway.Daemon{two, one} {
		planes := []int{plugin(t, one), plugin(t, two)}
		one.KillDaemon()
		two.KillDaemon()
		first.Restart()
		for _, d := range f.members {
			if d != first {
				d.Restart()
			}
		}
		f.waitReady()
		f.flows()
		wantOneOwner(t, "vpn1_1", f.members...)
		for i, d := range f.members {
			wantPlugin(t, d, planes[i])
			now := d.Tunnel("vpn1_1")
			if saPair(now) != saPair(before) || now.IKESPIs != before.IKESPIs {
				t.Errorf("member %d has the SAs %s of the IKE SA %v, want those of before, %s of %v", i+1, saPair(now), now.IKESPIs, saPair(before), before.IKESPIs)
			}
		}
	}
	f.unbroken()
	if err := f.client.RekeyChild("lan"); err != nil {
		t.Errorf("the unit that came back does not rekey: %v", err)
	}
	f.pings()
}
