package engine

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
)

func TestRoutePrefixes(t *testing.T) {
	peer := netip.MustParsePrefix("192.0.2.2/32")
	remote := []ipsec.TrafficSelector{ipsec.SelectorOf(peer)}
	for _, mode := range []ipsec.Mode{ipsec.Tunnel, ipsec.Transport} {
		sa := ipsec.SA{Direction: ipsec.Outbound, Mode: mode, Selectors: ipsec.Selectors{Remote: remote}}
		if got := routePrefixes(sa); !slices.Equal(got, []netip.Prefix{peer}) {
			t.Errorf("an outbound SA in %v mode leads to %v, want %v", mode, got, peer)
		}
		sa.Direction = ipsec.Inbound
		if got := routePrefixes(sa); len(got) > 0 {
			t.Errorf("an inbound SA in %v mode leads to %v, but it sends nothing", mode, got)
		}
	}
}

// A dataplane that lost its SAs finds none for the packets that come before they
// are put back.
func TestPacketOfATunnelThatIsUpStartsNoOther(t *testing.T) {
	p := newPair(t)
	p.dial()
	p.client.plane.Acquire(ipsec.SelectorOf(clientNet), ipsec.SelectorOf(serverNet))
	p.deliver()
	p.client.only()
	p.client.wantSAs(2)
}
