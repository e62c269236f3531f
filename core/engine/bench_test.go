package engine

import (
	"testing"
	"time"

	"github.com/evergate/evergate/ike"
)

// BenchmarkDial is a whole dial-in and hang-up, both ends: IKE_SA_INIT, IKE_AUTH,
// two SAs in each dataplane, routes, delete.
func BenchmarkDial(b *testing.B) {
	p := newPair(b)
	up, down := Up{Name: "office"}, Down{Name: "office"}
	b.ReportAllocs()
	for b.Loop() {
		p.now = p.now.Add(time.Second)
		p.client.step(up)
		p.deliver()
		p.client.step(down)
		p.deliver()
	}
	if n := p.server.shard.stats.IKE.Established[1]; n == 0 {
		b.Error("no tunnel came up")
	}
}

// BenchmarkReceive is the dispatch of a message to its shard.
func BenchmarkReceive(b *testing.B) {
	e := New(Options{Shards: 4, Policy: NewPolicy()})
	payload := make([]byte, 200)
	payload[0], payload[19] = 1, 0x08
	dgs := []ike.Datagram{{Payload: payload}}
	b.ReportAllocs()
	for b.Loop() {
		e.Receive(dgs)
		for _, r := range e.shards {
			r.in.take()
		}
	}
}
