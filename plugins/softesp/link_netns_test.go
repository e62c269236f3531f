package softesp_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/offloadtest"
	"github.com/evergate/evergate/plugins/softesp/esptest"
)

// SendOver implements offloadtest.Links.
func (w *wire) SendOver(ctx context.Context, sa ipsec.SA, n int, links ...ipsec.SA) ([]offloadtest.Sent, error) {
	return w.leaving(ctx, append(links, sa), func() error {
		before, err := w.count(ctx, sa.ID)
		if err != nil {
			return err
		}
		for range n {
			if _, err := w.plain.WriteToUDPAddrPort([]byte("inner"), netip.AddrPortFrom(sa.Selectors.Remote[0].Min, suitePort)); err != nil {
				return err
			}
		}
		_, err = w.settled(ctx, sa.ID, before, n)
		return err
	})
}

// DeliverOver implements offloadtest.Links.
func (w *wire) DeliverOver(ctx context.Context, link ipsec.SA, seqs []uint64, sa ipsec.SA, links ...ipsec.SA) ([]offloadtest.Sent, error) {
	inner := udpPacket(netip.AddrPortFrom(suiteInner, suitePort), netip.AddrPortFrom(sa.Selectors.Remote[0].Min, suitePort), []byte("inner"))
	return w.leaving(ctx, append(links, sa), func() error {
		before, err := w.count(ctx, link.ID)
		if err != nil {
			return err
		}
		for _, seq := range seqs {
			b, err := esptest.KeysOf(link).Seal(esptest.Packet{SPI: link.ID.SPI, Seq: seq, Payload: inner, Next: 4})
			if err != nil {
				return err
			}
			if _, err := w.esp.WriteToIP(b, &net.IPAddr{IP: w.local.AsSlice()}); err != nil {
				return err
			}
		}
		_, err = w.settled(ctx, link.ID, before, len(seqs))
		return err
	})
}

// leaving reads what the SAs send during something.
func (w *wire) leaving(ctx context.Context, sas []ipsec.SA, something func() error) ([]offloadtest.Sent, error) {
	before := w.packets(ctx, sas)
	if err := something(); err != nil {
		return nil, err
	}
	var sent []offloadtest.Sent
	b := make([]byte, 2048)
	for range w.packets(ctx, sas) - before {
		if err := w.esp.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return nil, err
		}
		n, _, err := w.esp.ReadFromIP(b)
		if err != nil {
			return nil, fmt.Errorf("after %d packets on the wire: %w", len(sent), err)
		}
		p, err := openAny(sas, b[:n])
		if err != nil {
			return nil, err
		}
		sent = append(sent, offloadtest.Sent{SPI: p.SPI, Seq: p.Seq, IV: p.IV})
	}
	return sent, nil
}

// packets is how many the SAs have carried together, of those that are there.
func (w *wire) packets(ctx context.Context, sas []ipsec.SA) uint64 {
	var n uint64
	for _, sa := range sas {
		if c, err := w.count(ctx, sa.ID); err == nil {
			n += c.Packets
		}
	}
	return n
}

// openAny opens a packet with the keys of the one SA that can.
func openAny(sas []ipsec.SA, b []byte) (esptest.Packet, error) {
	for _, sa := range sas {
		if p, err := esptest.KeysOf(sa).Open(b, 0); err == nil && p.SPI == sa.ID.SPI {
			return p, nil
		}
	}
	return esptest.Packet{}, fmt.Errorf("the wire has a packet of none of %d SAs", len(sas))
}

// members are two gateways with one outer address, a client that reaches both, and
// a network of their own between them.
type members struct {
	owner, other, client *gateway
	sync                 *netlab.Interface // the owner's
	// SAs of the tunnel, as each has them: inbound and outbound.
	atOwner, atOther, atClient [2]ipsec.SA
	linkOwner, linkOther       [2]ipsec.SA
}

// leap is where the other member's numbers start.
const leap = 1 << 28

