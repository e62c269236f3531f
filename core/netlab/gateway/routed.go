package gateway

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/evergate/evergate/core/netlab/bird"
)

// The autonomous systems of a GroupSite that is routed by BGP.
const (
	membersAS = 65001
	routerAS  = 65000
	serverAS  = 65010
)

// BGP is the part of a member's configuration that makes it a speaker: the
// router gets what clients dial, the server the way back to them.
func (m *GroupMember) BGP() string {
	return strings.ReplaceAll(fmt.Sprintf(`
bgp:
  as: %d
  router-id: 192.168.NET.254
  neighbors:
    - {address: 192.168.NET.1, remote-as: %d, source: 192.168.NET.254}
    - {address: 172.31.NET.1, remote-as: %d, source: 172.31.NET.254}
  graceful-shutdown: {delay: 2}
`, membersAS, routerAS, serverAS), "NET", strconv.Itoa(124+m.ID))
}

// StartBIRD starts BIRD in the router and in the server, with a session to each
// of these members: no route to a member is static then.
func (s *GroupSite) StartBIRD(members ...*GroupMember) (router, server *bird.Daemon) {
	router = bird.Start(s.Router, birdConfig(members, routerAS, "192.168.%d.1", "192.168.%d.254"))
	server = bird.Start(s.Server, birdConfig(members, serverAS, "172.31.%d.1", "172.31.%d.254"))
	return router, server
}

// birdConfig is a router with a session to each member. A member that leaves is
// its last resort, and equal members share.
func birdConfig(members []*GroupMember, as int, local, neighbor string) string {
	var b strings.Builder
	b.WriteString(`
router id 192.0.2.254;
protocol device { }
protocol kernel { ipv4 { export all; import none; }; merge paths on; }
filter from_member {
	if (65535, 0) ~ bgp_community then bgp_local_pref = 0;
	accept;
}
template bgp members {
	error wait time 1, 2;
	error forget time 1;
	passive on;
	hold time 3; keepalive time 1;
	ipv4 { import filter from_member; export none; };
}
`)
	for _, m := range members {
		fmt.Fprintf(&b, "protocol bgp member%d from members { local %s as %d; neighbor %s as %d; }\n",
			m.ID, fmt.Sprintf(local, 124+m.ID), as, fmt.Sprintf(neighbor, 124+m.ID), membersAS)
	}
	return b.String()
}
