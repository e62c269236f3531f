package witness_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/ha/witness"
)

func TestBothFamiliesOnTheirOwnSessions(t *testing.T) {
	const network = "2001:db8:99::/48"
	s := newSite(t, 2, session4+session6)
	for k := 1; k <= 2; k++ {
		c := s.config(k)
		c.BGP.Neighbors = append(c.BGP.Neighbors, toRouter("2001:db8:%d::254", "2001:db8:%d::1", k))
		m := s.start(k, c)
		m.do("fit", "")
		if k == 1 {
			m.do("own", "vpn1_1", network)
		}
	}
	s.wantRoute("both members have the IPv4 gateway", gateway4, 1, 2)
	s.wantRoute("both members have the IPv6 gateway", gateway6, 1, 2)
	s.wantRoute("the owner has the client's IPv6 network", network, 1)
}

func TestOneIPv6SessionCarriesBoth(t *testing.T) { // RFC 8950
	session := strings.Replace(session6, "ipv6 {", "ipv4 { import filter from_member; export none; extended next hop on; };\n\tipv6 {", 1)
	s := newSite(t, 1, session)
	c := s.config(1)
	c.BGP.Neighbors = []neighbor{toRouter("2001:db8:%d::254", "2001:db8:%d::1", 1)}
	c.BGP.Neighbors[0].IPv4, c.BGP.Neighbors[0].IPv6 = true, true
	m := s.start(1, c)
	m.do("fit", "")
	s.wantRoute("IPv6 goes its own way", gateway6, 1)
	want := netip.MustParseAddr("2001:db8:1::1")
	netlab.Eventually(t, limit, "IPv4 goes to an IPv6 next hop", func() error {
		if hops := s.bird.NextHops(netip.MustParsePrefix(gateway4)); len(hops) != 1 || hops[0] != want {
			return fmt.Errorf("the next hops are %v", hops)
		}
		return nil
	})
	m.stop()
}

func TestOneIPv4SessionCarriesBoth(t *testing.T) {
	session := strings.Replace(session4, "ipv4 {", "ipv6 { import filter from_member; export none; };\n\tipv4 {", 1)
	s := newSite(t, 1, session)
	c := s.config(1)
	c.BGP.Neighbors[0].IPv4, c.BGP.Neighbors[0].IPv6 = true, true
	c.BGP.NextHop6 = netip.MustParseAddr("2001:db8:1::1")
	m := s.start(1, c)
	m.do("fit", "")
	s.wantRoute("IPv4 goes to the session's own address", gateway4, 1)
	s.wantRoute("IPv6 goes to the configured one", gateway6, 1)
	m.stop()
}

func TestInternalSessionPrefersTheOwner(t *testing.T) {
	const network = "10.99.1.0/24"
	s := newSite(t, 2, strings.Replace(session4, "as 65001;", "as 65000; direct;", 1))
	for k := 1; k <= 2; k++ {
		c := s.config(k)
		c.BGP.AS, c.BGP.AnnounceStandby = routerAS, true
		m := s.start(k, c)
		m.do("fit", "")
		m.do(map[int]string{1: "own", 2: "stand by"}[k], "vpn1_1", network)
	}
	s.wantRoute("both have the gateway", gateway4, 1, 2)
	s.wantRoute("the owner's local preference wins", network, 1)
}

func TestProtectedSession(t *testing.T) {
	// TCP MD5 signatures (RFC 2385) and the TTL check of RFC 5082.
	session := strings.Replace(session4, "ipv4 {", "password \"a shared secret\"; ttl security on;\n\tipv4 {", 1)
	s := newSite(t, 2, session)
	c := s.config(1)
	c.BGP.Neighbors[0].TTLSecurity = true
	c.BGP.Neighbors[0].Password = "a shared secret"
	m := s.start(1, c)
	m.do("fit", "")
	s.wantRoute("the right password and TTL make a session", gateway4, 1)

	c = s.config(2)
	c.BGP.Neighbors[0].TTLSecurity = true
	c.BGP.Neighbors[0].Password = "another secret"
	stranger := s.start(2, c)
	stranger.do("fit", "")
	got := wantState(stranger, "the wrong password makes trouble", func(n witness.NeighborStatus) bool { return n.LastError != "" })
	if got.State == "Established" || !strings.Contains(got.LastError, "failed to connect") {
		t.Errorf("A session with the wrong password: %+v.", got)
	}
	s.wantRoute("the stranger gets nothing", gateway4, 1)
	if log := stranger.process.Log().Text(); strings.Contains(log, "another secret") {
		t.Error("The password is in the log.")
	}
}