func newMembers(t *testing.T, spec tunnelSpec) *members {
	t.Helper()
	lab := netlab.New(t)
	na, nb, nc := lab.Namespace("owner"), lab.Namespace("other"), lab.Namespace("client")
	shared, client := [2]netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8:ff::1")},
		[2]netip.Addr{netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("2001:db8:ff::2")}
	wa, _ := lab.Link(na.Port("wan", "192.0.2.1/25", "2001:db8:1::1/64"), nc.Port("toa", "192.0.2.2/25", "2001:db8:1::2/64"))
	wb, _ := lab.Link(nb.Port("wan", "192.0.2.129/25", "2001:db8:2::1/64"), nc.Port("tob", "192.0.2.130/25", "2001:db8:2::2/64"))
	sync, _ := lab.Link(na.Port("sync", "172.31.1.1/24", "2001:db8:3::1/64"), nb.Port("sync", "172.31.1.2/24", "2001:db8:3::2/64"))
	na.Route(client[0].String()+"/32", "192.0.2.2")
	na.Route(client[1].String()+"/128", "2001:db8:1::2")
	nb.Route(client[0].String()+"/32", "192.0.2.130")
	nb.Route(client[1].String()+"/128", "2001:db8:2::2")
	nc.Route(shared[0].String()+"/32", "192.0.2.1")
	nc.Route(shared[1].String()+"/128", "2001:db8:1::1")
	for _, n := range []*netlab.Namespace{na, nb} {
		n.Loopback(shared[0].String()+"/32", shared[1].String()+"/128")
	}
	nc.Loopback(client[0].String()+"/32", client[1].String()+"/128")

	m := &members{sync: sync}
	m.owner = newGateway(t, na, wa, 1, shared, nil)
	m.other = newGateway(t, nb, wb, 2, shared, nil)
	m.client = newGateway(t, nc, wa, 3, client, nil)
	m.owner.addAddresses("172.31.1.1", "2001:db8:3::1")
	m.other.addAddresses("172.31.1.2", "2001:db8:3::2")
	for _, g := range []*gateway{m.owner, m.other} {
		g.route(m.client)
		m.client.route(g)
	}
	m.connect(spec)
	m.link(1)
	return m
}

// addAddresses gives the engine more addresses.
func (g *gateway) addAddresses(addrs ...string) {
	for _, a := range addrs {
		g.config.Addresses = append(g.config.Addresses, netip.MustParseAddr(a))
	}
	g.reconfigure()
}

// connect installs the tunnel: active at owner and client, standby at the other
// member, which would go on from leap.
func (m *members) connect(spec tunnelSpec) {
	inner := hosts(append(m.owner.inner[:], m.other.inner[:]...)...)
	spec.change = func(sa *ipsec.SA) {
		if sa.Local == m.client.outer[0] || sa.Local == m.client.outer[1] {
			sa.Selectors.Remote = inner
		} else {
			sa.Selectors.Local = inner
		}
	}
	m.atOwner, m.atClient = spec.pair(m.owner, m.client)
	m.atOther = m.atOwner
	for i := range m.atOther {
		m.atOther[i].Sender = m.other.config.Member
	}
	m.atOther[1].Sequence.Next = leap
	m.owner.install(offload.Active, m.atOwner[:]...)
	m.client.install(offload.Active, m.atClient[:]...)
	m.other.install(offload.Standby, m.atOther[:]...)
}

