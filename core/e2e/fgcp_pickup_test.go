package e2e_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// TestUnitWithoutSessionPickup: the subordinate of such a unit holds nothing, and its
// list is the header line. When it is primary the client finds out that it is not
// known, and begins anew.
func TestUnitWithoutSessionPickup(t *testing.T) {
	t.Parallel()
	f := startFGCP(t, "  session-pickup: disable\n")
	one, two := f.members[0], f.members[1]
	f.client = strongswan.Start(f.site.Client, strongswan.Settings{
		LogKeys: true, RetransmitTimeout: time.Second, More: map[string]string{"retransmit_tries": "2"},
	})
	office := f.office()
	office.DPDDelay, office.Children[0].DPDAction = time.Second, "restart"
	f.client.Load(office)
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	f.pings()
	before := one.Tunnel("vpn1_1")
	if before.Role != "primary" {
		t.Errorf("the tunnel's role is %q at the primary, want primary: nothing is synchronized", before.Role)
	}
	wantText(t, "the subordinate's list", evergate(t, two, "diagnose", "vpn", "tunnel", "list"), `^list all ipsec tunnel in vd 0\n*$`)
	f.wire = f.site.ClientWAN.Capture("udp port 500 or udp port 4500")
	one.Kill()
	f.waitPrimary(1, two)
	netlab.Eventually(t, 2*time.Minute, "the client has a tunnel with the new primary", func() error {
		for _, tunnel := range two.Tunnels("vpn1") {
			if tunnel.IKESPIs != before.IKESPIs && len(tunnel.Proxies) == 1 {
				return nil
			}
		}
		return fmt.Errorf("it has %+v", two.Tunnels("vpn1"))
	})
	f.pings()
	netlab.Eventually(t, time.Minute, "the client negotiated", func() error {
		for _, m := range f.wire.IKE("") {
			if m.ExchangeType == ikeSAInit {
				return nil
			}
		}
		return errors.New("no IKE_SA_INIT crossed the wire")
	})
	if !f.site.Members[1].Host.HasRoute(gateway.ClientNet) {
		t.Error("the new primary has no route to the client's network")
	}
}
