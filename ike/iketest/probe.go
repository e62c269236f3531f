package iketest

import (
	"testing"
	"time"

	"github.com/evergate/evergate/ike"
)

// DPDInterval is that of pairs with dead peer detection, and their peers are dead
// after three questions.
const DPDInterval = 20 * time.Second

// DPD is dead peer detection at both ends.
func DPD(mode ike.DPDMode) func(*ike.Connection) {
	return func(c *ike.Connection) { c.DPD = ike.DPD{Mode: mode, Interval: DPDInterval, Retries: 2} }
}

// RekeyChild asks an end to rekey its pair.
func RekeyChild[E Talker](e E) {
	in, _ := e.Base().Child()
	e.Do(ike.RekeyChild{ID: in.ID})
}

// TakenOver makes a pair, with dead peer detection and twins, whose B has been taken
// over by another member, which may ask the peer after a time. Nothing has been
// delivered since.
type TakenOver[E Talker] func(t *testing.T, mode ike.DPDMode, slot time.Duration) *Network[E]

// TestProbes plays what a new owner asks a peer, which is the same in both versions
// of IKE.
func TestProbes[E Talker](t *testing.T, takenOver TakenOver[E]) {
	t.Run("a dead peer", func(t *testing.T) { deadPeerIsFound(t, takenOver) })
	t.Run("a living peer", func(t *testing.T) { livingPeerIsAskedOnce(t, takenOver) })
	t.Run("slots", func(t *testing.T) { probeWaitsForItsSlot(t, takenOver) })
	t.Run("no dead peer detection", func(t *testing.T) { nobodyIsAsked(t, takenOver) })
	t.Run("the time of a probe is state", func(t *testing.T) { probeIsState(t, takenOver) })
}

func b[E Talker](p *Network[E]) *Gateway { return p.B.Base() }

// deadPeerIsFound: a peer that died with the last owner, or has another IKE SA by
// now, is found dead as soon as three questions have found no answer, counted from
// the takeover.
func deadPeerIsFound[E Talker](t *testing.T, takenOver TakenOver[E]) {
	for _, mode := range []ike.DPDMode{ike.DPDOnIdle, ike.DPDOnDemand} {
		p := takenOver(t, mode, 0)
		p.PassSilently(0)
		if b(p).Stats.Probes != 1 {
			t.Errorf("mode %d: the new owner asked the peer %d times at once, want 1", mode, b(p).Stats.Probes)
		}
		p.PassSilently(3*DPDInterval - time.Second)
		if b(p).Done {
			t.Errorf("mode %d: the tunnel is given up before the last question has had its time", mode)
		}
		p.PassSilently(time.Second)
		b(p).WantGone()
		if b(p).Stats.DeadPeers != 1 {
			t.Errorf("mode %d: %d peers were found dead, want 1", mode, b(p).Stats.DeadPeers)
		}
	}
}

func livingPeerIsAskedOnce[E Talker](t *testing.T, takenOver TakenOver[E]) {
	p := takenOver(t, ike.DPDOnIdle, 0)
	p.Pass(DPDInterval - time.Second)
	if b(p).Stats.Probes != 1 || !b(p).machine.Current().Established() {
		t.Errorf("the new owner asked a peer that answers %d times, want 1; the tunnel is up: %t", b(p).Stats.Probes, b(p).machine.Current().Established())
	}
	p.WantUp()
}

// probeWaitsForItsSlot: many tunnels are taken over at once, and are asked one after
// the other. A peer that is heard meanwhile is not asked.
func probeWaitsForItsSlot[E Talker](t *testing.T, takenOver TakenOver[E]) {
	for _, tt := range []struct {
		name  string
		hears func(*Network[E])
		want  uint64
	}{
		{"nothing is heard", func(*Network[E]) {}, 1},
		{"ESP comes", func(p *Network[E]) { p.B.Do(ike.Activity{In: p.Now}) }, 0},
		{"ESP came before", func(p *Network[E]) { p.B.Do(ike.Activity{In: p.Now.Add(-time.Minute)}) }, 1},
		{"a message comes", func(p *Network[E]) { RekeyChild(p.A); p.Deliver() }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := takenOver(t, ike.DPDOnIdle, 5*time.Second)
			p.Pass(4 * time.Second)
			if b(p).Stats.Probes != 0 {
				t.Errorf("the peer was asked before its slot")
			}
			tt.hears(p)
			p.Pass(2 * time.Second)
			if b(p).Stats.Probes != tt.want {
				t.Errorf("the peer was asked %d times, want %d", b(p).Stats.Probes, tt.want)
			}
		})
	}
}

func nobodyIsAsked[E Talker](t *testing.T, takenOver TakenOver[E]) {
	p := takenOver(t, ike.DPDOff, 0)
	p.PassSilently(time.Hour)
	if b(p).Stats.Probes != 0 || b(p).Done {
		t.Errorf("dead peer detection is off, and the new owner asked %d times", b(p).Stats.Probes)
	}
}

// probeIsState: the next owner asks no later than the last one would have.
func probeIsState[E Talker](t *testing.T, takenOver TakenOver[E]) {
	p := takenOver(t, ike.DPDOnIdle, 5*time.Second)
	p.Pass(5*time.Second - 1)
	if b(p).Stats.Probes != 0 {
		t.Errorf("a tunnel that goes on from its snapshot forgot when to ask")
	}
	p.Pass(time.Hour)
	p.WantUp()
}
