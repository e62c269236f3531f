package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// TestClientVanishesWithItsOwner kills a client and the owner of its tunnel at
// the same moment: nobody else ever hears of either. A survivor asks the client,
// and takes its tunnel and its route away everywhere.
func TestClientVanishesWithItsOwner(t *testing.T) { // F23, C12, C13
	t.Parallel()
	f := newFGSP(t, 3, 0)
	for i, m := range f.site.Members {
		config := f.site.Config(m, "    fgsp-sync: enable", "")
		f.members[i].Write(strings.Replace(config, "dpd-retryinterval: 60", "dpd-retryinterval: 2\n    dpd-retrycount: 2", 1))
		if _, err := f.members[i].Reload(); err != nil {
			t.Fatal(err)
		}
	}
	f.waitSynced(f.members...)
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	pingThrough(t, f)
	one, survivors := f.members[0], f.members[1:]
	for i, d := range survivors {
		f.waitRole(d, "vpn1_1", "standby")
		if !f.site.Members[i+1].Host.HasRoute(gateway.ClientNet) {
			t.Errorf("member %d has no route to the client's network while it stands by", i+2)
		}
	}
	f.site.ClientWAN.Down()
	f.client.Kill()
	one.Kill()
	f.site.Lead(f.site.Members[1:]...)
	for _, d := range survivors {
		d.WaitGone("vpn1", limit)
	}
	netlab.Eventually(t, limit, "the survivors have no route to the client", func() error {
		for _, m := range f.site.Members[1:] {
			if m.Host.HasRoute(gateway.ClientNet) {
				return fmt.Errorf("member %d has", m.ID)
			}
		}
		return nil
	})
	var dead, asked uint64
	for _, d := range survivors {
		dead += d.Stat("ike.dead_peers")
		asked += d.Stat("ike.probes") + d.Stat("ha.sync.tx") // the latter by one that had been away itself
	}
	if dead != 1 || asked < 3 {
		t.Errorf("the survivors asked the client %d times and found %d dead, want at least 3 times and 1", asked, dead)
	}
}
