package engine

import (
	"slices"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ike"
)

// halfRekeyed is a group whose client asks for a new pair. The first member has answered,
// and does not send on that pair, which it returns, before the client's next message.
func halfRekeyed(t *testing.T) (*group, ike.ChildStatus) {
	t.Helper()
	g := newGroup(t, 2)
	g.dial()
	a := g.members[0]
	g.client.step(Rekey{Name: "office"})
	a.step(Packets{Datagrams: g.fromClient()})
	children := a.tunnels()[0].IKE.Children
	i := slices.IndexFunc(children, func(c ike.ChildStatus) bool { return !c.Sending })
	if i < 0 {
		t.Fatalf("the first member has the pairs %+v, want one that it does not send on", children)
	}
	return g, children[i]
}

// fromClient takes what the client has sent, as it arrives.
func (g *group) fromClient() (out []ike.Datagram) {
	for _, dg := range g.client.out {
		out = append(out, ike.Datagram{Local: dg.Remote, Remote: dg.Local, Payload: dg.Payload})
	}
	g.client.out = nil
	return out
}

// TestLeaseOfAnSAThatIsNotInstalledIsKept: the group has agreed on numbers above those
// that another member may have used. The replication machine's order to the dataplane
// finds no SA, whether it comes into use later or is on its way.
func TestLeaseOfAnSAThatIsNotInstalledIsKept(t *testing.T) { // I1, I2
	const begin = 2*ipsec.LeaseSize + 1
	for _, installed := range []bool{false, true} {
		g, c := halfRekeyed(t)
		a := g.members[0]
		if installed {
			g.deliver()
		}
		a.step(Raised{Tunnel: a.tunnels()[0].ID, SA: c.Out, Sequence: ipsec.Sequence{Next: begin, Ceiling: 3 * ipsec.LeaseSize}})
		g.deliver()
		pkt, err := a.plane.Outbound(c.Out)
		if err != nil || pkt.Seq != begin {
			t.Errorf("with a lease from %#x, which came when the SA was installed (%t), the dataplane sends %#x (%v)", uint64(begin), installed, pkt.Seq, err)
		}
	}
}

// TestPairThatIsNotOursNeverSends: a member was barred from a new pair, because an earlier
// life of it may have sent on that. The IKE SA that it restores knows the pair, and puts
// it to use when the client says that it has it, before it can be closed.
func TestPairThatIsNotOursNeverSends(t *testing.T) { // I1, I2
	g, c := halfRekeyed(t)
	a, b := g.members[0], g.members[1]
	a.flush() // the other member has it
	b.flush()
	a.flush() // and so the client may
	id := a.tunnels()[0].ID
	st, _ := b.replica.node.Tunnel(id)
	r := ha.Restored{Tunnel: id, Epoch: st.Version.Epoch, IKE: st.IKE}
	for _, have := range st.Children {
		if have.In.ID != c.In {
			r.Children = append(r.Children, have)
		}
	}
	if len(r.Children) != len(st.Children)-1 {
		t.Fatalf("the other member has %d pairs without the new one, and %d in all", len(r.Children), len(st.Children))
	}
	b.shard.Step(g.now, Restore{Tunnel: r})
	rd := b.shard.Step(g.now, Packets{Datagrams: g.fromClient()})
	i := slices.IndexFunc(rd.Plane, func(op Op) bool { return len(op.Install) > 0 && op.Install[0].ID == c.Out })
	if i < 0 {
		t.Fatalf("the dataplane is told %+v, want the outbound SA %v installed", rd.Plane, c.Out)
	}
	if seq := rd.Plane[i].Install[0].Sequence; seq.Next <= seq.Ceiling || seq.Next < c.Algorithms.MaxSequence() {
		t.Errorf("the SA may send from %#x to %#x, want no number at all", seq.Next, seq.Ceiling)
	}
}
