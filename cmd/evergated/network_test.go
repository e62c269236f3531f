package main

import (
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/evergate/evergate/core/config"
	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/ha"
)

// testNetwork is a member's that has a router.
func testNetwork(t *testing.T) *network {
	t.Helper()
	n, err := newNetwork(&config.Config{
		Cluster: &config.StandaloneCluster{},
		Phase1:  []*config.Phase1{{LocalGW: netip.MustParseAddr("203.0.113.1"), FGSPSync: true}},
		BGP: &config.BGP{
			AS: 65001, RouterID: netip.MustParseAddr("192.0.2.1"), HoldTime: 3 * time.Second, Keepalive: time.Second,
			Neighbors: []*config.BGPNeighbor{{Address: netip.MustParseAddr("192.0.2.254"), RemoteAS: 65000}},
			Announce:  config.Announce{Clients: true},
		},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNetworkHearsOfTheOwnerOnly(t *testing.T) { // F12
	n := testNetwork(t)
	ours := engine.Route{Prefix: netip.MustParsePrefix("10.10.1.0/24"), Tunnel: 7, Name: "vpn1_1"}
	others := ours
	others.Standby = true
	for _, step := range []struct {
		what           string
		do             func(engine.Route)
		route          engine.Route
		owned, standby int
	}{
		{"a yield of what was never here", n.yield, others, 0, 0},
		{"another member's tunnel", n.add, others, 0, 1},
		{"a takeover", n.add, ours, 1, 0},
		{"a loss, as the group tells it first", n.add, others, 1, 0},
		{"and then the shard", n.yield, others, 0, 1},
		{"another takeover", n.add, ours, 1, 0},
		{"the end", n.del, ours, 0, 0},
		{"a loss that comes late", n.yield, others, 0, 0},
	} {
		step.do(step.route)
		if s := n.describe(); s.Owned != step.owned || s.Standby != step.standby {
			t.Errorf("after %s %d networks are ours and %d are others', want %d and %d", step.what, s.Owned, s.Standby, step.owned, step.standby)
		}
	}
	if len(n.tunnels) != 0 {
		t.Errorf("tunnels that are gone are remembered: %v", n.tunnels)
	}
}

func TestFitTakesGroupAndDataplane(t *testing.T) { // F4, I4
	n := testNetwork(t)
	want := func(when string, fit bool, reason string) {
		t.Helper()
		if s := n.describe(); s.Fit != fit || s.Reason != reason {
			t.Errorf("%s the member is fit: %t (%s), want %t (%s)", when, s.Fit, s.Reason, fit, reason)
		}
	}
	serve := func(up bool) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.serving = up
		n.judge()
	}
	want("at first", false, "starting")
	n.group(ha.Health{Fit: true})
	want("without a dataplane", false, "no dataplane")
	serve(true)
	want("with both", true, "synced")
	n.group(ha.Health{Why: "syncing"})
	want("after a return", false, "syncing")
	n.group(ha.Health{Fit: true})
	serve(false)
	want("when the dataplane dies", false, "no dataplane")
}

func TestAddressesOfTheUnitFollowItsPrimary(t *testing.T) {
	n := testNetwork(t)
	n.why = "primary"
	var held []bool
	n.hold = func(on bool) { held = append(held, on) }
	serve := func(up bool) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.serving = up
		n.judge()
	}
	n.group(ha.Health{Why: "subordinate"})
	serve(true)
	n.group(ha.Health{Why: "taking over"})
	n.group(ha.Health{Fit: true})
	if s := n.describe(); s.Reason != "primary" {
		t.Errorf("the reason is %q, want primary", s.Reason)
	}
	serve(false)
	if want := []bool{false, false, false, true, false}; !slices.Equal(held, want) {
		t.Errorf("the addresses were held %v, want %v: once the tunnels are at work, as long as there is a dataplane", held, want)
	}
}