// link installs link number n between the members' own addresses, inbound first.
func (m *members) link(n uint32) {
	between := func(here, there *gateway, peer ipsec.MemberID) [2]ipsec.SA {
		end := *here // with its own addresses
		end.outer = [2]netip.Addr(here.config.Addresses[2:4])
		far := *there
		far.outer = [2]netip.Addr(there.config.Addresses[2:4])
		pair, _ := tunnelSpec{number: 0x100 + n}.pair(&end, &far)
		for i := range pair {
			pair[i].Link, pair[i].Selectors = &ipsec.Link{Member: peer}, ipsec.Selectors{}
			pair[i].Header.DF = ipsec.DFClear
		}
		return pair
	}
	m.linkOwner, m.linkOther = between(m.owner, m.other, m.other.config.Member), between(m.other, m.owner, m.owner.config.Member)
	// The SPIs of spec.pair tell first from second; the other end has them the other
	// way around.
	for i := range m.linkOther {
		theirs := m.linkOwner[1-i]
		m.linkOther[i].ID.SPI, m.linkOther[i].Pair = theirs.ID.SPI, theirs.Pair
		m.linkOther[i].Encryption, m.linkOther[i].Integrity = theirs.Encryption, theirs.Integrity
	}
	for _, i := range []int{0, 1} { // inbound at both ends before outbound
		m.owner.install(offload.Active, m.linkOwner[i])
		m.other.install(offload.Active, m.linkOther[i])
	}
}

// wantStream sends datagrams from the other member's network to the client, and
// wants all of them to arrive.
func (m *members) wantStream(how string) {
	t := m.owner.t
	t.Helper()
	traffic := stream(m.other, m.client)
	traffic.WaitFor(20, patience)
	if err := traffic.Stop().Err(); err != nil {
		t.Errorf("No datagram %s should be lost: %v.", how, err)
	}
}

// TestPacketsAtTheOtherMemberLeaveThroughTheOwner: the client sees the owner's
// numbers only, until the other member takes over; nothing is lost.
func TestPacketsAtTheOtherMemberLeaveThroughTheOwner(t *testing.T) { // B5
	for _, spec := range []tunnelSpec{{udp: true}, {outer6: true}} {
		t.Run(fmt.Sprintf("outer6=%v,udp=%v", spec.outer6, spec.udp), func(t *testing.T) {
			t.Parallel()
			m := newMembers(t, spec)
			wire := m.sync.Capture("")
			m.wantStream("relayed by the other member")
			relayed := m.other.counters(m.atOther[1].ID)
			if relayed.Relayed < 20 || relayed.Packets != 0 || relayed.Drops.Standby != 0 {
				t.Errorf("The standby SA should relay all and send nothing, got %d relayed, %d sent and %+v.", relayed.Relayed, relayed.Packets, relayed.Drops)
			}
			if got := m.client.counters(m.atClient[0].ID).Sequence.Highest; got >= leap {
				t.Errorf("The client should see numbers of the owner only, got %d.", got)
			}

			if err := m.other.engine.Arm(t.Context(), group, later(1)); err != nil {
				t.Fatalf("Arm failed: %v.", err)
			}
			m.wantStream("sent by the other member itself")
			if got := m.client.counters(m.atClient[0].ID).Sequence.Highest; got < leap {
				t.Errorf("The client should see numbers of the other member now, got %d.", got)
			}
			if got := m.other.counters(m.atOther[1].ID).Relayed; got != relayed.Relayed {
				t.Errorf("The other member should relay nothing more, it has relayed %d after %d.", got, relayed.Relayed)
			}
			m.wantNothingLost()
			if n := wire.Count("esp"); n < 20 {
				t.Errorf("What is relayed should be on the wire as ESP, got %d packets.", n)
			}
			if n := wire.Count("!esp && !icmpv6 && !arp"); n != 0 {
				t.Errorf("Nothing but ESP and neighbor discovery should be between the members, got %d other packets.", n)
			}
		})
	}
}

// wantNothingLost compares what each counts, which is a moment after what it
// counts has gone on.
func (m *members) wantNothingLost() {
	m.owner.t.Helper()
	netlab.Eventually(m.owner.t, patience, "all that was sent is counted", func() error {
		over, in := m.other.counters(m.atOther[1].ID), m.owner.counters(m.linkOwner[0].ID)
		out, got := m.owner.counters(m.atOwner[1].ID), m.client.counters(m.atClient[0].ID)
		if over.Relayed != in.Packets || in.Packets != out.Packets || in.Drops != (offload.Drops{}) {
			return fmt.Errorf("all that was relayed should leave at the owner: %d relayed, %d arrived and %d left, with %+v",
				over.Relayed, in.Packets, out.Packets, in.Drops)
		}
		if got.Packets != out.Packets+over.Packets || got.Drops != (offload.Drops{}) {
			return fmt.Errorf("the client should take all of the owner's %d and the other's %d, got %d and %+v",
				out.Packets, over.Packets, got.Packets, got.Drops)
		}
		return nil
	})
}

