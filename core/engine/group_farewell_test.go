package engine

import (
	"bytes"
	"testing"
	"time"
)

// TestOwnerDiesBetweenRemovingAndAnswering: the client asks for the end of its
// tunnel; all members have ended it, and the owner dies before the answer leaves.
// Whichever survivor the client asks again gives that answer, octet by octet.
func TestOwnerDiesBetweenRemovingAndAnswering(t *testing.T) { // B2, I6, I8
	for survivor := 1; survivor <= 2; survivor++ {
		g := newGroup(t, 3)
		g.dial()
		a, b := g.members[0], g.members[survivor]
		g.client.step(Down{Name: "office"})
		for range 100 {
			if len(g.members[1].inventory())+len(g.members[2].inventory()) == 0 {
				break
			}
			g.deliverOnce()
		}
		var answer []byte
		for _, h := range a.replica.held {
			for _, dg := range h.send {
				answer = dg.Payload
			}
		}
		for _, dg := range a.out {
			answer = dg.Payload
		}
		if answer == nil {
			t.Fatal("the owner has answered before the others had ended the tunnel")
		}
		a.dead, g.router = true, survivor
		if len(g.client.shard.Tunnels(g.now)) == 0 {
			t.Fatal("the client has its answer already")
		}
		var got []byte
		b.heard = func(payload []byte) { got = bytes.Clone(payload) }
		g.pass(10 * time.Second)
		if !bytes.Equal(got, answer) {
			t.Errorf("member %s answers %x, want what the owner would have answered, %x", b.name, got, answer)
		}
		if n := len(g.client.shard.Tunnels(g.now)); n != 0 {
			t.Errorf("the client still has %d tunnels: it heard no answer", n)
		}
		for _, m := range g.members[1:] {
			if len(m.tunnels()) != 0 || len(m.inventory()) != 0 || len(m.routes) != 0 {
				t.Errorf("member %s has the tunnel again", m.name)
			}
		}
		if n := b.replica.Stats().Repeated; n == 0 {
			t.Error("the repeated answer was not counted")
		}
	}
}

// TestClaimerHearsOfTheEnd: a survivor that missed the end of a tunnel makes it
// its own when the client asks again. It learns better, and the client gets the
// owner's answer.
func TestClaimerHearsOfTheEnd(t *testing.T) { // B2, I8
	g := newGroup(t, 3)
	g.dial()
	a, c := g.members[0], g.members[2]
	c.deaf = true
	g.client.step(Down{Name: "office"})
	for range 100 {
		if len(g.members[1].inventory()) == 0 {
			break
		}
		g.deliverOnce()
	}
	a.dead, g.router = true, 2
	g.pass(100 * time.Millisecond)
	c.deaf = false
	g.pass(30 * time.Second)
	if n := len(g.client.shard.Tunnels(g.now)); n != 0 {
		t.Errorf("the client still has %d tunnels", n)
	}
	if n := c.replica.Stats().Repeated; n == 0 {
		t.Error("the claimer did not repeat the owner's answer")
	}
	for _, m := range g.members[1:] {
		if len(m.tunnels()) != 0 || len(m.inventory()) != 0 || len(m.routes) != 0 {
			t.Errorf("member %s has the tunnel again", m.name)
		}
	}
}
