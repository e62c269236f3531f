//go:build dpdk

package e2e_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
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
	g := newGroup(t)
	if err := g.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	one, two := g.members[0], g.members[1]
	g.waitRole(one, "sync-primary")
	g.waitRole(two, "standby")
	before, process, spi := identity(one.Tunnel("vpn1_1")), plugin(t, one), g.client.SAs()[0].InitiatorSPI
	stream := netlab.Stream{
		From: g.site.Client, Source: gateway.ClientHost, To: g.site.Server, Dest: gateway.ServerLoopback, Every: 20 * time.Millisecond,
	}.Start(t)
	g.wantTraffic(stream, "at first")

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
	if got := identity(one.Tunnel("vpn1_1")); got != before {
		t.Errorf("The SAs were %s and are %s, want the same.", before, got)
	}
	if sas := g.client.SAs(); len(sas) != 1 || sas[0].InitiatorSPI != spi {
		t.Errorf("The client should have kept its IKE SA %016x, got %+v.", spi, sas)
	}
	if err := g.client.RekeyChild("lan"); err != nil {
		t.Errorf("The client should get new keys from the next daemon: %v.", err)
	}
	g.wantTraffic(stream, "with new keys")
}