// TestBulkGoesOverTheLink moves a file from the other member's network, with
// super-packets on the way in, while the link is replaced again and again.
func TestBulkGoesOverTheLink(t *testing.T) {
	m := newMembers(t, tunnelSpec{udp: true, algorithms: cbcSHA1})
	// What comes back lands at the owner, behind which the same network is. The
	// owner's word on what is too big for the client goes that way, too.
	m.owner.ns.Forward()
	m.owner.ns.Route(m.other.inner[0].String()+"/32", "172.31.1.2")
	done := make(chan error, 1)
	go func() {
		_, err := netlab.Transfer{
			From: m.other.ns, Source: m.other.inner[0].String(), To: m.client.ns, Dest: m.client.inner[0].String(), Bytes: 8 << 20,
		}.Run(t.Context())
		done <- err
	}()
	for n := uint32(2); n < 6; n++ {
		oldOwner, oldOther := m.linkOwner, m.linkOther
		m.link(n)
		netlab.Eventually(t, patience, "the new link is used", func() error {
			if m.owner.counters(m.linkOwner[0].ID).Packets == 0 {
				m.other.pingOnce(netlab.Ping{To: m.client.inner[0].String(), From: m.other.inner[0].String(), Count: 1, Wait: lostSoon})
				return fmt.Errorf("no packet came through it")
			}
			return nil
		})
		for _, end := range []struct {
			g   *gateway
			old [2]ipsec.SA
		}{{m.other, oldOther}, {m.owner, oldOwner}} {
			if _, err := end.g.engine.Delete(t.Context(), 0, end.old[0].ID, end.old[1].ID); err != nil {
				t.Fatalf("Delete failed: %v.", err)
			}
		}
	}
	if err := <-done; err != nil {
		t.Errorf("The file should arrive whole: %v.", err)
	}
	if c := m.client.counters(m.atClient[0].ID); c.Sequence.Highest >= leap || c.Drops.Replayed != 0 {
		t.Errorf("The client should see the owner's numbers in order, got %d and %+v.", c.Sequence.Highest, c.Drops)
	}
}

// TestNothingGoesInCircles when both members take the other one for the owner.
func TestNothingGoesInCircles(t *testing.T) {
	m := newMembers(t, tunnelSpec{udp: true})
	if err := m.owner.engine.Demote(t.Context(), group, later(1)); err != nil {
		t.Fatalf("Demote failed: %v.", err)
	}
	to := offload.Group(m.other.config.Member)
	change := offload.Change{ID: m.atOwner[1].ID, Group: &to}
	if _, err := m.owner.engine.Update(t.Context(), later(1), change); err != nil {
		t.Fatalf("Update failed: %v.", err)
	}
	m.other.pingOnce(netlab.Ping{To: m.client.inner[0].String(), From: m.other.inner[0].String(), Count: 3, Wait: lostSoon})
	netlab.Eventually(t, patience, "the owner that was drops what came over the link", func() error {
		if got := m.owner.counters(m.linkOwner[0].ID).Drops.Standby; got != 3 {
			return fmt.Errorf("it dropped %d", got)
		}
		return nil
	})
	if back := m.owner.counters(m.linkOwner[1].ID).Packets; back != 0 {
		t.Errorf("Nothing should go back, got %d packets.", back)
	}
	if got := m.client.counters(m.atClient[0].ID).Packets; got != 0 {
		t.Errorf("Nothing should reach the client, got %d packets.", got)
	}
}
