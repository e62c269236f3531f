package softesp_test

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
)

// newPairedGateways builds two gateways with a tunnel, both of which have the second
// goroutines of their queues help all the time, and returns the SAs from a to b.
func newPairedGateways(t *testing.T) (a, b *gateway, out, in ipsec.SAID) {
	t.Helper()
	if runtime.GOMAXPROCS(0) == 1 {
		before := runtime.GOMAXPROCS(2)
		t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	}
	a, b = newGateways(t, nil)
	atA, atB := a.connect(b, tunnelSpec{udp: true, change: func(sa *ipsec.SA) { sa.ReplayWindow = 32 }})
	for _, g := range []*gateway{a, b} {
		t.Cleanup(g.engine.KeepCalling())
	}
	return a, b, atA[1].ID, atB[0].ID
}

// flood sends datagrams from a to b as fast as a timer ticks.
func flood(a, b *gateway) *netlab.Streaming {
	return netlab.Stream{
		From: a.ns, To: b.ns, Source: a.inner[0].String(), Dest: b.inner[0].String(), Every: 50 * time.Microsecond, Size: 1000,
	}.Start(a.t)
}

// waitForBoth waits until both goroutines of a queue have carried packets of an SA.
func (g *gateway) waitForBoth(id ipsec.SAID) {
	g.t.Helper()
	netlab.Eventually(g.t, patience, "both goroutines carry packets", func() error {
		if !g.engine.CarriedByBoth(id) {
			return errors.New("one does all")
		}
		return nil
	})
}

// TestTwoGoroutinesKeepTheOrder: a replay window of 32 packets forgives no batch that
// overtakes another.
func TestTwoGoroutinesKeepTheOrder(t *testing.T) {
	t.Parallel()
	a, b, out, in := newPairedGateways(t)
	traffic := flood(a, b)
	transfer(t, a, b, 0, 16<<20)
	a.waitForBoth(out)
	b.waitForBoth(in)
	if r := traffic.Stop(); r.Reordered > 0 || r.Duplicated > 0 || r.Received == 0 {
		t.Errorf("Datagrams should keep their order: of %d %d arrived, %d twice and %d too late.", r.Sent, r.Received, r.Duplicated, r.Reordered)
	}
	if d := b.counters(in).Drops; d.Replayed+d.Authentication+d.Malformed > 0 {
		t.Errorf("Every packet that arrives should be accepted, got %+v.", d)
	}
}

// TestDemoteWaitsForTwoGoroutines: after it returned, neither uses a number any more.
func TestDemoteWaitsForTwoGoroutines(t *testing.T) {
	t.Parallel()
	a, b, out, _ := newPairedGateways(t)
	flood(a, b)
	a.waitForBoth(out)
	for n := range uint64(10) {
		if err := a.engine.Demote(t.Context(), group, later(2*n)); err != nil {
			t.Fatalf("Demote failed: %v.", err)
		}
		before := a.counters(out)
		netlab.Eventually(t, patience, "packets of the standby are dropped", func() error {
			if got := a.counters(out).Drops.Standby; got < before.Drops.Standby+20 {
				return fmt.Errorf("%d dropped", got-before.Drops.Standby)
			}
			return nil
		})
		if after := a.counters(out); after.Packets != before.Packets || after.Sequence.Next != before.Sequence.Next {
			t.Fatalf("After Demote the SA went on from %d to %d.", before.Sequence.Next, after.Sequence.Next)
		}
		if err := a.engine.Promote(t.Context(), group, later(2*n+1)); err != nil {
			t.Fatalf("Promote failed: %v.", err)
		}
		netlab.Eventually(t, patience, "packets leave again", func() error {
			if got := a.counters(out); got.Packets == before.Packets {
				return fmt.Errorf("still %d", got.Packets)
			}
			return nil
		})
	}
}

// TestSocketsCloseBetweenTwoGoroutines closes sockets, and then everything, under load.
func TestSocketsCloseBetweenTwoGoroutines(t *testing.T) {
	t.Parallel()
	a, b, out, in := newPairedGateways(t)
	flood(a, b)
	a.waitForBoth(out)
	b.waitForBoth(in)
	for _, g := range []*gateway{a, b} {
		fewer := g.config
		fewer.Addresses = fewer.Addresses[1:] // without that of the tunnel
		for _, c := range []offload.Config{fewer, g.config, fewer, g.config} {
			if err := g.ns.Do(func() error { _, err := g.engine.Configure(t.Context(), c); return err }); err != nil {
				t.Fatalf("Configure failed: %v.", err)
			}
		}
	}
	arrived := b.counters(in).Packets
	netlab.Eventually(t, patience, "packets arrive again", func() error {
		if b.counters(in).Packets == arrived {
			return fmt.Errorf("still %d", arrived)
		}
		return nil
	})
	for _, g := range []*gateway{a, b} {
		if err := g.engine.Close(); err != nil {
			t.Errorf("The engine did not close cleanly under load: %v.", err)
		}
	}
}
