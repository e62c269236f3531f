package hatest_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ha/hatest"
)

// calm starts a cluster whose trouble is the script's, with clients that are up.
func calm(t *testing.T, members int, change ...func(*hatest.Config)) *hatest.Cluster {
	t.Helper()
	cfg := hatest.Config{Seed: 1, Members: members, Clients: 12, Calm: true}
	for _, c := range change {
		c(&cfg)
	}
	c := hatest.New(cfg)
	c.Start()
	c.Play(3 * time.Second)
	if err := c.Err(); err != nil {
		t.Fatalf("A calm cluster: %v.", err)
	}
	return c
}

func wantSettled(t *testing.T, c *hatest.Cluster) {
	t.Helper()
	if err := c.Settle(5 * time.Second); err != nil {
		t.Errorf("After all was healed: %v.", err)
	}
}

func total(owners []int) (n int) {
	for _, o := range owners {
		n += o
	}
	return n
}

func TestSurvivorsTakeOverFromADeadMember(t *testing.T) { // F5, F12, F23
	c := calm(t, 4)
	before := c.Owners()
	c.Crash(0)
	c.Play(4 * time.Second)
	after := c.Owners()
	if before[0] == 0 {
		t.Fatal("Member 0 owned nothing, so its death shows nothing.")
	}
	claims := uint64(0)
	for id := ipsec.MemberID(1); id < 4; id++ {
		claims += c.Stats(id).Claims
	}
	if claims < uint64(before[0])/2 || total(after) == 0 {
		t.Errorf("Of %d tunnels of the dead member %d were claimed; owners %v before, %v after.", before[0], claims, before, after)
	}
	wantSettled(t, c)
}

func TestStraysDoNotStealFromALiveOwner(t *testing.T) { // B5, F9
	c := calm(t, 3)
	for range 20 {
		c.Rehash()
		c.Play(200 * time.Millisecond)
	}
	for id := ipsec.MemberID(0); id < 3; id++ {
		if s := c.Stats(id); s.Claims != 0 || s.Ceded != 0 {
			t.Errorf("Member %d claimed %d tunnels and ceded %d although nobody died.", id, s.Claims, s.Ceded)
		}
	}
	if c.Stats(0).Strays == 0 {
		t.Error("No stray packet came to member 0, so the test shows nothing.")
	}
	wantSettled(t, c)
}

func TestReturningMemberDoesNotPreempt(t *testing.T) { // F12
	c := calm(t, 3)
	c.Crash(0)
	c.Play(4 * time.Second)
	c.Boot(0, true)
	c.Play(100 * time.Millisecond)
	if s := c.Stats(0); s.Claims != 0 {
		t.Errorf("Member 0 came back and claimed %d tunnels.", s.Claims)
	}
	wantSettled(t, c)
}

func TestSplitBrainHeals(t *testing.T) { // F23, B1
	for _, disjoint := range []bool{false, true} {
		c := calm(t, 4, func(cfg *hatest.Config) { cfg.Disjoint = disjoint })
		c.Part(ha.MembersOf(0, 1))
		c.Play(3 * time.Second)
		wantSettled(t, c)
	}
}

func TestSixteenMembersLoseFive(t *testing.T) { // F3, F11, F12, F13
	c := calm(t, 16, func(cfg *hatest.Config) { cfg.Clients = 100 })
	for id := ipsec.MemberID(0); id < 5; id++ {
		c.Crash(3 * id)
		c.Play(300 * time.Millisecond)
	}
	c.Play(3 * time.Second)
	for id, n := range c.Owners() {
		if n == 0 && id%3 != 0 {
			t.Errorf("Member %d owns nothing of what 16 members served; owners %v.", id, c.Owners())
		}
	}
	wantSettled(t, c)
}

func TestCleanStopMovesTunnels(t *testing.T) { // F4
	c := calm(t, 3)
	c.Leave(1)
	c.Play(4 * time.Second)
	if n := total(c.Owners()); n == 0 {
		t.Error("Nobody owns anything after one member has left.")
	}
	wantSettled(t, c)
}

func TestRollingRestartLosesNothing(t *testing.T) {
	c := calm(t, 3)
	for id := ipsec.MemberID(0); id < 3; id++ {
		c.Leave(id)
		c.Play(3 * time.Second)
		c.Boot(id, true)
		c.Play(3 * time.Second)
	}
	wantSettled(t, c)
	if s := c.Sum(); s.Stranded != 0 {
		t.Errorf("%d clients lost their tunnels in a rolling restart.", s.Stranded)
	}
}

func TestFrozenOwnerComesBackAsStandby(t *testing.T) { // I7
	c := calm(t, 3)
	c.Freeze(2)
	c.Play(2 * time.Second)
	c.Thaw(2)
	wantSettled(t, c)
}

func TestSlowMemberFallsOutAndSyncsAgain(t *testing.T) {
	c := calm(t, 3, func(cfg *hatest.Config) { cfg.Limits.Queue, cfg.Limits.Window = 8, 4 })
	fellOut := uint64(0)
	for id := ipsec.MemberID(0); id < 3; id++ {
		fellOut += c.Stats(id).FellOut
	}
	if fellOut == 0 {
		t.Error("Nobody fell out, so the test shows nothing.")
	}
	wantSettled(t, c)
}

// A member takes tunnels over where nobody sees it, dies, and comes back without
// its memory; then their owner dies, and it gets them again.
func forgetful(t *testing.T, fault hatest.Fault) error {
	c := calm(t, 2, func(cfg *hatest.Config) { cfg.Disjoint, cfg.Steady, cfg.Fault, cfg.Lease = true, true, fault, 1<<20 })
	c.Part(ha.MembersOf(1))
	c.Play(time.Second)
	c.Crash(1)
	c.Join()
	c.Boot(1, true)
	c.Play(600 * time.Millisecond)
	c.Crash(0)
	c.Play(2 * time.Second)
	return c.Err()
}

// HardState.Armed is what keeps a new life from sending what the old one sent.
func TestForgottenArmingReusesNumbers(t *testing.T) { // B1
	if err := forgetful(t, hatest.None); err != nil {
		t.Errorf("A member that came back: %v.", err)
	}
	if err := forgetful(t, hatest.NoArmed); err == nil {
		t.Error("Without HardState.Armed no number was sent twice, so nothing needs it.")
	}
}
