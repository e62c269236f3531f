//go:build dpdk

package e2e_test

import (
	"testing"

	"github.com/evergate/evergate/core/netlab/gateway"
)

// plugin is the process of a member's dataplane.
func plugin(t *testing.T, d *gateway.Daemon) int {
	t.Helper()
	s, err := d.Status()
	if err != nil {
		t.Fatalf("The member should tell its status: %v.", err)
	}
	return s.Dataplane.PID
}

// TestDataplaneOutlivesItsDaemon kills the daemon of the member on DPDK, which owns the
// client's tunnel. Its dataplane goes on, and the next daemon with it.
func TestDataplaneOutlivesItsDaemon(t *testing.T) { // B6
	g := newGroup(t, "")
	stream, kept := g.connect()
	one, two := g.members[0], g.members[1]
	process := plugin(t, one)

	one.KillDaemon()
	g.wantTraffic(stream, "without a daemon")
	one.Restart()
	g.waitSynced()
	g.waitRole(one, "sync-primary")
	g.waitRole(two, "standby")
	g.wantTraffic(stream, "with the next daemon")

	if now := plugin(t, one); now != process {
		t.Errorf("The dataplane is process %d, want %d still.", now, process)
	}
	g.wantKept(one, kept)
	if err := g.client.RekeyChild("lan"); err != nil {
		t.Errorf("The client should get new keys from the next daemon: %v.", err)
	}
	g.wantTraffic(stream, "with new keys")
}
