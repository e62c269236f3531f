package e2e_test

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// TestManyClientsSpreadOverMembers has a router spread clients over members, and
// over those that are left when they die, one after the other, and one returns. Its
// clients' routes come by BGP, so that the server's answers find each client's owner.
func TestManyClientsSpreadOverMembers(t *testing.T) { // F3, F9, F11, F12, F23
	t.Parallel()
	const n = 200
	r := newRouted(t, 3)
	dialMany(t, r.fgsp, n)
	owned := waitOwners(t, n, r.members...)
	for i, names := range owned {
		if len(names) == 0 || len(names) == n {
			t.Errorf("member %d owns %d of %d tunnels, want a part of them", i+1, len(names), n)
		}
	}
	before, survivors := r.client.SAs(), pairs(r.members[1])
	wire := r.site.ClientWAN.Capture("udp port 500 or udp port 4500")
	all := startTrips(t, r.site, n)
	all.wantAnswers("while all members live")

	r.members[0].Kill()
	all.wantAnswers("when one member is dead")
	after := waitOwners(t, n, r.members[1:]...)
	for name := range owned[0] {
		if !after[0][name] && !after[1][name] {
			t.Errorf("tunnel %s of the dead member has no owner", name)
		}
	}
	for i := range after {
		for name := range owned[i+1] {
			if !after[i][name] {
				t.Errorf("tunnel %s has left its owner, who lives", name)
			}
		}
	}
	for name, pair := range pairs(r.members[1]) {
		if survivors[name] != pair {
			t.Errorf("tunnel %s has other SAs than before", name)
		}
	}
	all.wantAnswers("when each tunnel has its new owner")

	r.members[1].Kill()
	all.wantAnswers("when two members are dead, one after the other")
	waitOwners(t, n, r.members[2])
	r.members[0].Restart()
	r.waitSynced(r.members[0], r.members[2])
	if owned := waitOwners(t, n, r.members[0], r.members[2]); len(owned[0]) != 0 {
		t.Errorf("a dead member has returned, and taken %d tunnels from their owner, who lives", len(owned[0]))
	}
	all.wantAnswers("when a dead member has returned")
	r.members[2].Kill()
	all.wantAnswers("when the member that had died has all tunnels")
	waitOwners(t, n, r.members[0])
	all.end()
	wantSameSAs(t, before, r.client.SAs())
	wantNoneNegotiated(t, wire)
	wantNumbersOnce(t, wire)
	wantAllAccepted(t, r.client, before, wire, 0)
}

// dialMany has strongSwan dial as many times, from an address and with a network
// of its own each time.
func dialMany(t *testing.T, f *fgsp, n int) {
	t.Helper()
	var connections []strongswan.Connection
	for i := range n {
		local := fmt.Sprintf("192.168.1.%d", 20+i)
		f.site.ClientWAN.AddAddr(local + "/24")
		f.site.Client.Loopback(inner(i) + "/32")
		connections = append(connections, strongswan.Connection{
			Name: fmt.Sprintf("c%d", i), LocalAddrs: []string{local}, RemoteAddrs: []string{gateway.GatewayAddr},
			Proposals: []string{"aes128-sha1-modp1024"}, Local: strongswan.Auth{ID: strongswan.FQDN("client.example")},
			Remote: strongswan.Auth{ID: strongswan.IPv4(gateway.GatewayAddr)},
			Unique: "never", // all have one name, and none says that it is the only one (INITIAL_CONTACT)
			Children: []strongswan.Child{{
				Name: fmt.Sprintf("c%d", i), LocalTS: []string{inner(i) + "/32"}, RemoteTS: []string{gateway.ServerLoopback + "/32"},
				Proposals: []string{"aes128-sha1"},
			}},
		})
	}
	// One route for all: charon fails, now and then, when it makes so many.
	f.client.Kill()
	f.client = strongswan.Start(f.site.Client, strongswan.Settings{RetransmitTimeout: time.Second, More: map[string]string{"install_routes": "no"}})
	if _, err := f.site.Client.Output(exec.CommandContext(t.Context(), "ip", "route", "add", gateway.ServerLoopback, "dev", "ipsec0")); err != nil {
		t.Fatal(err)
	}
	connections[0].PSK = gateway.GroupPSK // for all, who have one name
	f.client.Load(connections...)
	var dials errgroup.Group
	dials.SetLimit(4) // each holds two of charon's 16 threads
	for _, c := range connections {
		dials.Go(func() error { return f.client.Initiate(c.Name) })
	}
	if err := dials.Wait(); err != nil {
		t.Fatal(err)
	}
}

// waitOwners waits until there are n tunnels, each with one owner among the
// members, and all others stand by for it. It returns the names of the tunnels
// that each member owns.
func waitOwners(t *testing.T, n int, members ...*gateway.Daemon) (owned []map[string]bool) {
	t.Helper()
	owner := "sync-primary"
	if len(members) == 1 {
		owner = "primary"
	}
	netlab.Eventually(t, time.Minute, fmt.Sprintf("%d tunnels have one owner each", n), func() error {
		owned = nil
		owners, standbys, roles := make(map[string]int), make(map[string]int), make([]map[string]int, len(members))
		for i, d := range members {
			names := make(map[string]bool)
			roles[i] = make(map[string]int)
			for _, tunnel := range d.Tunnels("") {
				roles[i][tunnel.Role]++
				if tunnel.Role == owner {
					names[tunnel.Name] = true
					owners[tunnel.Name]++
				} else if tunnel.Role == "standby" {
					standbys[tunnel.Name]++
				}
			}
			owned = append(owned, names)
		}
		for name, count := range owners {
			if count != 1 || standbys[name] != len(members)-1 {
				return fmt.Errorf("%s has %d owners and %d standbys", name, count, standbys[name])
			}
		}
		if len(owners) != n {
			return fmt.Errorf("%d have one, and the members have the roles %v", len(owners), roles)
		}
		return nil
	})
	return owned
}

// pairs are the SAs of all tunnels at a member, by name.
func pairs(d *gateway.Daemon) map[string]string {
	out := make(map[string]string)
	for _, tunnel := range d.Keyed("") {
		out[tunnel.Name] = saPair(tunnel)
	}
	return out
}
