package softesp_test

import (
	"fmt"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
)

// later is an epoch above that of the installations.
func later(n uint64) offload.Epoch { return offload.NewEpoch(1+n, 1) }

// stream sends numbered datagrams from a to b until the test stops it.
func stream(a, b *gateway) *netlab.Streaming {
	return netlab.Stream{From: a.ns, To: b.ns, Source: a.inner[0].String(), Dest: b.inner[0].String()}.Start(a.t)
}

// TestStandbyForwardsAndStaysSilent: what arrives at a standby is forwarded and
// reported once, what would leave is dropped (invariant I7).
func TestStandbyForwardsAndStaysSilent(t *testing.T) { // B5
	a, b := newGateways(t, nil)
	atA, atB := tunnelSpec{}.pair(a, b)
	a.install(offload.Active, atA[:]...)
	b.install(offload.Standby, atB[:]...)
	events := watch(t, b.engine)
	wire := b.wan.Capture("ip proto 50")
	r := a.pingOnce(netlab.Ping{To: b.inner[0].String(), Count: 3, Wait: lostSoon})
	if r.Received != 0 {
		t.Errorf("A standby should answer nothing, got %d replies.", r.Received)
	}
	netlab.Eventually(t, patience, "three requests are forwarded and three replies dropped", func() error {
		in, out := b.counters(atB[0].ID), b.counters(atB[1].ID)
		if in.Packets != 3 || out.Packets != 0 || out.Drops.Standby != 3 {
			return fmt.Errorf("%d went in, %d out and %d were dropped", in.Packets, out.Packets, out.Drops.Standby)
		}
		return nil
	})
	for _, p := range wire.ESP("") {
		if p.SPI == uint32(atB[1].ID.SPI) {
			t.Error("An ESP packet of the standby's was on the wire.")
		}
	}
	want(events, "a first packet in", func(e offload.FirstPacket) bool { return e.ID == atB[0].ID })
	want(events, "a first packet out", func(e offload.FirstPacket) bool { return e.ID == atB[1].ID })
	none[offload.FirstPacket](events, "Each SA has one first packet")
}

// TestArmedTunnelStartsWithItsFirstPacket in either direction, with no call in
// between: the ping that starts it is answered.
func TestArmedTunnelStartsWithItsFirstPacket(t *testing.T) { // F5
	for _, inbound := range []bool{true, false} {
		t.Run(fmt.Sprintf("inbound=%v", inbound), func(t *testing.T) {
			t.Parallel()
			a, b := newGateways(t, nil)
			atA, atB := tunnelSpec{udp: true}.pair(a, b)
			a.install(offload.Active, atA[:]...)
			b.install(offload.Standby, atB[:]...)
			events := watch(t, b.engine)
			if err := b.engine.Arm(t.Context(), group, later(1)); err != nil {
				t.Fatalf("Arm failed: %v.", err)
			}
			from, to := a, b
			if !inbound {
				from, to = b, a
			}
			from.ping(to.inner[0].String(), 3)
			e := want(events, "the start of the tunnel", anyOf[offload.Activated])
			if e.Epoch != later(1) || e.Tunnel != atB[0].Tunnel {
				t.Errorf("The event should name the tunnel and the arming, got %+v.", e)
			}
			none[offload.Activated](events, "A tunnel starts once")
			none[offload.FirstPacket](events, "An armed tunnel starts instead")
		})
	}
}

// TestForgedPacketsDoNotStartATunnel: who knows an SPI but no key wakes nobody.
func TestForgedPacketsDoNotStartATunnel(t *testing.T) {
	w := startWire(t)
	in := w.sa(ipsec.Inbound)
	w.install(offload.Standby, in)
	events := watch(t, w.Engine)
	if err := w.Engine.Arm(t.Context(), group, later(1)); err != nil {
		t.Fatalf("Arm failed: %v.", err)
	}
	forged := w.seal(in, 1)
	forged[len(forged)-1] ^= 1
	w.deliverRaw(in, forged)
	if got := w.counters(in); got.Role != offload.Standby || got.Drops.Authentication != 1 {
		t.Errorf("A forged packet should be dropped and leave the SA standby, got %v and %+v.", got.Role, got.Drops)
	}
	none[offload.Activated](events, "A forged packet starts nothing")
	none[offload.FirstPacket](events, "A forged packet is no first packet")
	w.deliverRaw(in, w.seal(in, 1))
	want(events, "the start of the tunnel", anyOf[offload.Activated])
}

// TestDemoteStopsTrafficAtOnce demotes and promotes under traffic: after Demote
// returned, no number is used any more.
func TestDemoteStopsTrafficAtOnce(t *testing.T) {
	a, b := newGateways(t, nil)
	atA, _ := a.connect(b, tunnelSpec{udp: true})
	traffic := stream(a, b)
	for n := range uint64(20) {
		if err := a.engine.Promote(t.Context(), group, later(2*n)); err != nil {
			t.Fatalf("Promote failed: %v.", err)
		}
		sent := a.counters(atA[1].ID).Packets
		netlab.Eventually(t, patience, "packets leave again", func() error {
			if a.counters(atA[1].ID).Packets == sent {
				return fmt.Errorf("still %d", sent)
			}
			return nil
		})
		if err := a.engine.Demote(t.Context(), group, later(2*n+1)); err != nil {
			t.Fatalf("Demote failed: %v.", err)
		}
		before := a.counters(atA[1].ID)
		netlab.Eventually(t, patience, "packets of the standby are dropped", func() error {
			if got := a.counters(atA[1].ID).Drops.Standby; got < before.Drops.Standby+3 {
				return fmt.Errorf("%d dropped", got)
			}
			return nil
		})
		if after := a.counters(atA[1].ID); after.Packets != before.Packets || after.Sequence.Next != before.Sequence.Next {
			t.Fatalf("After Demote the SA went on from %d to %d.", before.Sequence.Next, after.Sequence.Next)
		}
	}
	traffic.Stop()
}

