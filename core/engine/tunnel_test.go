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

func TestIndexesAreTheLowestThatAreFree(t *testing.T) {
	n := NewMemberNameTable(3)
	take := func() int { i, _ := n.Take("vpn1"); return i }
	want := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s got the index %d, want %d", what, got, want)
		}
	}
	want("the first tunnel", take(), 3)
	want("the second tunnel", take(), 19)
	n.Adopt("vpn1", 35)
	want("one that meets an adopted one", take(), 51)
	n.Release("vpn1", 19)
	n.Release("vpn1", 3)
	n.Adopt("vpn1", 5) // member 5's
	n.Release("vpn1", 5)
	want("one after two have ended", take(), 3)
	n.Adopt("vpn1", 19)
	want("one whose place came back from another member", take(), 67)
}
