package e2e_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// waitAlone waits until a member takes all others for dead.
func (f *fgsp) waitAlone(d *gateway.Daemon) {
	f.t.Helper()
	netlab.Eventually(f.t, time.Minute, "the member is alone", func() error {
		p, err := d.StandalonePeers()
		for _, peer := range p.Peers {
			if peer.Detected {
				err = errors.Join(err, fmt.Errorf("it detects member %d", *peer.Member))
			}
		}
		return err
	})
}

// TestMembersNetworkParts cuts the members off from each other while both get
// traffic of one tunnel, and joins them again.
func TestMembersNetworkParts(t *testing.T) { // B1, B5, F23, I8
	t.Parallel()
	f := newFGSP(t, 2, 0)
	one, two := f.members[0], f.members[1]
	w := f.connect(two)
	f.site.Members[1].Port4.Down()
	f.waitAlone(one)
	f.waitAlone(two)
	w.flows()
	// The server's packets go on to the first member, the client's to the second.
	f.site.LeadUp(f.site.Members[1])
	f.waitRole(two, "vpn1_1", "primary")
	w.up.WaitFor(100, time.Minute)
	f.waitRole(one, "vpn1_1", "primary")
	f.site.LeadDown(f.site.Members[1])
	w.flows()

	f.site.Members[1].Port4.Up()
	f.waitSynced(one, two)
	w.wantOneOwner(one, two)
	owner := 0
	if role(two, "vpn1_1") == "sync-primary" {
		owner = 1
	}
	f.site.Lead(f.site.Members[owner])
	w.flows()
	w.wantOneOwner(one, two)
	w.unbrokenMoved()
}

// TestDaemonGetsNoProcessor stops the clock of an owner's daemon alone, long enough for
// members of the default patience to take it for dead. Nothing comes to any of these, so
// nothing moves, and nothing is lost.
func TestDaemonGetsNoProcessor(t *testing.T) { // B5, B6, F5
	t.Parallel()
	f := &fgsp{t: t, site: gateway.NewGroupSite(netlab.New(t), 3)}
	f.startMembers(3, func(*gateway.GroupMember) string { return "" })
	f.site.Lead(f.site.Members[0])
	one, two, three := f.members[0], f.members[1], f.members[2]
	w := f.connect(two, three)
	for range 2 {
		log := two.Log().Now()
		freeze(t, one)
		log.Wait("member is dead or cut off.* member=1", limit)
		w.up.WaitFor(100, time.Minute) // through its dataplane, for a second
		w.down.WaitFor(100, time.Minute)
		one.Process().Signal(syscall.SIGCONT)
		f.waitSynced(one, two, three)
		f.waitRole(one, "vpn1_1", "sync-primary")
		w.wantOneOwner(one, two, three)
		w.flows()
	}
	w.wantNothingLost()
}

// freeze stops a daemon's clock, and not its dataplane's.
func freeze(t *testing.T, d *gateway.Daemon) {
	t.Helper()
	if err := syscall.Kill(d.Process().PID(), syscall.SIGSTOP); err != nil {
		t.Fatalf("stop the daemon's clock: %v", err)
	}
}

// TestMemberFreezes stops the clock of an owner, with its dataplane, and lets it
// go on when another has taken its place.
func TestMemberFreezes(t *testing.T) { // F5, B1, I8
	t.Parallel()
	f := newFGSP(t, 3, 0)
	one, two, three := f.members[0], f.members[1], f.members[2]
	w := f.connect(two, three)
	one.Process().Signal(syscall.SIGSTOP)
	f.site.Lead(f.site.Members[1])
	w.flows()
	f.waitRole(two, "vpn1_1", "sync-primary")
	f.waitRole(three, "vpn1_1", "standby")
	one.Process().Signal(syscall.SIGCONT)
	f.waitSynced(one, two, three)
	w.wantOneOwner(one, two, three)
	f.waitRole(two, "vpn1_1", "sync-primary")
	w.flows()
	w.unbroken()
}
