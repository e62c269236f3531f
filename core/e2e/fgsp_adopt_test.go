package e2e_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// sealKey lets the state of a member's own tunnels stay on its disk.
const sealKey = "state: {seal-key: {literal: a key that the operator has made}}\n"

// wantNothingLost ends the traffic and checks that each packet has arrived, once and
// in order, and what unbroken does.
func (w *watch) wantNothingLost() {
	w.t.Helper()
	if err := w.up.Stop().Err(); err != nil {
		w.t.Errorf("from the client to the server: %v", err)
	}
	if err := w.down.Stop().Err(); err != nil {
		w.t.Errorf("from the server to the client: %v", err)
	}
	w.unbroken()
}

// wantPlugin checks that a daemon goes on with a dataplane.
func wantPlugin(t *testing.T, d *gateway.Daemon, want int) {
	t.Helper()
	if now := plugin(t, d); now != want {
		t.Errorf("the dataplane is process %d, want %d still", now, want)
	}
}

// TestDeadDaemonReturnsToItsDataplane kills the daemon of a tunnel's owner under
// traffic that goes on coming there. Nobody else takes the tunnel; the next daemon
// goes on with the dataplane, and has its IKE state from the other members.
func TestDeadDaemonReturnsToItsDataplane(t *testing.T) { // B6, I1, I2, I7
	t.Parallel()
	f := newFGSP(t, 3, 0)
	one, two, three := f.members[0], f.members[1], f.members[2]
	w := f.connect(two, three)
	dataplane := plugin(t, one)
	for range 2 {
		one.KillDaemon()
		f.waitRole(two, "vpn1_1", "standby")
		w.flows()
		one.Restart()
		f.waitSynced(one, two, three)
		f.waitRole(one, "vpn1_1", "sync-primary")
		f.waitRole(two, "vpn1_1", "standby")
		f.waitRole(three, "vpn1_1", "standby")
		wantPlugin(t, one, dataplane)
		w.flows()
	}
	w.wantNothingLost()
	if err := f.client.RekeyChild("lan"); err != nil {
		t.Errorf("the client does not rekey with the member that came back: %v", err)
	}
	if err := one.Rekey("vpn1_1", true); err != nil {
		t.Errorf("the member that came back does not rekey the IKE SA: %v", err)
	}
	pingThrough(t, f)
}

// TestTakenTunnelFallsSilentWhereItWas has another member take the tunnel of a dead
// daemon, whose dataplane would go on.
func TestTakenTunnelFallsSilentWhereItWas(t *testing.T) { // B6, F5, I7, I8
	t.Parallel()
	f := newFGSP(t, 2, 0)
	one, two := f.members[0], f.members[1]
	w := f.connect(two)
	dataplane := plugin(t, one)
	f.site.Lead(f.site.Members[1]) // as a router does that misses the daemon
	one.KillDaemon()
	f.waitRole(two, "vpn1_1", "primary")
	w.flows()
	one.Restart()
	f.waitSynced(one, two)
	wantPlugin(t, one, dataplane)
	w.wantOneOwner(one, two)
	f.waitRole(one, "vpn1_1", "standby")
	w.flows()
	f.site.Lead(f.site.Members[0]) // over the members' link, from now on
	f.waitLinked(one, two)
	w.flows()
	f.waitRole(one, "vpn1_1", "standby")
	w.unbroken()
}

// TestAllDaemonsDie kills all of a group at once. Their dataplanes go on; what the
// owner had on disk, and nobody else remembers, is enough to go on with.
func TestAllDaemonsDie(t *testing.T) { // B6, I1, I2
	t.Parallel()
	f := startFGSP(t, 2, 0, func(*gateway.GroupMember) string { return sealKey })
	f.site.Lead(f.site.Members[0])
	one, two := f.members[0], f.members[1]
	w := f.connect(two)
	for range 2 {
		before := []int{plugin(t, one), plugin(t, two)}
		one.KillDaemon()
		two.KillDaemon()
		w.flows()
		two.Restart()
		one.Restart()
		f.waitSynced(one, two)
		f.waitRole(one, "vpn1_1", "sync-primary")
		f.waitRole(two, "vpn1_1", "standby")
		wantPlugin(t, one, before[0])
		wantPlugin(t, two, before[1])
		w.flows()
	}
	w.wantNothingLost()
	if err := f.client.RekeyChild("lan"); err != nil {
		t.Errorf("the client does not rekey with the member that came back: %v", err)
	}
	pingThrough(t, f)
}

// TestAllDaemonsDieWithoutADisk: where nobody remembers the IKE SA, its Child SAs end
// too, the log says so, and the client begins anew.
func TestAllDaemonsDieWithoutADisk(t *testing.T) { // B6, B7
	t.Parallel()
	f := newFGSP(t, 2, 0)
	one, two := f.members[0], f.members[1]
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	f.waitRole(two, "vpn1_1", "standby")
	one.KillDaemon()
	two.KillDaemon()
	one.Restart()
	two.Restart()
	one.Log().Wait("sas of the last life were deleted.*count=2", time.Minute)
	f.waitSynced(one, two)
	if n := len(one.Tunnels("vpn1")); n != 0 {
		t.Errorf("the member has %d tunnels, want none", n)
	}
	if err := f.client.ForgetIKE("office"); err != nil { // nobody would answer
		t.Fatal(err)
	}
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	f.waitRole(one, "vpn1_1", "sync-primary")
	pingThrough(t, f)
}

// TestRollingUpgradeKeepsDataplanes restarts each member in turn, as an upgrade does,
// with the traffic led away from it meanwhile.
func TestRollingUpgradeKeepsDataplanes(t *testing.T) { // B6, F4, F9, I7
	t.Parallel()
	f := newFGSP(t, 2, 0)
	f.waitLinked(f.members...)
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	f.waitRole(f.members[0], "vpn1_1", "sync-primary")
	f.waitRole(f.members[1], "vpn1_1", "standby")
	before, wire := f.client.SAs(), f.site.ClientWAN.Capture("udp port 4500 or esp")
	up := netlab.Stream{From: f.site.Client, Source: gateway.ClientHost, To: f.site.Server, Dest: gateway.ServerLoopback, Every: every}.Start(t)
	down := netlab.Stream{From: f.site.Server, Source: gateway.ServerLoopback, To: f.site.Client, Dest: gateway.ClientHost, Every: every}.Start(t)
	for i, d := range f.members {
		other := f.members[1-i]
		f.site.Lead(f.site.Members[1-i])
		up.WaitFor(10, time.Minute)
		down.WaitFor(10, time.Minute)
		dataplane := plugin(t, d)
		d.Stop()
		up.WaitFor(20, time.Minute)
		down.WaitFor(20, time.Minute)
		d.Restart()
		f.waitSynced(f.members...)
		f.waitLinked(f.members...)
		wantPlugin(t, d, dataplane)
		f.waitRole(other, "vpn1_1", "sync-primary")
		f.waitRole(d, "vpn1_1", "standby")
	}
	wantMovedWhole(t, up, down, wire)
	wantSameSAs(t, before, f.client.SAs())
}
