package softesp_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/offloadtest"
)

// SendHeld implements offloadtest.Holds.
func (w *wire) SendHeld(ctx context.Context, sa ipsec.SA, n int, successor ipsec.SA, install func() error) ([]offloadtest.Sent, error) {
	return w.leaving(ctx, []ipsec.SA{successor}, func() error {
		if err := w.give(ctx, sa, n); err != nil {
			return err
		}
		if err := install(); err != nil {
			return err
		}
		return netlab.Poll(ctx, patience, func() error {
			c, err := w.count(ctx, successor.ID)
			if err == nil && c.Packets < uint64(n) {
				err = fmt.Errorf("the successor has sent %d of %d packets", c.Packets, n)
			}
			return err
		})
	})
}

// give has the gateway send n packets that an SA selects, and waits until it has dealt
// with them.
func (w *wire) give(ctx context.Context, sa ipsec.SA, n int) error {
	before, err := w.count(ctx, sa.ID)
	if err != nil {
		return err
	}
	for range n {
		if _, err := w.plain.WriteToUDPAddrPort([]byte("inner"), netip.AddrPortFrom(sa.Selectors.Remote[0].Min, suitePort)); err != nil {
			return err
		}
	}
	_, err = w.settled(ctx, sa.ID, before, n)
	return err
}

// spentSA is an SA of a wire that was taken over without a number left, and its
// successor.
func (w *wire) spentSA() (spent, successor ipsec.SA) {
	h := &offloadtest.Harness{Local: w.local, Remote: w.remote}
	a := ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128}
	_, spent = h.Pair(a, 1, group)
	_, successor = h.Pair(a, 2, group)
	spent.Sequence = ipsec.Sequence{Next: 1 << 32, Ceiling: 1<<32 - 1}
	successor.Tunnel, successor.Selectors = spent.Tunnel, spent.Selectors
	return spent, successor
}

// TestWhatWaitsIsBounded: a tunnel whose successor does not come takes no more than
// its room, and what is beyond is counted.
func TestWhatWaitsIsBounded(t *testing.T) {
	w := startWire(t)
	spent, successor := w.spentSA()
	w.install(offload.Active, spent)
	const given, room = 600, 512
	for range given / 50 { // so that no socket's buffer is the reason of a loss
		if err := w.give(t.Context(), spent, 50); err != nil {
			t.Fatal(err)
		}
	}
	c, err := w.count(t.Context(), spent.ID)
	if err != nil || c.Held != room || c.Drops.Queue != given-room || c.Drops.Ceiling != 0 {
		t.Errorf("Of %d packets %d should wait and the others be dropped for want of room, got %d and %+v (%v).", given, room, c.Held, c.Drops, err)
	}
	w.install(offload.Active, successor)
	err = netlab.Poll(t.Context(), patience, func() error {
		c, err := w.count(t.Context(), successor.ID)
		if err == nil && c.Packets != room {
			err = fmt.Errorf("the successor has sent %d packets, want the %d that waited", c.Packets, room)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestWhatWaitsIsNotSentByAStandby (invariant I7): it is dropped with the demotion, and
// no later successor sends it.
func TestWhatWaitsIsNotSentByAStandby(t *testing.T) {
	w := startWire(t)
	spent, successor := w.spentSA()
	w.install(offload.Active, spent)
	if err := w.give(t.Context(), spent, 5); err != nil {
		t.Fatal(err)
	}
	if err := w.Demote(t.Context(), group, later(1)); err != nil {
		t.Fatalf("Demote failed: %v.", err)
	}
	err := netlab.Poll(t.Context(), patience, func() error {
		c, err := w.count(t.Context(), spent.ID)
		if err == nil && c.Drops.Standby != 5 {
			err = fmt.Errorf("the standby has dropped %+v, want 5 packets", c.Drops)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := w.Engine.Install(t.Context(), later(2), offload.Active, successor); err != nil {
		t.Fatalf("Install failed: %v.", err)
	}
	sent, err := w.Send(t.Context(), successor, 1)
	if err != nil || len(sent) != 1 || sent[0].Seq != 1 {
		t.Errorf("The successor should send the new packet alone, with number 1, got %v (%v).", sent, err)
	}
}
