package ha_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// releases lets each member speak version 1, and up to as many more as its number
// in highest says.
func releases(highest ...uint16) func(*ha.Config) {
	return func(c *ha.Config) { c.MinProtocol, c.MaxProtocol = 1, highest[c.Member] }
}

// spoken is the version in which a member speaks to another one.
func (g *group) spoken(from, to ipsec.MemberID) uint16 {
	for _, p := range g.nodes[from].Peers() {
		if p.Member == to {
			return p.Protocol
		}
	}
	return 0
}

// wantSpoken checks that two members speak a version to each other, and that the
// frames which they send are written in it.
func (g *group) wantSpoken(version uint16) {
	g.t.Helper()
	for from, to := range map[ipsec.MemberID]ipsec.MemberID{0: 1, 1: 0} {
		if got := g.spoken(from, to); got != version {
			g.t.Errorf("Member %d says that it speaks version %d to member %d, want %d.", from, got, to, version)
		}
		g.take(from)
	}
	g.pass(100 * time.Millisecond)
	for m := range ipsec.MemberID(2) {
		for _, rd := range g.take(m) {
			for _, f := range rd.Send {
				if f.Protocol != version {
					g.t.Fatalf("Member %d sends frames of version %d, want %d.", m, f.Protocol, version)
				}
			}
		}
		if n := g.nodes[m].Stats().ProtocolMismatches; n != 0 {
			g.t.Errorf("Member %d could not read %d frames.", m, n)
		}
	}
}

// TestMembersOfTwoReleases: a group is upgraded member by member. It works in the
// older version until all know the newer one, and loses no tunnel on the way.
func TestMembersOfTwoReleases(t *testing.T) {
	g := gather(t, 2, releases(1, 2))
	g.wantSpoken(1)
	g.establish()

	// Member 0 leaves, and comes back as the newer release on a new machine.
	g.step(0, ha.Leave{})
	g.pass(300 * time.Millisecond)
	g.step(1, ha.Activated{Tunnel: tunnel, Group: 0})
	upgraded, err := ha.New(ha.Config{
		Member: 0, Members: ha.MembersOf(0, 1), MinProtocol: 1, MaxProtocol: 2, NewDisk: 3,
	}, ha.HardState{})
	if err != nil {
		t.Fatal(err)
	}
	g.nodes[0] = upgraded
	g.step(0, ha.Configure{Classes: map[string]uint64{"dialup": 1}})
	g.pass(time.Second)
	g.wantSpoken(2)
	if st, ok := g.nodes[0].Tunnel(tunnel); !ok || !st.Complete || st.Owner != 1 {
		t.Errorf("The upgraded member should stand by for the tunnel that member 1 took over, it has %+v.", st)
	}
}

// TestTunnelKeepsWhatALaterReleaseAdded has a member take over a tunnel that one of a
// later release had made, and tell another one of it.
func TestTunnelKeepsWhatALaterReleaseAdded(t *testing.T) { // F2
	g := gather(t, 3)
	added := []byte("a field that this release does not know")
	g.lose = func(f ha.Frame) bool {
		for i, r := range f.Records {
			if put, is := r.(ha.PutIKE); is && f.From == 0 {
				put.IKE.Unknown = added
				f.Records[i] = put
			}
		}
		return false
	}
	g.establish()
	g.deaf = ha.MembersOf(0)
	g.pass(300 * time.Millisecond)
	g.step(1, ha.Activated{Tunnel: tunnel, Group: 0})
	g.pass(300 * time.Millisecond)
	g.step(1, ha.StoreIKE{Tunnel: tunnel, IKE: ha.IKE{Class: "dialup", State: ipsec.NewKey([]byte("ike 2"))}})
	g.pass(300 * time.Millisecond)
	for m := range ipsec.MemberID(3) {
		if m == 0 {
			continue // it is dead
		}
		if st, _ := g.nodes[m].Tunnel(tunnel); st.Owner != 1 || !bytes.Equal(st.IKE.Unknown, added) || g.state(m) != "ike 2" {
			t.Errorf("Member %d has the state %q of member %d, with %q added, want the new owner's with %q.", m, g.state(m), st.Owner, st.IKE.Unknown, added)
		}
	}
}

func TestUnreadableFramesAreCounted(t *testing.T) { // B7
	g := gather(t, 2)
	g.step(0, ha.Received{Frame: ha.Frame{Protocol: 9, From: 1, To: 0, Life: 1, Disk: 2}})
	if n := g.nodes[0].Stats().ProtocolMismatches; n != 1 {
		t.Errorf("A frame of protocol 9 was counted %d times.", n)
	}
}
