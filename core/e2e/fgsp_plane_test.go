package e2e_test

import (
	"syscall"
	"testing"
)

// TestOwnersDataplaneDies kills the dataplane under a tunnel. Its traffic goes on
// where the router leads it, and the client sees nothing of it.
func TestOwnersDataplaneDies(t *testing.T) { // B6, F5
	t.Parallel()
	f := newFGSP(t, 2, 0)
	one, two := f.members[0], f.members[1]
	w := f.connect(two)
	one.KillPlugin()
	w.flows() // the router leads it there still
	w.wantOneOwner(one, two)
	one.KillPlugin()
	f.site.Lead(f.site.Members[1])
	w.flows()
	w.wantOneOwner(one, two)
	w.unbroken()
}

// TestStandbysDataplaneDies kills the dataplane of a member that stands by, and
// then the owner.
func TestStandbysDataplaneDies(t *testing.T) { // B6, F5, F23
	t.Parallel()
	f := newFGSP(t, 3, 0)
	one, two, three := f.members[0], f.members[1], f.members[2]
	w := f.connect(two, three)
	two.KillPlugin()
	two.Log().Wait("dataplane plugin up(?s:.*)dataplane plugin up", limit)
	w.flows()
	w.wantOneOwner(one, two, three)
	one.Kill()
	f.site.Lead(f.site.Members[1])
	w.flows()
	f.waitRole(two, "vpn1_1", "sync-primary")
	w.wantOneOwner(two, three)
	w.unbroken()
}

// TestOwnersDaemonAloneIsKilled ends the daemon and not its dataplane, which is left
// to find out. The client has one sender at any time, before and after the daemon
// comes back.
func TestOwnersDaemonAloneIsKilled(t *testing.T) { // F5, F23, B6, I1
	t.Parallel()
	f := newFGSP(t, 2, 0)
	one, two := f.members[0], f.members[1]
	w := f.connect(two)
	if err := syscall.Kill(one.Process().PID(), syscall.SIGKILL); err != nil {
		t.Fatalf("kill the owner's daemon: %v", err)
	}
	<-one.Process().Done()
	f.site.Lead(f.site.Members[1])
	w.flows()
	f.waitRole(two, "vpn1_1", "primary") // there is nobody to stand by

	one.Restart()
	f.waitSynced(one, two)
	w.wantOneOwner(one, two)
	f.waitRole(two, "vpn1_1", "sync-primary")
	w.flows()
	w.unbrokenMoved() // its dataplane lived
}
