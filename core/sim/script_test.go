package sim_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/sim"
	"github.com/evergate/evergate/ha"
)

// calm starts a cluster whose trouble is the script's, with clients that are up.
func calm(t *testing.T, members, clients int) *sim.Cluster {
	t.Helper()
	return calmly(t, sim.Config{Seed: 1, Members: members, Clients: clients})
}

// calmly is calm with more to say.
func calmly(t *testing.T, cfg sim.Config) *sim.Cluster {
	t.Helper()
	cfg.Calm, cfg.Steady = true, true
	c := sim.New(cfg)
	c.Start()
	c.Play(4 * time.Second)
	if err := c.Err(); err != nil {
		t.Fatalf("A calm cluster: %v.", err)
	}
	if up := c.Established(); up != cfg.Clients {
		t.Fatalf("%d of %d clients have a tunnel.", up, cfg.Clients)
	}
	return c
}

// wantUntouched checks that the cluster comes to rest and that no client had to
// dial again.
func wantUntouched(t *testing.T, c *sim.Cluster, clients int) {
	t.Helper()
	if err := c.Settle(); err != nil {
		t.Errorf("After all was healed: %v.", err)
	}
	if n := c.Sum().Dials; n != uint64(clients) {
		t.Errorf("%d clients began %d IKE SAs, want one each.", clients, n)
	}
}

func TestClientsOutliveADeadMember(t *testing.T) { // F5, F12, F23, C1
	c := calm(t, 3, 12)
	c.Crash(0)
	c.Play(3 * time.Second)
	wantUntouched(t, c, 12)
}

func TestClientsOutliveTwoDeathsInARow(t *testing.T) { // F12, F23
	c := calm(t, 4, 12)
	c.Crash(1)
	c.Play(2 * time.Second)
	c.Crash(2)
	c.Play(2 * time.Second)
	wantUntouched(t, c, 12)
}

func TestClientsOutliveARollingRestart(t *testing.T) { // F4
	c := calm(t, 3, 12)
	for id := ipsec.MemberID(0); id < 3; id++ {
		c.Stop(id)
		c.Play(3 * time.Second)
		c.Boot(id, true)
		c.Play(3 * time.Second)
	}
	wantUntouched(t, c, 12)
}

// TestPlannedStopsLoseNothing stops every member once, one after the other, with
// routers that bring what clients send to one member and what is for them to
// another. Nothing is lost, not even on the way.
func TestPlannedStopsLoseNothing(t *testing.T) { // F4, F9, I7
	for seed := range uint64(plannedSeeds) {
		members, clients := 2+int(seed%3), 4+int(seed%9)
		// One lease is enough, and a lifetime, so that no SA needs new keys.
		c := sim.New(sim.Config{Seed: seed, Members: members, Clients: clients, Lease: 1 << 20, Calm: true, Steady: true, Split: true})
		c.Start()
		c.Play(3 * time.Second)
		for id := range ipsec.MemberID(members) {
			before := c.Sum()
			c.Stop(id)
			c.Play(1200 * time.Millisecond)
			after := c.Sum()
			if up, down := after.UpLost-before.UpLost, after.DownLost-before.DownLost; up+down > 0 {
				t.Errorf("Seed %d: the stop of member %d lost %d packets of clients and %d for them.", seed, id, up, down)
			}
			c.Boot(id, true)
			c.Play(1300 * time.Millisecond)
		}
		if n := c.Sum().Handed; n < uint64(clients) {
			t.Errorf("Seed %d: %d tunnels were handed over, want at least each of %d once.", seed, n, clients)
		}
		wantUntouched(t, c, clients)
	}
}

func TestClientsOutliveAFrozenMember(t *testing.T) { // B5
	for _, f := range []struct {
		what              string
		daemon, dataplane bool
	}{
		{"the whole member", true, true},
		{"its daemon", true, false},
		{"its dataplane", false, true},
	} {
		t.Run(f.what, func(t *testing.T) {
			c := calm(t, 3, 12)
			c.Freeze(2, f.daemon, f.dataplane)
			c.Play(2 * time.Second)
			c.Thaw(2)
			wantUntouched(t, c, 12)
		})
	}
}

