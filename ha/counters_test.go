package ha_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// TestCountersThatSayNothingNewAreNotToldAgain: not when members compare what they have,
// either, which is every few seconds and would be all SAs. Only who was away is told all.
func TestCountersThatSayNothingNewAreNotToldAgain(t *testing.T) { // B2, I9
	g := gather(t, 2)
	g.establish()
	sent := 0
	g.lose = func(f ha.Frame) bool {
		for _, r := range f.Records {
			if c, is := r.(ha.Counters); is {
				sent += len(c.SAs)
			}
		}
		return false
	}
	in, out := pair()
	count := ha.Count{SAs: []ha.Counted{{ID: in.ID, Sequence: ipsec.Sequence{Highest: 5, Bitmap: []byte{31}}}, {ID: out.ID}}}
	report := func(d time.Duration) int {
		for range d / time.Second {
			g.step(0, count)
			g.pass(time.Second)
		}
		n := sent
		sent = 0
		return n
	}
	if n := report(2 * time.Second); n != 2 {
		t.Errorf("The first report told of %d SAs, want both.", n)
	}
	if n := report(5 * ha.DefaultAntiEntropy); n != 0 {
		t.Errorf("Reports that say nothing new told of %d SAs, want none.", n)
	}
	count.SAs[0].Sequence = ipsec.Sequence{Highest: 6, Bitmap: []byte{63}}
	if n := report(2 * time.Second); n != 1 {
		t.Errorf("After another packet %d SAs were told of, want the one that received it.", n)
	}
	g.deaf = ha.MembersOf(1)
	g.pass(time.Second)
	g.deaf = 0
	g.pass(time.Second)
	if n := report(2 * time.Second); n != 2 {
		t.Errorf("After the other member was away %d SAs were told of, want both.", n)
	}
}
