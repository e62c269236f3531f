package e2e_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/bird"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// routed is a group whose router and server learn from the members where to send
// to: no route to a member is static.
type routed struct {
	*fgsp
	router, server *bird.Daemon
}

// newRouted starts n members and their routers. All members share the clients'
// packets when it returns.
func newRouted(t *testing.T, n int) *routed {
	t.Helper()
	r := &routed{fgsp: startFGSP(t, n, 0, speaker)}
	r.router, r.server = r.site.StartBIRD(r.site.Members...)
	r.wantClientsAt("all members share the clients' packets", r.site.Members...)
	return r
}

// speaker is a member's configuration.
func speaker(m *gateway.GroupMember) string { return m.BGP() + metricsConfig }

// wantClientsAt waits until the router sends what is for the gateway to these
// members.
func (r *routed) wantClientsAt(sentence string, members ...*gateway.GroupMember) {
	r.t.Helper()
	r.wantHops(sentence, r.router, gateway.GatewayAddr+"/32", "192.168.%d.254", members)
}

// wantBackAt waits until the server sends what is for the client to these
// members.
func (r *routed) wantBackAt(sentence string, members ...*gateway.GroupMember) {
	r.t.Helper()
	r.wantHops(sentence, r.server, gateway.ClientNet, "172.31.%d.254", members)
}

func (r *routed) wantHops(sentence string, at *bird.Daemon, prefix, hop string, members []*gateway.GroupMember) {
	r.t.Helper()
	var want []netip.Addr
	for _, m := range members {
		want = append(want, netip.MustParseAddr(fmt.Sprintf(hop, 124+m.ID)))
	}
	netlab.Eventually(r.t, time.Minute, sentence, func() error {
		if got := at.NextHops(netip.MustParsePrefix(prefix)); !slices.Equal(got, want) {
			return fmt.Errorf("what is for %s goes to %v, not to %v", prefix, got, want)
		}
		return nil
	})
}

// connectAtFirst has the client dial the first member; then all share its packets
// again.
func (r *routed) connectAtFirst() *watch {
	r.t.Helper()
	for _, m := range r.site.Members[1:] {
		r.router.Command(fmt.Sprintf("disable member%d", m.ID))
	}
	r.wantClientsAt("the client can reach one member only", r.site.Members[0])
	r.site.Server.Route("10.0.0.0/8", "172.31.125.254") // what has no better route yet
	w := r.connect(r.members[1:]...)
	for _, m := range r.site.Members[1:] {
		r.router.Command(fmt.Sprintf("enable member%d", m.ID))
	}
	r.wantClientsAt("all members share the client's packets", r.site.Members...)
	r.wantBackAt("the owner alone gets what is for its client", r.site.Members[0])
	return w
}

// TestRouterLeavesDeadMember: two members announce one local-gw. One dies, its
// routes with it, and the client's SAs live on at the other, which announces the
// client's network from then on.
func TestRouterLeavesDeadMember(t *testing.T) { // F4, F5, F9, F12, B5
	t.Parallel()
	r := newRouted(t, 2)
	w := r.connectAtFirst()
	w.flows() // wherever the router sends the client's packets
	r.waitRole(r.members[0], "vpn1_1", "sync-primary")

	r.members[0].Kill()
	r.wantClientsAt("the dead member gets nothing any more", r.site.Members[1])
	r.wantBackAt("its client's network has moved", r.site.Members[1])
	w.flows()
	r.waitRole(r.members[1], "vpn1_1", "primary")
	w.unbroken()
}

// TestStoppingMemberIsLeftBeforeItStops: what the client sends during a planned
// stop arrives, all of it.
func TestStoppingMemberIsLeftBeforeItStops(t *testing.T) { // F4, F5
	t.Parallel()
	r := newRouted(t, 2)
	w := r.connectAtFirst()
	stream := netlab.Stream{
		From: r.site.Client, Source: gateway.ClientHost, To: r.site.Server, Dest: gateway.ServerLoopback, Every: every,
	}.Start(t)
	stream.WaitFor(50, time.Minute)

	r.members[0].Stop()
	r.wantClientsAt("the member that stopped gets nothing any more", r.site.Members[1])
	r.wantBackAt("its client's network has moved", r.site.Members[1])
	stream.WaitFor(50, time.Minute)
	if result := stream.Stop(); len(result.Lost) > 0 {
		t.Errorf("the planned stop cost packets of the client: %v", result.Err())
	}
	w.flows()
	w.unbrokenMoved()
}

// TestStatusShowsTheNeighbors: an operator sees whether routers send here, and
// what they were told; so does Prometheus.
func TestStatusShowsTheNeighbors(t *testing.T) { // B7
	t.Parallel()
	r := newRouted(t, 2)
	for _, d := range r.members {
		netlab.Eventually(t, time.Minute, "both sessions are up, with the local-gw", func() error {
			s, err := d.Status()
			if err != nil {
				return err
			}
			n := s.Network
			if !n.Fit || n.Reason != "synced" || len(n.Neighbors) != 2 {
				return fmt.Errorf("it shows %+v", n)
			}
			for _, neighbor := range n.Neighbors {
				if neighbor.State != "Established" || neighbor.Prefixes != 1 {
					return fmt.Errorf("a neighbor is %+v", neighbor)
				}
			}
			return nil
		})
	}
	text := evergate(t, r.members[0], "status")
	for _, want := range []string{"network: fit, synced", "member 1", "192.168.125.1", "Established"} {
		if !strings.Contains(text, want) {
			t.Errorf("`evergate status` lacks %q:\n%s", want, text)
		}
	}
	samples, _ := scrape(t, r.site.Members[0].Host)
	for name, want := range map[string]float64{
		`evergate_witness_fit`: 1, `evergate_witness_draining`: 0, `evergate_witness_prefixes{role="owner"}`: 0,
		`evergate_witness_neighbors{state="established"}`: 2, `evergate_witness_neighbors{state="idle"}`: 0,
		`evergate_witness_announced_total`: 1, `evergate_witness_refused_total`: 0,
		`evergate_ha_members{state="alive"}`: 1, `evergate_ha_members{state="synced"}`: 1,
		`evergate_ha_claims_total`: 0, `evergate_ha_takeovers_total`: 0, `evergate_ha_queue_full_total{class="record"}`: 0,
	} {
		if got, ok := samples[name]; !ok || got != want {
			t.Errorf("%s is %v (%t), want %v", name, got, ok, want)
		}
	}
}
