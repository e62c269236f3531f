package address_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/ha/witness/address"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	shared4, shared6 = "192.0.2.10", "2001:db8::10"
	limit            = time.Minute
)

// pair are two members and a neighbour on one network.
type pair struct {
	neighbour *netlab.Namespace
	hosts     [2]*netlab.Namespace
	ports     [2]*netlab.Interface
	outside   *netlab.Interface // the neighbour's
}

func newPair(t *testing.T) *pair {
	t.Helper()
	lab := netlab.New(t)
	p := &pair{neighbour: lab.Namespace("neighbour"), hosts: [2]*netlab.Namespace{lab.Namespace("one"), lab.Namespace("two")}}
	ends := lab.Switch("lan", p.neighbour.Port("lan", "192.0.2.1/24", "2001:db8::1/64"),
		p.hosts[0].Port("port2", "192.0.2.2/24", "2001:db8::2/64"), p.hosts[1].Port("port2", "192.0.2.3/24", "2001:db8::3/64"))
	p.outside, p.ports = ends[0], [2]*netlab.Interface{ends[1], ends[2]}
	return p
}

// mover runs a Mover in a member until the test ends, or the end is called.
func (p *pair) mover(t *testing.T, member int) (m *address.Mover, end func()) {
	t.Helper()
	c := address.Config{Announcements: 2, Interval: 50 * time.Millisecond, Addresses: []address.Address{
		{Interface: "port2", Prefix: netip.MustParsePrefix(shared4 + "/24")},
		{Interface: "port2", Prefix: netip.MustParsePrefix(shared6 + "/64")},
	}}
	if err := p.hosts[member].Do(func() (err error) { m, err = address.New(c); return err }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Errorf("The mover ended: %v.", err)
		}
	})
	end = sync.OnceFunc(func() { cancel(); run.Wait() })
	t.Cleanup(end)
	return m, end
}

// wantAnsweredBy waits until the neighbour's packets to both addresses are answered
// by a member, and nobody else has them.
func (p *pair) wantAnsweredBy(t *testing.T, member int) {
	t.Helper()
	for _, to := range []string{shared4, shared6} {
		netlab.Eventually(t, limit, fmt.Sprintf("%s answers as member %d", to, member), func() error {
			r, err := p.neighbour.Ping(t.Context(), netlab.Ping{To: to, Count: 1, Wait: 200 * time.Millisecond})
			if err == nil {
				err = r.Err()
			}
			return err
		})
		mac := p.neighbour.Neighbour(to)
		if want := p.ports[member].MAC().String(); mac != want {
			t.Errorf("The neighbour sends packets for %s to %s, want %s of member %d.", to, mac, want, member)
		}
	}
}

func TestAddressesMoveAndEverybodyHears(t *testing.T) { // RFC 5227 section 2.3, RFC 4861 section 7.2.6
	p := newPair(t)
	one, _ := p.mover(t, 0)
	two, _ := p.mover(t, 1)
	wire := p.outside.Capture("arp or icmp6")
	one.Hold(true)
	p.wantAnsweredBy(t, 0)
	one.Hold(false)
	netlab.Eventually(t, limit, "member 1 has given the addresses up", func() error { return held(one, false) })
	two.Hold(true)
	netlab.Eventually(t, limit, "the addresses are announced twice each", func() error {
		if s := two.Status(); s.Announced != 4 || s.Err != nil || s.Moves != 1 {
			return fmt.Errorf("it says %+v", s)
		}
		return nil
	})
	p.wantAnsweredBy(t, 1)
	if n := wire.Count(fmt.Sprintf("arp.opcode == 1 && arp.src.proto_ipv4 == %s && arp.dst.proto_ipv4 == %[1]s && eth.src == %s", shared4, p.ports[1].MAC())); n != 2 {
		t.Errorf("%d announcements by ARP were on the wire, want 2.", n)
	}
	if n := wire.Count(fmt.Sprintf("icmpv6.type == 136 && icmpv6.nd.na.flag.o == 1 && icmpv6.nd.na.flag.s == 0 && icmpv6.checksum.status == 1 && ipv6.hlim == 255 && icmpv6.nd.na.target_address == %s && eth.src == %s", shared6, p.ports[1].MAC())); n != 2 {
		t.Errorf("%d unsolicited neighbour advertisements were on the wire, want 2.", n)
	}
}

func held(m *address.Mover, want bool) error {
	if s := m.Status(); s.Held != want || s.Err != nil {
		return fmt.Errorf("it says %+v", s)
	}
	return nil
}

func TestAddressesEndWithTheProcess(t *testing.T) {
	p := newPair(t)
	one, end := p.mover(t, 0)
	one.Hold(true)
	p.wantAnsweredBy(t, 0)
	end()
	if addrs := p.ports[0].Addrs(); len(addrs) != 2 {
		t.Errorf("After the end the member has %v, want its own addresses only.", addrs)
	}
	// One that is killed leaves them to their lifetime.
	p.ports[0].AddAddr(shared4 + "/24")
	again, _ := p.mover(t, 0)
	netlab.Eventually(t, limit, "what an earlier process has left is gone", func() error {
		if addrs := p.ports[0].Addrs(); len(addrs) != 2 {
			return fmt.Errorf("the member has %v", addrs)
		}
		return held(again, false)
	})
}
