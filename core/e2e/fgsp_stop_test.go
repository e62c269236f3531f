package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// TestPlannedStopLosesNothing stops the owner of a tunnel after the network has
// been led to the others, to one of them or each direction to another. The owner
// sends what they give it until its successor does so itself, and all know.
func TestPlannedStopLosesNothing(t *testing.T) { // F9, F4, F5, I7
	t.Parallel()
	for name, split := range map[string]bool{"both directions to one member": false, "each direction to another member": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stopPlanned(t, split)
		})
	}
}

func stopPlanned(t *testing.T, split bool) {
	f := newFGSP(t, 3, 0)
	one, two, three := f.members[0], f.members[1], f.members[2]
	f.waitLinked(one, two, three)
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	f.waitRole(one, "vpn1_1", "sync-primary")
	f.waitRole(two, "vpn1_1", "standby")
	f.waitRole(three, "vpn1_1", "standby")
	before, wire := f.client.SAs(), f.site.ClientWAN.Capture("udp port 4500 or esp")
	f.site.Lead(f.site.Members[1])
	if split {
		f.site.LeadDown(f.site.Members[2])
	}
	up := netlab.Stream{From: f.site.Client, Source: gateway.ClientHost, To: f.site.Server, Dest: gateway.ServerLoopback, Every: every}.Start(t)
	down := netlab.Stream{From: f.site.Server, Source: gateway.ServerLoopback, To: f.site.Client, Dest: gateway.ClientHost, Every: every}.Start(t)
	up.WaitFor(20, time.Minute)
	down.WaitFor(20, time.Minute)
	f.waitRole(one, "vpn1_1", "sync-primary") // nobody took what went elsewhere

	one.Stop()
	up.WaitFor(50, time.Minute)
	down.WaitFor(50, time.Minute)
	wantOneOwner(t, "vpn1_1", two, three)
	wantMovedWhole(t, up, down, wire)
	if n := strings.Count(one.Log().Text(), "left before"); n != 0 {
		t.Errorf("the owner did not wait for its successor:\n%s", one.Log().Text())
	}
	wantSameSAs(t, before, f.client.SAs())
}
