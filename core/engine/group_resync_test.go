package engine

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
)

// TestTakeoverFromAnOldStateSynchronizes: the owner had gone on alone, since the
// other member did not hear it. Message IDs and sequence numbers are made to fit
// again, and the tunnel stays.
func TestTakeoverFromAnOldStateSynchronizes(t *testing.T) { // C17, C18, I9
	g := newGroup(t, 2)
	g.client.shard.policy.Connection("office").DPD = ike.DPD{Mode: ike.DPDOnIdle, Interval: time.Second, Retries: 5}
	before := g.dial()
	a, b := g.members[0], g.members[1]
	in := a.tunnels()[0].Children[0].In.SA.ID
	b.deaf = true
	g.pass(5 * time.Second)
	for seq := uint64(1); seq <= 5; seq++ {
		if err := a.plane.Inbound(in, seq); err != nil {
			t.Fatal(err)
		}
	}
	a.dead, g.router = true, 1
	g.pass(3 * time.Second)

	if n := b.shard.Stats().IKE.Sync.Resyncs; n != 1 {
		t.Errorf("the survivor asked %d times for the Message IDs, want once", n)
	}
	client := g.client.shard.Stats().IKE.Sync
	if client.Synced != 1 || client.Shifted != 1 {
		t.Errorf("the client synchronized %d IKE SAs and moved %d pairs, want 1 each", client.Synced, client.Shifted)
	}
	if err := b.plane.Inbound(in, 5); err == nil {
		t.Error("a packet that the last owner had accepted is accepted again")
	}
	pkt, err := g.client.plane.Outbound(in)
	if err != nil || pkt.Seq <= 1<<22 || pkt.Seq > ipsec.LeaseSize {
		t.Fatalf("the client sends number %#x (%v), want one that is far ahead, within its lease", pkt.Seq, err)
	}
	if err := b.plane.Inbound(in, pkt.Seq); err != nil {
		t.Errorf("the client's next packet is refused: %v", err)
	}
	g.client.step(Rekey{Name: "office"})
	g.deliver()
	g.pass(10 * time.Second)
	after := g.client.only()
	if after.ID != before.ID || after.IKE.SPIi != before.IKE.SPIi {
		t.Error("the client has another IKE SA")
	}
	if after.Children[0].In.SA.ID == before.Children[0].In.SA.ID {
		t.Error("the survivor did not answer the rekeying")
	}
}

// TestShiftNearTheEndOfTheNumbers: there is no room to go ahead.
func TestShiftNearTheEndOfTheNumbers(t *testing.T) {
	p := newPair(t)
	client, _ := p.dial()
	before := client.Children[0].Out.SA.ID
	s := p.client.shard
	s.bySA[before].sa(before).count.next = 1<<32 - 1<<23
	s.shift(p.now, s.bySA[before], ike.Shift{Out: 1 << 22})
	p.pass(10 * time.Second)
	if p.client.only().Children[0].Out.SA.ID == before {
		t.Error("an SA whose numbers come to their end gets no successor")
	}
}
