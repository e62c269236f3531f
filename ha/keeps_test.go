package ha_test

import (
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// asked collects what a member let its dataplane send, and for which reasons it asked
// for new keys, since it was last taken.
func (g *group) asked(m ipsec.MemberID) (sends []ipsec.Sequence, why []ha.Worn, arms int) {
	for _, rd := range g.take(m) {
		for _, r := range rd.Rekey {
			why = append(why, r.Why)
		}
		for _, o := range rd.Orders {
			if o.Kind == ha.Arm {
				arms++
			}
			for _, sa := range o.SAs {
				if sa.Direction == ipsec.Outbound && sa.Sequence.Next <= sa.Sequence.Ceiling {
					sends = append(sends, sa.Sequence)
				}
			}
			for _, c := range o.Changes {
				if c.Sequence != nil && c.Sequence.Next <= c.Sequence.Ceiling {
					sends = append(sends, *c.Sequence)
				}
			}
		}
	}
	return sends, why, arms
}

// A dataplane that stops at no ceiling may send beyond every lease, so its SAs have all
// numbers, and its successor has none.
func TestNobodyGoesOnAfterADataplaneWithoutCeilings(t *testing.T) { // I2
	g := gather(t, 2)
	g.step(0, ha.Keeps{Unbounded: true})
	g.establish()
	st, _ := g.nodes[1].Tunnel(tunnel)
	if len(st.Children) != 1 || st.Children[0].Bound != 1<<32-1 {
		t.Fatalf("The standby should know that all numbers are the owner's, it knows %+v.", st.Children)
	}
	g.deaf = g.deaf.With(0)
	g.pass(ha.DefaultHeartbeat * 4)
	g.step(1, ha.Activated{Tunnel: tunnel, Group: 0})
	sends, why, _ := g.asked(1)
	if len(sends) > 0 || len(why) != 1 || why[0] != ha.Exhausted {
		t.Errorf("The successor should send nothing and ask for new keys, as the numbers end: it sends %v, and asks because of %v.", sends, why)
	}
}

// One that takes over must not use the numbers above its share, so it uses none.
func TestADataplaneWithoutCeilingsSendsNothingThatItTakesOver(t *testing.T) { // I1, I2
	g := gather(t, 2)
	g.establish()
	g.step(1, ha.Keeps{Unbounded: true})
	g.deaf = g.deaf.With(0)
	g.pass(ha.DefaultHeartbeat * 4)
	g.step(1, ha.Activated{Tunnel: tunnel, Group: 0})
	sends, why, _ := g.asked(1)
	if len(sends) > 0 || len(why) != 1 || why[0] != ha.NoCeiling {
		t.Errorf("Nothing should be sent before there are new keys, for the want of a ceiling: %v is sent, new keys are asked for because of %v.", sends, why)
	}
}

// What a member has already has leases that another dataplane of its own would not heed.
func TestASuccessorOfADataplaneWithoutCeilingsNeedsNewKeys(t *testing.T) { // I2
	g := gather(t, 2)
	g.establish()
	g.step(0, ha.Keeps{Unbounded: true})
	if _, why, _ := g.asked(0); len(why) != 1 || why[0] != ha.NoCeiling {
		t.Errorf("The owner should ask for new keys for the want of a ceiling, it asks because of %v.", why)
	}
}

// A dataplane that sees no first packet cannot be armed: the survivor whose turn it is
// takes all tunnels at once.
func TestABlindDataplaneAdoptsAtOnce(t *testing.T) { // F5, F23
	g := gather(t, 2)
	g.establish()
	g.step(1, ha.Keeps{Blind: true})
	g.deaf = g.deaf.With(0)
	g.pass(ha.DefaultHeartbeat * 4)
	if st, _ := g.nodes[1].Tunnel(tunnel); !st.Owned {
		t.Errorf("The survivor should have the tunnel as soon as its owner is dead, it has %+v.", st)
	}
	sends, _, arms := g.asked(1)
	if arms > 0 || len(sends) == 0 {
		t.Errorf("Its dataplane should send without having been armed: %d armings, %v is sent.", arms, sends)
	}
}
