package engine

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// TestReplayCheckpointOutlivesOwnerAndDataplane: the member that takes a tunnel
// over loses its dataplane before it has read a counter of it. The next dataplane
// accepts nothing of what the first owner's had accepted before its checkpoint.
func TestReplayCheckpointOutlivesOwnerAndDataplane(t *testing.T) { // I9, B3
	g := newGroup(t, 2)
	g.dial()
	a, b := g.members[0], g.members[1]
	in, out := a.tunnels()[0].Children[0].In.SA.ID, a.tunnels()[0].Children[0].Out.SA.ID
	for seq := uint64(1); seq <= 5; seq++ {
		if err := a.plane.Inbound(in, seq); err != nil {
			t.Fatal(err)
		}
	}
	a.stepReplica(Counted{a.inventory()})
	g.pass(2 * time.Second)
	a.dead, g.router = true, 1
	g.pass(500 * time.Millisecond)
	if err := b.plane.Inbound(in, 6); err != nil {
		t.Fatal(err)
	}
	g.deliver()
	g.pass(time.Second)
	if n := len(b.tunnels()); n != 1 {
		t.Fatalf("the survivor owns %d tunnels, want 1", n)
	}
	b.resetPlane(2)
	for seq := uint64(1); seq <= 5; seq++ {
		if err := b.plane.Inbound(in, seq); err == nil {
			t.Errorf("packet %d, of before the last checkpoint, is accepted again", seq)
		}
	}
	if err := b.plane.Inbound(in, 7); err != nil {
		t.Errorf("a new packet is refused: %v", err)
	}
	if pkt, err := b.plane.Outbound(out); err == nil && pkt.Seq <= ipsec.LeaseSize {
		t.Errorf("the survivor's second dataplane sends number %#x, which the first owner may have sent", pkt.Seq)
	}
}