func TestClientsOutliveADividedGroup(t *testing.T) { // B1, F23
	c := calm(t, 4, 12)
	c.Part(ha.MembersOf(0, 1))
	c.Play(3 * time.Second)
	wantUntouched(t, c, 12)
}

func TestClientsOutliveALostDataplane(t *testing.T) { // B6
	c := calm(t, 3, 12)
	for id := ipsec.MemberID(0); id < 3; id++ {
		c.LosePlane(id, 500*time.Millisecond)
		c.Play(2 * time.Second)
	}
	wantUntouched(t, c, 12)
}

func TestClockThatJumpsMovesNothing(t *testing.T) { // B5
	c := calm(t, 3, 12)
	before := c.Sum().Claims
	c.Jump(1, 5*time.Second)
	c.Play(time.Second)
	if n := c.Sum().Claims - before; n != 0 {
		t.Errorf("%d tunnels changed their owner because a clock jumped.", n)
	}
	wantUntouched(t, c, 12)
}

func TestFlappingRoutersMoveNoTunnel(t *testing.T) { // B5, F9
	c := calm(t, 3, 12)
	for range 20 {
		c.Rehash()
		c.Play(200 * time.Millisecond)
	}
	if s := c.Sum(); s.Claims != 0 {
		t.Errorf("%d tunnels changed their owner although nobody died.", s.Claims)
	}
	wantUntouched(t, c, 12)
}

func TestSixteenMembersLoseFive(t *testing.T) { // F3, F11, F12, F13
	c := calm(t, 16, 40)
	for id := ipsec.MemberID(0); id < 5; id++ {
		c.Crash(3 * id)
		c.Play(500 * time.Millisecond)
	}
	c.Play(2 * time.Second)
	wantUntouched(t, c, 40)
}

// TestIKEv1ClientsOutlive has clients of IKEv1, in main and in aggressive mode, in
// groups to which things happen.
func TestIKEv1ClientsOutlive(t *testing.T) { // C2, C3, C5, F5
	for what, happens := range map[string]func(c *sim.Cluster){
		"a member that dies": func(c *sim.Cluster) { c.Crash(0) },
		"two members that die": func(c *sim.Cluster) {
			c.Crash(0)
			c.Play(2 * time.Second)
			c.Crash(1)
		},
		"a member that stops":   func(c *sim.Cluster) { c.Stop(0) },
		"a member that freezes": func(c *sim.Cluster) { c.Freeze(0, true, true) },
		"a group that parts":    func(c *sim.Cluster) { c.Part(ha.MembersOf(0)) },
		"a dataplane that dies": func(c *sim.Cluster) { c.LosePlane(0, 500*time.Millisecond) },
		"a rolling restart": func(c *sim.Cluster) {
			for id := ipsec.MemberID(0); id < 3; id++ {
				c.Stop(id)
				c.Play(3 * time.Second)
				c.Boot(id, true)
				c.Play(3 * time.Second)
			}
		},
		"phase 1 that is rekeyed while routers flap": func(c *sim.Cluster) {
			for range 60 {
				c.Rehash()
				c.Play(time.Second)
			}
		},
	} {
		for _, mode := range []struct {
			name string
			seed uint64 // an even one is aggressive mode's
		}{{"main mode", 1}, {"aggressive mode", 2}} {
			for rule, dialect := range map[string]sim.Dialect{"leases": sim.IKEv1, "the last number": sim.MaxSeq} {
				t.Run(what+", "+mode.name+", "+rule, func(t *testing.T) {
					c := calmly(t, sim.Config{Seed: mode.seed, Members: 3, Clients: 8, Dialect: dialect})
					happens(c)
					c.Play(3 * time.Second)
					wantUntouched(t, c, 8)
				})
			}
		}
	}
}
