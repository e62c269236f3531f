package ha_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// TestWhatWaitsForAMemberIsKnown: a member lives and acknowledges nothing. The others
// can tell how much waits for it, for how long, and that it fell out.
func TestWhatWaitsForAMemberIsKnown(t *testing.T) { // B7
	g := gather(t, 3, func(c *ha.Config) { c.Limits.Queue = 40 })
	g.establish()
	g.pass(time.Second)
	if s := g.queue(2); s.Queued != 0 || s.Lag > 100*time.Millisecond {
		t.Errorf("Nothing should wait for member 2, but %d records do, for %v.", s.Queued, s.Lag)
	}
	g.lose = func(f ha.Frame) bool { return f.To == 2 && len(f.Records) > 0 }
	for range 10 {
		g.renew()
	}
	g.pass(3 * time.Second)
	slow, well := g.queue(2), g.queue(1)
	if slow.Queued < 10 || slow.QueuedOctets < 10*64 || slow.Lag < 2*time.Second {
		t.Errorf("For member 2 %d records with %d octets wait for %v, want at least 10 for 2 s.", slow.Queued, slow.QueuedOctets, slow.Lag)
	}
	if well.Queued != 0 || well.Lag > time.Second {
		t.Errorf("Member 1 does not wait for member 2, but %d records wait for it, for %v.", well.Queued, well.Lag)
	}
	for range 40 {
		g.renew()
	}
	if s := g.queue(2); s.FellOut != 1 || g.queue(1).FellOut != 0 {
		t.Errorf("Member 2 fell out %d times, member 1 %d times, want 1 and 0.", s.FellOut, g.queue(1).FellOut)
	}
	g.lose = nil
	g.pass(3 * time.Second)
	g.renew()
	g.pass(100 * time.Millisecond)
	if s := g.queue(2); !s.Synced || s.Queued != 0 || s.Lag > 100*time.Millisecond {
		t.Errorf("Member 2 is back, and should be synced with nothing that waits; it is %+v.", s)
	}
}

// renew has member 0 publish its IKE SA again.
func (g *group) renew() {
	g.step(0, ha.StoreIKE{Tunnel: tunnel, IKE: ha.IKE{Class: "dialup", State: ipsec.NewKey([]byte("ike 2"))}})
}

// queue is how another member looks from member 0.
func (g *group) queue(to ipsec.MemberID) ha.PeerStatus {
	for _, p := range g.nodes[0].Peers() {
		if p.Member == to {
			return p
		}
	}
	g.t.Fatalf("Member 0 does not know member %d.", to)
	return ha.PeerStatus{}
}
