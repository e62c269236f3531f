package engine

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

func TestTakeoverAfterARekeyingSendsOnTheNewPair(t *testing.T) { // F5, C1
	g := newGroup(t, 2)
	before := g.dial()
	a, b := g.members[0], g.members[1]
	g.client.step(Rekey{Name: "office"})
	g.deliver()
	g.pass(500 * time.Millisecond) // the old inbound SA lingers
	g.router = 1
	a.dead = true
	g.pass(500 * time.Millisecond)
	var current ChildStatus // of the client; the old one lingers
	for _, c := range g.client.shard.Tunnels(g.now)[0].Children {
		if c.Out.SA.ID.Dst.IsValid() {
			current = c
		}
	}
	if id := current.In.SA.ID; id == before.Children[0].In.SA.ID || !id.Dst.IsValid() {
		t.Fatal("the client's pair was not rekeyed")
	}
	if err := b.plane.Inbound(current.Out.SA.ID, 1); err != nil {
		t.Fatal(err)
	}
	g.deliver()
	g.pass(200 * time.Millisecond)
	for _, c := range b.inventory() {
		if c.Direction == ipsec.Outbound && c.ID != current.In.SA.ID {
			t.Errorf("the survivor holds the outbound SA %v, which the client does not have", c.ID)
		}
	}
}
