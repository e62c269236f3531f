package ha_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// TestOnlyWhatIsMissingIsSentAgain has a member whose dataplane is slow, so that it
// acknowledges nothing, and loses one frame on the way to it. What it has is not
// sent again, however long it takes: it would only get slower.
func TestOnlyWhatIsMissingIsSentAgain(t *testing.T) { // B2
	g := gather(t, 2)
	g.busy = ha.MembersOf(1)
	const tunnels, lost = 10, 7
	for i := range tunnels {
		id := ipsec.TunnelID(i + 1)
		g.lose = func(f ha.Frame) bool { return i == lost && f.To == 1 && len(f.Records) > 0 }
		g.step(0, ha.StoreIKE{Tunnel: id, IKE: ha.IKE{Class: "dialup", State: ipsec.NewKey([]byte("ike"))}})
		g.lose = nil
		in, out := pair()
		in.Tunnel, out.Tunnel = id, id
		in.ID.SPI, out.ID.SPI = in.ID.SPI+ipsec.SPI(i), out.ID.SPI+ipsec.SPI(i)
		in.Pair, out.Pair = out.ID.SPI, in.ID.SPI
		g.step(0, ha.StoreChild{Tunnel: id, In: in, Out: out})
	}
	if n := len(g.nodes[1].Tunnels()); n != lost {
		t.Fatalf("Before anything is sent again the slow member has %d tunnels, want %d.", n, lost)
	}
	before := g.nodes[0].Stats().Resent
	g.pass(time.Second)
	if n := g.nodes[0].Stats().Resent - before; n != 2*(tunnels-lost) {
		t.Errorf("%d records were sent again, want the %d that did not arrive.", n, 2*(tunnels-lost))
	}
	if n := len(g.nodes[1].Tunnels()); n != tunnels {
		t.Errorf("The slow member has %d tunnels, want %d.", n, tunnels)
	}
	g.busy = 0
	var serial uint64
	for _, rd := range g.take(1) {
		serial = max(serial, rd.Serial)
	}
	g.take(0)
	g.step(1, ha.Carried{Serial: serial})
	g.pass(time.Second)
	if st := g.nodes[0].Stats(); st.Resent-before != 2*(tunnels-lost) {
		t.Errorf("After all was acknowledged %d records were sent again.", st.Resent-before)
	}
}

// TestNewStreamWaitsForTheOrdersOfTheLastOne: the owner of a tunnel misses a member for
// a moment, while the dataplane of that is still at work on what it was told before.
// Telling it anew finds nothing that differs, and yet it is not synced before the
// dataplane has it.
func TestNewStreamWaitsForTheOrdersOfTheLastOne(t *testing.T) { // F2, B2, I4, I6
	g := gather(t, 2)
	g.busy = ha.MembersOf(1)
	g.step(0, ha.StoreIKE{Tunnel: tunnel, IKE: ha.IKE{Class: "dialup", State: ipsec.NewKey([]byte("ike"))}})
	in, out := pair()
	g.step(0, ha.StoreChild{Tunnel: tunnel, In: in, Out: out})
	g.deaf = ha.MembersOf(0)
	g.pass(time.Second)
	g.deaf = 0
	g.pass(time.Second)
	if p := g.nodes[0].Peers()[0]; !p.Alive || p.Synced {
		t.Errorf("To the owner the member is %+v, want alive and not synced: its dataplane is not done.", p)
	}
	g.busy = 0
	var serial uint64
	for _, rd := range g.take(1) {
		serial = max(serial, rd.Serial)
	}
	g.step(1, ha.Carried{Serial: serial})
	g.pass(time.Second)
	if p := g.nodes[0].Peers()[0]; !p.Synced {
		t.Errorf("To the owner the member is %+v, want synced: its dataplane is done.", p)
	}
}
