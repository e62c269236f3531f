package engine

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ike"
)

// posted is a Mesh that keeps what is sent.
type posted struct{ frames []ha.Frame }

func (p *posted) Send(f ha.Frame)                  { p.frames = append(p.frames, f) }
func (*posted) Relay(ipsec.MemberID, ike.Datagram) {}

// TestHeartbeatsPassWhatWaits: however much work waits for the replication
// machine, it hears the other members, and they hear it.
func TestHeartbeatsPassWhatWaits(t *testing.T) { // I8
	members := ha.MembersOf(1, 2)
	node := func(m ipsec.MemberID) *ha.Node {
		n, err := ha.New(ha.Config{Member: m, Members: members, NewDisk: ha.DiskID(m)}, ha.HardState{})
		if err != nil {
			t.Fatal(err)
		}
		n.Step(time.Now(), ha.Plane{Up: true, Bare: true})
		return n
	}
	o, mesh := newRunning(t, 1, dialupServer()).o, &posted{}
	o.Member, o.Replication = 1, &Replication{Node: node(1), Mesh: mesh, Store: nobody{}}
	e := New(o)
	for range 100 {
		e.replica.in.push(replicaMessage{in: Counted{}})
	}
	other := node(2)
	for _, f := range other.Step(other.NextTimeout(), ha.Timeout{}).Send {
		e.ReceiveFrame(f)
	}
	if err := e.beat(); err != nil {
		t.Fatal(err)
	}
	if waits := len(e.replica.in.take()); waits != 100 {
		t.Errorf("%d messages wait, want the 100 that a heartbeat must not wait for", waits)
	}
	if p := e.replica.Members(); len(p) != 1 || !p[0].Alive {
		t.Errorf("The other member's heartbeat was not heard: %+v.", p)
	}
	if len(mesh.frames) == 0 {
		t.Error("Our own heartbeat was not sent.")
	}
}
