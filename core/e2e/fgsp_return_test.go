package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestDeadMemberReturns restarts a member that was killed. It stands by for what
// was its own, and goes on with it when the others die, one after the other.
func TestDeadMemberReturns(t *testing.T) { // F5, F23, C1
	t.Parallel()
	f := newFGSP(t, 3, 0)
	one, two, three := f.members[0], f.members[1], f.members[2]
	w := f.connect(two, three)
	one.Kill()
	f.site.Lead(f.site.Members[1])
	w.flows()
	f.waitRole(two, "vpn1_1", "sync-primary")

	one.Restart()
	f.waitSynced(one, two, three)
	w.flows()
	f.waitRole(one, "vpn1_1", "standby") // it does not pre-empt
	w.wantOneOwner(one, two, three)
	f.waitRole(two, "vpn1_1", "sync-primary")

	two.Kill()
	f.site.Lead(f.site.Members[2])
	w.flows()
	f.waitRole(three, "vpn1_1", "sync-primary")
	w.wantOneOwner(one, three)
	three.Kill()
	f.site.Lead(f.site.Members[0])
	pingThrough(t, f)
	f.waitRole(one, "vpn1_1", "primary")
	wantSameSAs(t, w.before, f.client.SAs())
	w.unbroken()
}

// TestMemberIsReplaced puts a machine with an empty disk in the place of a member. It
// cannot tell what that one has sent, so it gets no pair of before; the tunnel gets new
// keys, and with these any packet may come to it, and it may be the last to live.
func TestMemberIsReplaced(t *testing.T) { // F9, F5, I2
	t.Parallel()
	f := newFGSP(t, 3, 0)
	one, two, three := f.site.Members[0], f.members[1], f.members[2]
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	f.waitRole(two, "vpn1_1", "standby")
	f.waitRole(three, "vpn1_1", "standby")
	before := fmt.Sprint(spisOfClient(f))
	f.site.Lead(f.site.Members[1])
	f.members[0].Stop()
	f.members[0].Kill() // the dataplane that outlives it: the machine goes as a whole
	replaced := startGateway(one.Host, f.site.Config(one, "    fgsp-sync: enable", ""))
	f.members[0] = replaced
	f.waitSynced(f.members...)
	f.waitLinked(f.members...)
	f.wantOnePair(replaced, before, "after a machine was replaced")
	f.waitRole(replaced, "vpn1_1", "standby")
	f.site.Lead(one)
	pingThrough(t, f)
	wantOneOwner(t, "vpn1_1", f.members...)
	f.waitRole(replaced, "vpn1_1", "standby")
	pair := fmt.Sprint(spisOfClient(f))
	two.Kill()
	three.Kill()
	pingThrough(t, f)
	f.waitRole(replaced, "vpn1_1", "primary")
	if after := fmt.Sprint(spisOfClient(f)); after != pair {
		t.Errorf("the client has the SAs %s, want those of before, %s", after, pair)
	}
}

// TestTwoMembersDie kills two members, the second before the first has been
// missed. The server's packets are the first that come to the survivor.
func TestTwoMembersDie(t *testing.T) { // F5, F23, I2
	t.Parallel()
	f := newFGSP(t, 3, 0)
	one, two, three := f.members[0], f.members[1], f.members[2]
	w := f.connect(two, three)
	one.Kill()
	two.Kill()
	f.site.LeadDown(f.site.Members[2])
	w.down.WaitFor(50, time.Minute)
	f.site.LeadUp(f.site.Members[2])
	w.flows()
	f.waitRole(three, "vpn1_1", "primary") // nobody is left to stand by
	w.unbroken()
}

// TestMemberStops stops a member as an operator does: the others go on with its
// tunnels at once, and the client is not told.
func TestMemberStops(t *testing.T) { // F5, I7
	t.Parallel()
	f := newFGSP(t, 3, 0)
	one, two, three := f.members[0], f.members[1], f.members[2]
	w := f.connect(two, three)
	one.Stop()
	f.site.Lead(f.site.Members[1])
	w.flows()
	w.wantOneOwner(two, three) // whichever of them the member chose for its successor
	w.unbrokenMoved()
	// The survivor may ask whether the client is there, and nothing else.
	if log := f.client.Log().Text(); strings.Contains(log, "received DELETE") {
		t.Errorf("the client was told of the stop: %s", log)
	}
}
