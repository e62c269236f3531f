package engine

import (
	"testing"
	"time"

	"github.com/evergate/evergate/ike"
)

// TestClientThatDiedWithItsOwnerIsFlushed: no packet will ever come for its
// tunnel, so a survivor adopts it, asks the client, and takes everything away
// from all members when nobody answers.
func TestClientThatDiedWithItsOwnerIsFlushed(t *testing.T) { // F23, C12, C13
	g := newGroup(t, 3)
	for _, m := range g.members {
		m.shard.policy.Connection("vpn1").DPD = ike.DPD{Interval: 20 * time.Second, Retries: 2}
	}
	g.dial()
	g.pass(time.Second)
	g.members[0].dead, g.gone = true, true
	g.pass(15 * time.Second)
	owners := 0
	for _, m := range g.members[1:] {
		owners += len(m.tunnels())
		if !m.routes[clientNet] || len(m.inventory()) != 2 {
			t.Errorf("member %s has %d SAs and the route %t before anybody knows of the client's death", m.name, len(m.inventory()), m.routes[clientNet])
		}
	}
	if owners != 1 {
		t.Fatalf("%d survivors own the tunnel, want 1", owners)
	}
	g.pass(60 * time.Second)
	dead := uint64(0)
	for _, m := range g.members[1:] {
		dead += m.shard.Stats().IKE.DeadPeers
		if len(m.tunnels()) != 0 || len(m.replica.Tunnels(g.now)) != 0 {
			t.Errorf("member %s still has the tunnel of the dead client", m.name)
		}
		if len(m.inventory()) != 0 || len(m.routes) != 0 {
			t.Errorf("member %s still has %d SAs and the routes %v of the dead client", m.name, len(m.inventory()), m.routes)
		}
	}
	if dead != 1 {
		t.Errorf("the survivors found %d clients dead, want 1", dead)
	}
}

func TestTenThousandTakeoversAskInTurn(t *testing.T) {
	const tunnels, shards = 10000, 4
	s := newPair(t).server.shard
	s.probes.every *= shards
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	within := make(map[time.Duration]int) // by second
	for range tunnels / shards {
		within[s.probes.slot(now).Sub(now).Truncate(time.Second)] += shards
	}
	for second, n := range within {
		if n > probesPerSecond {
			t.Errorf("%d peers are asked in second %v, want at most %d", n, second, probesPerSecond)
		}
	}
	if n := len(within); n != tunnels/probesPerSecond {
		t.Errorf("the peers are asked over %d seconds, want %d", n, tunnels/probesPerSecond)
	}
	later := now.Add(time.Hour)
	if at := s.probes.slot(later); !at.Equal(later) {
		t.Errorf("a single takeover asks %v later, want at once", at.Sub(later))
	}
}
