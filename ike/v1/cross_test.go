package v1_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest/v1test"
)

// sendsOn is the SA that an end sends on: the one that it has installed last.
func sendsOn(e *v1test.End) (last ipsec.SA) {
	for _, sa := range e.Installed {
		if sa.Direction == ipsec.Outbound && sa.Generation > last.Generation {
			last = sa
		}
	}
	return last
}

// heard tells whether what from sends arrives.
func heard(from, to *v1test.End) bool {
	out := sendsOn(from)
	for id, sa := range to.Installed {
		if id.SPI == out.ID.SPI && sa.Direction == ipsec.Inbound {
			return true
		}
	}
	return false
}

// TestCrossingQuickModes has one end rekey, and the other one twice, in any order: what
// they say overtakes, crosses and gets lost once. Packets pass all the while, and in the
// end there is one pair.
func TestCrossingQuickModes(t *testing.T) {
	for seed := range uint64(200) {
		dice := rand.New(rand.NewPCG(seed, 7))
		p := v1test.Establish(t, v1test.Seed(seed))
		once, twice := p.A, p.B
		if seed%2 == 0 {
			once, twice = p.B, p.A
		}
		cross(p, dice, []*v1test.End{once, twice, twice})
		// After the overlap, the end of what an end has replaced itself, and that of what
		// it has left to the other one, at the first and at the second.
		for _, d := range []time.Duration{confirmTime, 6 * time.Second, time.Minute, time.Minute} {
			p.Pass(d)
			if !heard(p.A, p.B) || !heard(p.B, p.A) {
				t.Fatalf("Seed %d: after %v A sends on %v and B on %v, which the other one does not know.", seed, d, sendsOn(p.A).ID, sendsOn(p.B).ID)
			}
		}
		if p.WantPairs(1); t.Failed() {
			t.Fatalf("Seed %d.", seed)
		}
		if a, b := len(p.A.Installed), len(p.B.Installed); a != 2 || b != 2 {
			t.Fatalf("Seed %d: in the end A has %d SAs and B has %d, want one pair.", seed, a, b)
		}
	}
}

// cross has ends rekey while their messages are under way, one of which may get lost.
func cross(p *v1test.Pair, dice *rand.Rand, rekey []*v1test.End) {
	lose := dice.IntN(2)
	for len(rekey) > 0 || len(p.InFlight()) > 0 {
		n := len(p.InFlight())
		switch roll := dice.IntN(10); {
		case len(rekey) > 0 && roll < 3:
			rekeyChild(rekey[0])
			rekey = rekey[1:]
		case n > 0 && roll == 3 && lose > 0:
			lose--
			p.DropAt(0)
		case n > 0 && roll < 6:
			p.NextAt(dice.IntN(n))
		case n > 0:
			p.Next()
		default:
			p.Pass(time.Duration(dice.IntN(300)) * time.Millisecond)
		}
	}
}

// TestPairThatIsReplacedDoesNotComeBack: the pair that A makes is replaced by one of B's,
// and so goes before the one that it has replaced itself, which A does not delete, or not
// so that B hears of it.
func TestPairThatIsReplacedDoesNotComeBack(t *testing.T) {
	p := v1test.Establish(t)
	first, _ := p.B.Child()
	rekeyChild(p.A)
	p.Pass(time.Second)
	rekeyChild(p.B)
	p.Pass(3 * time.Second)
	p.PassSilently(1500 * time.Millisecond) // A's Delete
	p.Pass(10 * time.Second)                // B's Delete
	for _, c := range p.B.Tunnel.Status(p.Now).Children {
		if c.In == first.ID && c.State == "up" {
			t.Error("the first pair is up again")
		}
	}
	p.WantPairs(1)
	if !heard(p.A, p.B) || !heard(p.B, p.A) {
		t.Errorf("A sends on %v and B on %v, which the other one does not know", sendsOn(p.A).ID, sendsOn(p.B).ID)
	}
}

// TestPairThatComesBackHasALifetime: when the last of three pairs goes first, the one
// before it is used again, and rekeyed in time.
func TestPairThatComesBackHasALifetime(t *testing.T) {
	p := v1test.Establish(t, v1test.Both(func(c *ike.Connection) { c.Children[0].Lifetime.Hard.Time = time.Hour }))
	rekeyChild(p.A)
	p.Pass(10 * time.Second)
	before, _ := p.B.Child()
	rekeyChild(p.A)
	p.Pass(time.Second)
	last, _ := p.B.Child()
	p.B.Do(ike.CloseChild{ID: last.ID})
	p.Pass(time.Second)
	p.WantPairs(1)
	if now, _ := p.B.Child(); now.ID != before.ID {
		t.Errorf("B uses %v, want %v, the pair before the last one", now.ID, before.ID)
	}
	p.Pass(59 * time.Minute)
	p.WantPairs(1)
	if now, _ := p.B.Child(); now.ID == before.ID {
		t.Error("the pair was not rekeyed before the end of its lifetime")
	}
}
