package v1_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest/v1test"
	"github.com/evergate/evergate/ike/v1"
)

const dpdInterval = 20 * time.Second

func withDPD(mode ike.DPDMode) v1test.Option {
	return v1test.Both(func(c *ike.Connection) { c.DPD = ike.DPD{Mode: mode, Interval: dpdInterval, Retries: 2} })
}

// takenOver is a pair whose B has been taken over by another member, which may ask
// the peer after a time.
func takenOver(t *testing.T, mode ike.DPDMode, slot time.Duration, more ...v1test.Option) *v1test.Pair {
	t.Helper()
	p := v1test.Establish(t, append(more, withDPD(mode))...)
	p.B.Succeed(ike.Takeover{Probe: p.Now.Add(slot), Behind: true})
	return p
}

// TestTakeoverAsksThePeer: a peer that died with the last owner, or has another
// ISAKMP SA by now, is found dead as soon as three questions have found no answer,
// counted from the takeover.
func TestTakeoverAsksThePeer(t *testing.T) {
	for _, mode := range []ike.DPDMode{ike.DPDOnIdle, ike.DPDOnDemand} {
		p := takenOver(t, mode, 0)
		p.PassSilently(0)
		if p.B.Stats.Probes != 1 {
			t.Errorf("mode %d: the new owner asked the peer %d times at once, want 1", mode, p.B.Stats.Probes)
		}
		p.PassSilently(3*dpdInterval - time.Second)
		if p.B.Done {
			t.Errorf("mode %d: the tunnel is given up before the last question has had its time", mode)
		}
		p.PassSilently(time.Second)
		p.B.WantGone()
		if p.B.Stats.DeadPeers != 1 {
			t.Errorf("mode %d: %d peers were found dead, want 1", mode, p.B.Stats.DeadPeers)
		}
	}
}

// TestProbeOfATakeoverWaitsForItsSlot: many tunnels are taken over at once, and
// are asked one after the other. A peer that is heard meanwhile is not asked.
func TestProbeOfATakeoverWaitsForItsSlot(t *testing.T) {
	for _, tt := range []struct {
		name  string
		hears func(*v1test.Pair)
		want  uint64
	}{
		{"nothing is heard", func(*v1test.Pair) {}, 1},
		{"ESP comes", func(p *v1test.Pair) { p.B.Do(ike.Activity{In: p.Now}) }, 0},
		{"ESP came before", func(p *v1test.Pair) { p.B.Do(ike.Activity{In: p.Now.Add(-time.Minute)}) }, 1},
		{"a message comes", func(p *v1test.Pair) { rekeyChild(p.A); p.Deliver() }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := takenOver(t, ike.DPDOnIdle, 5*time.Second)
			p.Pass(4 * time.Second)
			if p.B.Stats.Probes != 0 {
				t.Errorf("the peer was asked before its slot")
			}
			tt.hears(p)
			p.Pass(2 * time.Second)
			if p.B.Stats.Probes != tt.want {
				t.Errorf("the peer was asked %d times, want %d", p.B.Stats.Probes, tt.want)
			}
		})
	}
}

func TestTakeoverAsksNobodyWithoutDPD(t *testing.T) {
	p := takenOver(t, ike.DPDOff, 0)
	p.PassSilently(time.Hour)
	if p.B.Stats.Probes != 0 || p.B.Done {
		t.Errorf("dead peer detection is off, and the new owner asked %d times", p.B.Stats.Probes)
	}
}

// TestProbeOfATakeoverIsState: the next owner asks no later than the last one
// would have.
func TestProbeOfATakeoverIsState(t *testing.T) {
	p := takenOver(t, ike.DPDOnIdle, 5*time.Second, v1test.Twins(v1.Resume))
	p.Pass(5*time.Second - 1)
	if p.B.Stats.Probes != 0 {
		t.Errorf("a tunnel that goes on from its snapshot forgot when to ask")
	}
	p.Pass(time.Hour)
	p.WantUp()
}
