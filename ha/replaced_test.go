package ha_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// replace puts another machine, whose disk is empty, in the place of a member.
func (g *group) replace(m ipsec.MemberID) {
	g.t.Helper()
	n, err := ha.New(ha.Config{Member: m, Members: ha.MembersOf(0, 1, 2), NewDisk: ha.DiskID(100 + m)}, ha.HardState{})
	if err != nil {
		g.t.Fatal(err)
	}
	g.nodes[m] = n
	g.step(m, ha.Configure{Classes: map[string]uint64{"dialup": 1}})
	g.pass(time.Second)
}

// rekeys are the pairs that a member was asked to give new keys since the last time.
func (g *group) rekeys(m ipsec.MemberID) (out []ha.Rekey) {
	for _, rd := range g.take(m) {
		out = append(out, rd.Rekey...)
	}
	return out
}

// TestReplacedMemberIsStandbyOfNewKeys: a member comes back on another machine, which
// cannot tell what the old one has sent. It is barred from the pair, so the owner is
// asked for another one, whatever numbers it has left, and that one it holds.
func TestReplacedMemberIsStandbyOfNewKeys(t *testing.T) { // F9, I2
	g := gather(t, 3)
	g.establish()
	g.replace(2)
	if st, _ := g.nodes[2].Tunnel(tunnel); len(st.Children) != 0 {
		t.Errorf("The new machine should not hold a pair that the old one may have used, it holds %d.", len(st.Children))
	}
	in, out := pair()
	if asked := g.rekeys(0); len(asked) != 1 || asked[0].Child != in.ID || asked[0].Why != ha.HolderForgot {
		t.Fatalf("The owner should be asked once for new keys, got %+v.", asked)
	}
	next, nextOut := in, out
	next.ID.SPI, nextOut.ID.SPI = 0x1001, 0x2001
	next.Pair, nextOut.Pair = nextOut.ID.SPI, next.ID.SPI
	g.step(0, ha.StoreChild{Tunnel: tunnel, In: next, Out: nextOut})
	g.step(0, ha.DeleteChild{Tunnel: tunnel, Child: in.ID})
	g.pass(100 * time.Millisecond)
	if st, _ := g.nodes[2].Tunnel(tunnel); len(st.Children) != 1 || st.Children[0].In.ID != next.ID || !st.Complete {
		t.Errorf("The new machine should hold the new pair, it has %+v.", st.Children)
	}
}

// TestSuccessorRenewsToo: the owner dies before it has made new keys.
func TestSuccessorRenewsToo(t *testing.T) { // F9, I2
	g := gather(t, 3)
	g.establish()
	g.replace(2)
	g.pass(time.Second)
	g.take(1)
	g.deaf = ha.MembersOf(0)
	g.pass(500 * time.Millisecond)
	g.step(1, ha.Activated{Tunnel: tunnel, Group: 0})
	g.pass(500 * time.Millisecond)
	in, _ := pair()
	if asked := g.rekeys(1); len(asked) != 1 || asked[0].Child != in.ID {
		t.Errorf("The successor should be asked once for new keys, got %+v.", asked)
	}
}