// TestRekeyingLosesNoPacket installs a new pair of SAs with the same selectors
// under traffic, again and again, and deletes the old one when the new one is
// used.
func TestRekeyingLosesNoPacket(t *testing.T) {
	a, b := newGateways(t, nil)
	oldA, oldB := a.connect(b, tunnelSpec{udp: true})
	traffic := stream(a, b)
	for n := range uint32(10) {
		newA, newB := tunnelSpec{udp: true, number: n + 1, change: func(sa *ipsec.SA) { sa.Tunnel = 7 }}.pair(a, b)
		// Inbound before outbound, as IKE does.
		a.install(offload.Active, newA[0])
		b.install(offload.Active, newB[:]...)
		a.install(offload.Active, newA[1])
		netlab.Eventually(t, patience, "the new SA is used", func() error {
			if b.counters(newB[0].ID).Packets == 0 {
				return fmt.Errorf("no packet came through %v", newB[0].ID)
			}
			return nil
		})
		for _, end := range []struct {
			g   *gateway
			old [2]ipsec.SA
		}{{a, oldA}, {b, oldB}} {
			if _, err := end.g.engine.Delete(t.Context(), epoch, end.old[0].ID, end.old[1].ID); err != nil {
				t.Fatalf("Delete failed: %v.", err)
			}
		}
		oldA, oldB = newA, newB
	}
	if err := traffic.Stop().Err(); err != nil {
		t.Errorf("No datagram should be lost: %v.", err)
	}
}

// TestConfigureAgainKeepsTraffic changes addresses and MTU under traffic.
func TestConfigureAgainKeepsTraffic(t *testing.T) {
	a, b := newGateways(t, nil)
	a.connect(b, tunnelSpec{udp: true})
	traffic := stream(a, b)
	traffic.WaitFor(10, patience)
	for _, settings := range []map[string]string{{"tun-mtu": "1300"}, {}} {
		c := a.config
		c.Settings = settings
		c.Addresses = c.Addresses[:1]
		for range 2 {
			if err := a.ns.Do(func() error { _, err := a.engine.Configure(t.Context(), c); return err }); err != nil {
				t.Fatalf("Configure failed: %v.", err)
			}
			c = a.config
		}
	}
	if err := traffic.Stop().Err(); err != nil {
		t.Errorf("No datagram should be lost: %v.", err)
	}
}

// TestRemovedTUNDeviceComesBackWithConfigure: SAs stay.
func TestRemovedTUNDeviceComesBackWithConfigure(t *testing.T) {
	a, b := newGateways(t, nil)
	a.connect(b, tunnelSpec{udp: true})
	a.ip("link", "del", "evg0")
	netlab.Eventually(t, patience, "Configure makes the device again", func() error {
		if err := a.ns.Do(func() error { _, err := a.engine.Configure(t.Context(), a.config); return err }); err != nil {
			return err
		}
		_, err := a.ns.Output(ipCommand("link", "show", "dev", "evg0"))
		return err
	})
	a.route(b)
	a.ping(b.inner[0].String(), 2)
}

// TestCeilingStopsExactly under bulk traffic, whose super-packets reach over it
// (invariant I2).
func TestCeilingStopsExactly(t *testing.T) { // B1
	a, b := newGateways(t, nil)
	atA, atB := tunnelSpec{udp: true}.pair(a, b)
	atA[1].Sequence = ipsec.Sequence{Next: 100, Ceiling: 700}
	a.install(offload.Active, atA[:]...)
	b.install(offload.Active, atB[:]...)
	events := watch(t, a.engine)
	traffic := stream(a, b)
	want(events, "the lease is low", func(e offload.LeaseLow) bool { return !e.Exhausted && e.ID == atA[1].ID })
	want(events, "the lease has run out", func(e offload.LeaseLow) bool { return e.Exhausted && e.Next == 701 })
	if got := b.counters(atB[0].ID).Sequence.Highest; got > 700 {
		t.Errorf("Nothing above 700 should arrive, got %d.", got)
	}
	more := offload.Change{ID: atA[1].ID, Sequence: &ipsec.Sequence{Ceiling: 5000}}
	if _, err := a.engine.Update(t.Context(), epoch, more); err != nil {
		t.Fatalf("Update failed: %v.", err)
	}
	netlab.Eventually(t, patience, "the raised lease is used", func() error {
		if got := b.counters(atB[0].ID).Sequence.Highest; got <= 700 {
			return fmt.Errorf("the highest number is %d", got)
		}
		return nil
	})
	traffic.Stop()
}