func TestPassiveNeighborConnects(t *testing.T) {
	s := newSite(t, 2, strings.Replace(session4, "ipv4 {", "passive off; connect delay time 1; connect retry time 1;\n\tipv4 {", 1))
	c := s.config(1)
	c.BGP.Neighbors[0].Passive = true
	m := s.start(1, c)
	m.do("fit", "")
	s.wantRoute("the router connects to the passive member", gateway4, 1)

	active := s.start(2, s.config(2))
	active.do("fit", "")
	s.wantRoute("the other connects itself", gateway4, 1, 2)
	if conn, err := s.router.Dial(t.Context(), "tcp", "", "10.2.0.1:179"); err == nil {
		conn.Close()
		t.Error("A member without passive neighbors listens on port 179.")
	}
	m.stop()
	active.stop()
}

func TestRefusalsOfASessionAreTold(t *testing.T) { // B7
	s := newSite(t, 2, session4)
	c := s.config(1)
	c.BGP.Neighbors[0].AS = 64999
	m := s.start(1, c)
	wantState(m, "the member says that the router's AS is not the configured one", func(n witness.NeighborStatus) bool {
		return strings.Contains(n.LastError, "bad peer as")
	})
	m.stop()

	c = s.config(2)
	c.BGP.AS = 64999
	m = s.start(2, c)
	wantState(m, "the member says that the router did not like its own AS", func(n witness.NeighborStatus) bool {
		return strings.Contains(n.LastError, "the neighbor refused the session")
	})
	m.stop()
}

func TestMemberIsNoTransit(t *testing.T) {
	// One neighbor sends a route to a member, which must neither use it nor pass
	// it on to the other.
	const leaked = "192.0.2.128/25"
	s := newSite(t, 1, `
protocol static leak { ipv4; route `+leaked+` blackhole; }
`+strings.Replace(session4, "export none", "export where source = RTS_STATIC", 1)+`
protocol bgp second from members {
	local 10.%d.0.253 as 64800;
	neighbor 10.%d.0.2 as 65001;
	ipv4 { import filter from_member; export none; };
}`)
	c := s.config(1)
	other := toRouter("10.%d.0.253", "10.%d.0.2", 1)
	other.AS = 64800
	c.BGP.Neighbors = append(c.BGP.Neighbors, other)
	m := s.start(1, c)
	m.do("fit", "")
	m.process.WaitLog("received update.*"+leaked, limit)
	m.do("own", "vpn1_1", "10.99.1.0/24")
	netlab.Eventually(t, limit, "the other has what the member announces after that", func() error {
		if got := s.bird.Show("route protocol second"); !strings.Contains(got, "10.99.1.0/24") {
			return fmt.Errorf("it has %q", got)
		}
		return nil
	})
	if got := s.bird.Show("route protocol second"); strings.Contains(got, leaked) {
		t.Errorf("The member passed its neighbor's route on:\n%s", got)
	}
	if m.ns.HasRoute(leaked) {
		t.Error("The member uses its neighbor's route.")
	}
	m.stop()
}

func TestFloodingNeighborIsCutOffForAWhile(t *testing.T) {
	var flood strings.Builder
	for i := range 10_001 {
		fmt.Fprintf(&flood, "route 100.%d.%d.0/24 blackhole;\n", 64+i>>8, i&0xff)
	}
	s := newSite(t, 1, "protocol static flood { disabled; ipv4;\n"+flood.String()+"}\n"+
		strings.Replace(session4, "export none", "export where source = RTS_STATIC", 1))
	m := s.start(1, s.config(1))
	m.do("fit", "")
	s.wantRoute("the session is up", gateway4, 1)
	s.bird.Command("enable flood")
	s.wantRoute("the neighbor is cut off", gateway4)
	wantState(m, "the member says so", func(n witness.NeighborStatus) bool {
		return n.Lost > 0 && strings.Contains(n.LastError, "more than 10000 routes")
	})
	s.bird.Command("disable flood")
	s.wantRoute("and gets another try", gateway4, 1)
	m.stop()
}

func TestDrainLosesNoPacket(t *testing.T) { // B6
	s := newSite(t, 2, session4)
	members := []*member{s.start(1, s.config(1)), s.start(2, s.config(2))}
	for _, m := range members {
		m.do("fit", "")
	}
	s.wantRoute("both are fit", gateway4, 1, 2)
	pings := s.client.Pinging(netip.MustParsePrefix(gateway4).Addr().String(), "198.51.100.2", 10*time.Millisecond)
	for k, m := range members {
		drained := m.order("drain", "")
		s.wantRoute("traffic has moved before the member withdraws", gateway4, 2-k)
		m.wait(drained)
		if got := m.status(); !got.Draining || got.Neighbors[0].Announced != 0 {
			t.Fatalf("The drained member announces: %+v.", got)
		}
		m.do("resume", "")
		s.wantRoute("a member that resumes is back", gateway4, 1, 2)
	}
	netlab.Eventually(t, limit, "draining one member after the other costs no packet", func() error {
		if lost := pings.Account().Lost; len(lost) > 0 { // or late: replies overtake each other where members change
			return fmt.Errorf("the echo requests %v are without a reply", lost)
		}
		return nil
	})
	for _, m := range members {
		m.stop()
	}
}
