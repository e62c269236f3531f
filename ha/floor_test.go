package ha_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// TestEveryLeaseSaysWhereItBegins: an owner that went above what others may have used
// says so with every lease, not with the first only. The outbound SA may not have been
// in the dataplane then, and be installed with its first number later.
func TestEveryLeaseSaysWhereItBegins(t *testing.T) { // I1, I2
	_, out := pair()
	for what, c := range map[string]struct {
		rises  func(*group)
		owner  ipsec.MemberID
		begins uint64
	}{
		"took it over": {func(g *group) { g.takesFrom(1, 0) }, 1, ipsec.LeaseSize + 1},
		"was thought to be dead, and others armed": {func(g *group) {
			g.deaf = ha.MembersOf(0)
			g.pass(500 * time.Millisecond)
			g.deaf = 0
			g.pass(time.Second)
			g.step(0, ha.LeaseLow{SA: out.ID})
			g.pass(time.Second)
		}, 0, 2*ipsec.LeaseSize + 1},
	} {
		g := gather(t, 3)
		g.establish()
		c.rises(g)
		g.take(c.owner)
		g.step(c.owner, ha.LeaseLow{SA: out.ID})
		g.pass(time.Second)
		sends, _, _ := g.asked(c.owner)
		if len(sends) != 1 || sends[0].Next != c.begins {
			t.Errorf("An owner that %s should get one lease more and be told to begin at %#x, it is told %v.", what, c.begins, sends)
		}
	}
}
