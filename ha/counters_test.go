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
	in, out := pair()
	count := ha.Count{SAs: []ha.Counted{{ID: in.ID, Sequence: ipsec.Sequence{Highest: 5, Bitmap: []byte{31}}}, {ID: out.ID}}}
	report := func(d time.Duration) int {
		for range d / time.Second {
			g.step(0, count)
			g.pass(time.Second)
		}
		told, _ := g.told(0)
		return len(told)
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

// TestManyCountersGoOutByAndBy: those of all SAs, as after a join, are more than one step
// should be about. All of them go out, and not again.
func TestManyCountersGoOutByAndBy(t *testing.T) { // B2
	const pairs = 2100
	g := gather(t, 2, func(cfg *ha.Config) { cfg.Limits.Children = pairs })
	g.establish()
	var count ha.Count
	g.bulk = true
	for i := range pairs {
		in, out := pair()
		in.ID.SPI, out.ID.SPI = in.ID.SPI+ipsec.SPI(2*i+2), out.ID.SPI+ipsec.SPI(20000+2*i)
		in.Pair, out.Pair = out.ID.SPI, in.ID.SPI
		g.step(0, ha.StoreChild{Tunnel: tunnel, In: in, Out: out})
		count.SAs = append(count.SAs, ha.Counted{ID: in.ID, Sequence: ipsec.Sequence{Highest: 1, Bitmap: []byte{1}}}, ha.Counted{ID: out.ID})
	}
	g.bulk = false
	g.take(0)
	g.step(0, count)
	g.pass(2 * time.Second)
	told, most := g.told(0)
	if len(told) != 2*pairs || most >= 2*pairs {
		t.Errorf("%d of %d SAs were told of, %d at most in one step.", len(told), 2*pairs, most)
	}
	g.pass(2 * time.Second)
	if told, _ := g.told(0); len(told) != 0 {
		t.Errorf("Afterwards %d SAs were told of again.", len(told))
	}
}

// told are the SAs whose counters a member has sent since the last time, and how many it
// sent at most in one step.
func (g *group) told(m ipsec.MemberID) (sas map[ipsec.SAID]bool, most int) {
	sas = make(map[ipsec.SAID]bool)
	for _, rd := range g.take(m) {
		step := 0
		for _, f := range rd.Send {
			for _, r := range f.Records {
				if c, is := r.(ha.Counters); is {
					step += len(c.SAs)
					for _, s := range c.SAs {
						sas[s.ID] = true
					}
				}
			}
		}
		most = max(most, step)
	}
	return sas, most
}
