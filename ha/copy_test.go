package ha_test

import (
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// A pair that is given again is in the dataplane already, and left as it is there:
// what it has learned meanwhile must come another way.
func TestCheckpointOfAPairThatIsGivenAgainReachesTheDataplane(t *testing.T) { // B3, I9
	g := gather(t, 2)
	g.establish()
	in, out := pair()
	in.Sequence = ipsec.Sequence{Highest: 100, Bitmap: []byte{0xff}}
	g.take(1)
	g.step(0, ha.StoreChild{Tunnel: tunnel, In: in, Out: out})
	for _, rd := range g.take(1) {
		for _, o := range rd.Orders {
			for _, c := range o.Changes {
				if c.ID == in.ID && c.Sequence != nil && c.Sequence.Highest == 100 {
					return
				}
			}
		}
	}
	t.Error("Member 1 does not move its replay window to the checkpoint.")
}

func TestOutboundSAThatIsReplacedLeavesTheStandbys(t *testing.T) {
	g := gather(t, 2)
	g.establish()
	in, out := pair()
	old := out.ID
	out.ID.SPI++
	g.take(1)
	g.step(0, ha.StoreChild{Tunnel: tunnel, In: in, Out: out})
	for _, rd := range g.take(1) {
		for _, o := range rd.Orders {
			for _, id := range o.IDs {
				if o.Kind == ha.Discard && id == old {
					return
				}
			}
		}
	}
	t.Error("Member 1 keeps an outbound SA that its tunnel does not have any more.")
}
