package witness_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/bird"
	"github.com/evergate/evergate/ha/witness"
)

const (
	memberAS, routerAS = 65001, 65000
	gateway4           = "203.0.113.1/32"
	gateway6           = "2001:db8:ffff::1/128"
)

// site is a router with a client behind it and members before it, each on a
// network of its own: member k has 10.k.0.1, 10.k.0.2 and 2001:db8:k::1, the
// router .254, .253 and ::254 there. All members have the gateways' addresses.
type site struct {
	t      *testing.T
	lab    *netlab.Lab
	client *netlab.Namespace
	router *netlab.Namespace
	bird   *bird.Daemon
	hosts  []*netlab.Namespace // of the members
	links  []*netlab.Interface // the members' ends
}

// newSite starts BIRD with the text for each member's sessions, in which %d is
// the member's number, from 1.
func newSite(t *testing.T, members int, sessions string) *site {
	t.Helper()
	t.Parallel() // sessions wait for timers most of their time
	lab := netlab.New(t)
	s := &site{t: t, lab: lab, client: lab.Namespace("client"), router: lab.Namespace("router")}
	lab.Link(s.client.Port("wan", "198.51.100.2/24"), s.router.Port("wan", "198.51.100.1/24"))
	s.client.Route("0.0.0.0/0", "198.51.100.1")
	s.router.Forward()
	config := []string{routerConfig}
	for k := 1; k <= members; k++ {
		host := lab.Namespace("member" + strconv.Itoa(k))
		end, _ := lab.Link(host.Port("up", numbered("10.%d.0.1/24", k), numbered("10.%d.0.2/24", k), numbered("2001:db8:%d::1/64", k)),
			s.router.Port(numbered("m%d", k), numbered("10.%d.0.254/24", k), numbered("10.%d.0.253/24", k), numbered("2001:db8:%d::254/64", k)))
		host.Loopback(gateway4, gateway6)
		host.Route("0.0.0.0/0", numbered("10.%d.0.254", k))
		s.hosts, s.links = append(s.hosts, host), append(s.links, end)
		config = append(config, numbered(sessions, k))
	}
	s.bird = bird.Start(s.router, strings.Join(config, ""))
	return s
}

func numbered(format string, k int) string {
	return strings.ReplaceAll(format, "%d", strconv.Itoa(k))
}

// routerConfig is common to all routers: equal routes become multipath routes
// of the kernel, and a member that leaves gracefully is the last resort.
const routerConfig = `
router id 192.0.2.254;
protocol device { }
protocol kernel kernel4 { ipv4 { export all; import none; }; merge paths on; }
protocol kernel kernel6 { ipv6 { export all; import none; }; merge paths on; }
filter from_member {
	if (65535, 0) ~ bgp_community then bgp_local_pref = 0;
	accept;
}
template bgp members {
	# BIRD refuses sessions for a minute or more after an error otherwise.
	error wait time 1, 2;
	error forget time 1;
	passive on;
	hold time 3; keepalive time 1;
}
`

// Sessions of one member: the family of each is that of its addresses.
const (
	session4 = `
protocol bgp v4_member%d from members {
	local 10.%d.0.254 as 65000;
	neighbor 10.%d.0.1 as 65001;
	ipv4 { import filter from_member; export none; };
}
`
	session6 = `
protocol bgp v6_member%d from members {
	local 2001:db8:%d::254 as 65000;
	neighbor 2001:db8:%d::1 as 65001;
	ipv6 { import filter from_member; export none; };
}
`
)

// config is a member's with neighbors that match session4.
func (s *site) config(k int) memberConfig {
	return memberConfig{
		Gateways: []netip.Addr{netip.MustParsePrefix(gateway4).Addr(), netip.MustParsePrefix(gateway6).Addr()},
		BGP: bgp{
			BGP:       witness.BGP{AS: memberAS, RouterID: netip.MustParseAddr(numbered("10.%d.0.1", k))},
			Neighbors: []neighbor{toRouter("10.%d.0.254", "10.%d.0.1", k)},
		},
		Drain: 2 * time.Second,
	}
}

func toRouter(address, source string, k int) neighbor {
	return neighbor{Neighbor: witness.Neighbor{
		Address: netip.MustParseAddr(numbered(address, k)), AS: routerAS, Source: netip.MustParseAddr(numbered(source, k)),
	}}
}

func (s *site) start(k int, c memberConfig) *member {
	s.t.Helper()
	return startMember(s.t, s.hosts[k-1], c)
}

// wantRoute waits until the router's kernel sends prefix to exactly these
// members, equally. None is no route.
func (s *site) wantRoute(sentence, prefix string, members ...int) {
	s.t.Helper()
	p := netip.MustParsePrefix(prefix)
	var want []netip.Addr
	for _, k := range members {
		if p.Addr().Is4() {
			want = append(want, netip.MustParseAddr(numbered("10.%d.0.1", k)))
		} else {
			want = append(want, netip.MustParseAddr(numbered("2001:db8:%d::1", k)))
		}
	}
	netlab.Eventually(s.t, limit, sentence, func() error {
		if got := s.bird.NextHops(p); !slices.Equal(got, want) {
			return fmt.Errorf("the router sends %v to %v, not to %v", p, got, want)
		}
		return nil
	})
}

// wantRoutes waits until the router has so many IPv4 routes.
func (s *site) wantRoutes(sentence string, count int) {
	s.t.Helper()
	want := fmt.Sprintf("%d of %d routes for %d networks in table master4", count, count, count)
	netlab.Eventually(s.t, limit, sentence, func() error {
		if got := s.bird.Show("route table master4 count"); !strings.Contains(got, want) {
			return fmt.Errorf("it has %q", got)
		}
		return nil
	})
}

// wantState waits until a member reports its first session in that state.
func wantState(m *member, sentence string, ok func(witness.NeighborStatus) bool) witness.NeighborStatus {
	m.t.Helper()
	var got witness.NeighborStatus
	netlab.Eventually(m.t, limit, sentence, func() error {
		neighbors := m.status().Neighbors
		if len(neighbors) == 0 {
			return errors.New("the speaker has not started")
		}
		if got = neighbors[0]; !ok(got) {
			return fmt.Errorf("the session is %+v", got)
		}
		return nil
	})
	return got
}
