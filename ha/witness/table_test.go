package witness

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestTableFollowsTunnels(t *testing.T) {
	// Whatever happens to whichever tunnel, a prefix has the best role that any
	// tunnel still gives it, and every change of a role is noted.
	rapid.Check(t, func(t *rapid.T) {
		tab := newTable(Config{Gateways: []netip.Addr{netip.MustParseAddr("203.0.113.1")}})
		model := make(map[string]holding)
		roles := make(map[netip.Prefix]role)
		tab.take()
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			tunnel := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "tunnel")
			r := rapid.SampledFrom([]role{none, standby, owner}).Draw(t, "role")
			h := holding{role: r}
			if r != none {
				h.prefixes = rapid.SliceOfN(rapid.SampledFrom(networks(5)), 0, 6).Draw(t, "prefixes")
			}
			if refused := tab.hold(tunnel, r, h.prefixes); len(refused) > 0 {
				t.Fatalf("The table refuses: %v.", refused)
			}
			model[tunnel] = h
			changed := tab.take()
			for _, p := range networks(5) {
				want := none
				for _, h := range model {
					if slices.Contains(h.prefixes, p) {
						want = max(want, h.role)
					}
				}
				if got := tab.role(p); got != want {
					t.Fatalf("%v has role %d, but the tunnels %v give it %d.", p, got, model, want)
				}
				if want != roles[p] && !slices.Contains(changed, p) {
					t.Fatalf("The role of %v changed from %d to %d without notice.", p, roles[p], want)
				}
				roles[p] = want
			}
		}
	})
}

func networks(n int) []netip.Prefix {
	var out []netip.Prefix
	for i := range n {
		out = append(out, netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", i)))
	}
	return out
}

func TestTableRefusesWhatNoClientMayAttract(t *testing.T) {
	c := Config{
		Gateways: []netip.Addr{netip.MustParseAddr("203.0.113.1")},
		BGP: BGP{
			NextHop6:  netip.MustParseAddr("2001:db8::5"),
			Neighbors: []Neighbor{{Address: netip.MustParseAddr("192.0.2.254"), Source: netip.MustParseAddr("192.0.2.1")}},
		},
	}
	for _, text := range []string{
		"0.0.0.0/0", "::/0", "224.0.0.0/4", "ff02::/16", "127.0.0.0/8", "::1/128", "169.254.0.0/16", "fe80::/10", "0.0.0.0/8",
		"203.0.113.1/32", "::ffff:203.0.113.1/128", "192.0.2.254/32", "192.0.2.1/32", "2001:db8::5/128",
	} {
		tab := newTable(c)
		if refused := tab.hold("vpn", owner, []netip.Prefix{netip.MustParsePrefix(text), netip.MustParsePrefix("10.1.0.0/16")}); len(refused) != 1 {
			t.Errorf("%s is announced because a client asked for it.", text)
		}
		if tab.role(netip.MustParsePrefix("10.1.0.0/16")) != owner {
			t.Errorf("%s takes its neighbor in the list with it.", text)
		}
	}
	tab := newTable(c)
	if refused := tab.hold("vpn", owner, []netip.Prefix{{}}); len(refused) != 1 {
		t.Error("The zero prefix is announced.")
	}
	if tab.hold("vpn", owner, []netip.Prefix{netip.MustParsePrefix("::ffff:10.1.2.3/120")}); tab.role(netip.MustParsePrefix("10.1.2.0/24")) != owner {
		t.Error("A mapped IPv4 prefix is not taken for IPv4.")
	}
}

func TestTableIsBounded(t *testing.T) {
	tab := newTable(Config{})
	prefixes := make([]netip.Prefix, maxPrefixes+1)
	for i := range prefixes {
		prefixes[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10 + byte(i>>16), byte(i >> 8), byte(i), 0}), 32)
	}
	if refused := tab.hold("vpn", owner, prefixes); len(refused) != 1 {
		t.Fatalf("%d prefixes beyond the limit were refused, not 1.", len(refused))
	}
	tab.hold("vpn", none, nil)
	if refused := tab.hold("other", owner, prefixes[:1]); len(refused) != 0 {
		t.Errorf("A table that was emptied refuses: %v.", refused)
	}
}

func TestPlanAnnouncesBeforeItWithdraws(t *testing.T) {
	host, network := netip.MustParsePrefix("203.0.113.1/32"), netip.MustParsePrefix("10.0.0.0/8")
	var pl plan
	pl.add(network, first, withdrawn)
	pl.add(host, first, second)
	pl.add(netip.MustParsePrefix("10.1.0.0/16"), first, first)
	pl.add(netip.MustParsePrefix("10.2.0.0/16"), withdrawn, lastResort)
	pl.order()
	if want := []route{{host, first}, {network, first}}; !slices.Equal(pl.announce, want) {
		t.Errorf("The plan announces %v, not %v: gateways first, and only what is news.", pl.announce, want)
	}
	if len(pl.withdraw) != 1 {
		t.Errorf("The plan withdraws %v, not one route.", pl.withdraw)
	}
}

func TestPreferenceOfEachRoleAndPhase(t *testing.T) {
	for _, c := range []struct {
		role     role
		phase    phase
		standbys bool
		want     preference
	}{
		{gateway, silent, true, withdrawn},
		{owner, silent, true, withdrawn},
		{none, fit, true, withdrawn},
		{gateway, fit, false, first},
		{owner, fit, false, first},
		{standby, fit, false, withdrawn},
		{standby, fit, true, second},
		{owner, departing, false, lastResort},
		{gateway, departing, false, lastResort},
		{standby, departing, false, withdrawn},
		{standby, departing, true, lastResort},
	} {
		if got := prefer(c.role, c.phase, c.standbys); got != c.want {
			t.Errorf("Role %d in phase %d, standbys announced %t: preference %d, not %d.", c.role, c.phase, c.standbys, got, c.want)
		}
	}
}

func TestTableRefusesOnce(t *testing.T) { // B7
	tab := newTable(Config{Gateways: []netip.Addr{netip.MustParseAddr("203.0.113.1")}})
	everything, more := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("127.0.0.0/8")
	for i, tt := range []struct {
		tunnel   string
		prefixes []netip.Prefix
		want     int
	}{
		{"a", append(networks(1), everything, everything), 1},
		{"a", append(networks(2), everything), 0},
		{"a", append(networks(2), everything, more), 1},
		{"b", []netip.Prefix{everything}, 1},
		{"b", []netip.Prefix{everything}, 0},
		{"b", nil, 0},
		{"b", []netip.Prefix{everything}, 1},
	} {
		if refused := tab.hold(tt.tunnel, owner, tt.prefixes); len(refused) != tt.want {
			t.Errorf("Step %d: tunnel %s has %v, and is refused %v, want %d refusals.", i, tt.tunnel, tt.prefixes, refused, tt.want)
		}
	}
	tab.hold("a", none, nil)
	tab.hold("b", none, nil)
	if n := len(tab.tunnels); n != 0 {
		t.Errorf("%d tunnels are remembered, want none.", n)
	}
}
