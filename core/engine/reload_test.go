package engine

import (
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ike"
)

// nobody is the way to members that are not there, and a disk that forgets.
type nobody struct{}

func (nobody) Send(ha.Frame)                      {}
func (nobody) Relay(ipsec.MemberID, ike.Datagram) {}
func (nobody) Save(ha.HardState) error            { return nil }

// TestReloadReachesTheGroup: what is synchronized changes with the configuration,
// not with the next start.
func TestReloadReachesTheGroup(t *testing.T) { // F6
	node, err := ha.New(ha.Config{Member: 1, NewDisk: 1}, ha.HardState{})
	if err != nil {
		t.Fatal(err)
	}
	server, client := newRunning(t, 2, dialupServer()), newRunning(t, 1, dialupClient())
	o := server.o
	o.Member, o.Replication = 1, &Replication{Node: node, Mesh: nobody{}, Store: nobody{}}
	server.Engine = New(o)
	server.o.Network, client.o.Network = wire{client.Engine}, wire{server.Engine}
	server.start(t)
	synced := func() (is bool) {
		t.Helper()
		err := server.lookReplica(t.Context(), func(r *Replica) { is = len(classesOf(r.policy.Policy)) > 0 })
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	if synced() {
		t.Fatal("a connection without sync is synchronized")
	}
	c := dialupServer()
	c.Sync, c.Shared = true, 7
	if err := server.Reload(t.Context(), NewPolicy(c)); err != nil {
		t.Fatal(err)
	}
	if !synced() {
		t.Fatal("the group did not hear of the new configuration")
	}
	// A tunnel of it is the group's from the first moment on.
	client.start(t)
	up := waitFor(t, server, func(ts []TunnelStatus) bool { return len(ts) == 1 && len(ts[0].Children) == 1 })
	held := false
	err = server.lookReplica(t.Context(), func(r *Replica) { _, held = r.node.Tunnel(up[0].ID) })
	if err != nil || !held {
		t.Errorf("the replication machine has the tunnel: %t (%v), want it", held, err)
	}
}
