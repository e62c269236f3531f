package sim_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/sim"
)

// wantNothingLost checks that no packet got lost since before.
func wantNothingLost(t *testing.T, what string, before, after sim.Sum) {
	t.Helper()
	if up, down := after.UpLost-before.UpLost, after.DownLost-before.DownLost; up+down > 0 {
		t.Errorf("%s: %d packets of clients and %d for them were lost.", what, up, down)
	}
}

// TestDaemonsComeBackToTheirDataplanes: routers that do not see it lead on to a
// member whose daemon is dead, and nobody else takes its tunnels before it is back.
func TestDaemonsComeBackToTheirDataplanes(t *testing.T) { // B6, I1, I2, I7
	for seed := range uint64(plannedSeeds+3) / 4 {
		members, clients := 2+int(seed%3), 4+int(seed%9)
		c := sim.New(sim.Config{Seed: seed, Members: members, Clients: clients, Lease: 1 << 20, Calm: true, Steady: true, Static: true})
		c.Start()
		c.Play(3 * time.Second)
		before := c.Sum()
		for id := range ipsec.MemberID(members) {
			c.Orphan(id)
			c.Play(600 * time.Millisecond)
			c.Boot(id, true)
			c.Play(1500 * time.Millisecond)
		}
		after := c.Sum()
		wantNothingLost(t, "One daemon after the other died and came back", before, after)
		if n := after.Resumed - before.Resumed; n != uint64(clients) || after.Claims != before.Claims {
			t.Errorf("Seed %d: %d tunnels of %d were gone on with, and %d taken by others.", seed, n, clients, after.Claims-before.Claims)
		}
		wantUntouched(t, c, clients)
	}
}

// TestAllDaemonsComeBackAtOnce: nobody remembers anything but the journals.
func TestAllDaemonsComeBackAtOnce(t *testing.T) { // B6, I1, I2
	for seed := range uint64(plannedSeeds+3) / 4 {
		members, clients := 2+int(seed%3), 4+int(seed%9)
		c := sim.New(sim.Config{Seed: seed, Members: members, Clients: clients, Lease: 1 << 20, Calm: true, Steady: true, Static: true, Sealed: true})
		c.Start()
		c.Play(3 * time.Second)
		before := c.Sum()
		for range 2 {
			for id := range ipsec.MemberID(members) {
				c.Orphan(id)
			}
			c.Play(600 * time.Millisecond)
			for id := range ipsec.MemberID(members) {
				c.Boot(id, true)
			}
			c.Play(2 * time.Second)
		}
		after := c.Sum()
		wantNothingLost(t, "All daemons died and came back", before, after)
		if n := after.Resumed - before.Resumed; n != 2*uint64(clients) {
			t.Errorf("Seed %d: %d tunnels were gone on with, want each of %d twice.", seed, n, clients)
		}
		wantUntouched(t, c, clients)
	}
}

// TestTunnelsTakenMeanwhileStayWhereTheyAre: routers lead elsewhere as soon as a daemon
// dies. What others have taken by the time that it is back falls silent in its
// dataplane.
func TestTunnelsTakenMeanwhileStayWhereTheyAre(t *testing.T) { // B6, F23, I7, I8
	c := calm(t, 3, 12)
	c.Orphan(0)
	c.Play(600 * time.Millisecond)
	before := c.Sum()
	if before.Claims == 0 {
		t.Error("Nobody took a tunnel of the dead daemon, although its packets came.")
	}
	c.Boot(0, true)
	c.Play(3 * time.Second)
	if after := c.Sum(); after.Claims != before.Claims {
		t.Errorf("%d tunnels moved again when it was back.", after.Claims-before.Claims)
	}
	wantUntouched(t, c, 12)
}
