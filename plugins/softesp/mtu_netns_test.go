package softesp_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
)

// lostSoon ends the wait for a reply that is not expected.
const lostSoon = 100 * time.Millisecond

// TestTooBigIsAnsweredWithTheInnerMTU pings with DF: what fits the path of 1500
// octets with the cipher's overhead passes, one octet more is answered by ICMP
// with that limit.
func TestTooBigIsAnsweredWithTheInnerMTU(t *testing.T) {
	for _, c := range []struct {
		spec  tunnelSpec
		inner int // largest inner packet
	}{
		{tunnelSpec{}, 1500 - 20 - 16 - 16 - 2},                      // 1446
		{tunnelSpec{udp: true}, 1500 - 20 - 8 - 16 - 16 - 2},         // 1438, as in the seed's tunnel list
		{tunnelSpec{outer6: true}, (1500-40-16-16)/4*4 - 2},          // 1426
		{tunnelSpec{algorithms: cbcSHA1}, (1500-20-24-12)/16*16 - 2}, // 1438
	} {
		t.Run(strconv.Itoa(c.inner), func(t *testing.T) {
			t.Parallel()
			a, b := newGateways(t, nil)
			a.connect(b, c.spec)
			for family, header := range []int{28, 48} {
				to := b.inner[family].String()
				fits := a.pingOnce(netlab.Ping{To: to, Count: 1, Size: c.inner - header, DontFragment: true, Wait: patience})
				if fits.Lost() != 0 {
					t.Errorf("A packet of %d octets to %s should pass: %s", c.inner, to, fits.Output)
				}
				over := a.pingOnce(netlab.Ping{To: to, Count: 1, Size: c.inner - header + 1, DontFragment: true, Wait: patience})
				if over.Received != 0 || over.MTU != c.inner {
					t.Errorf("A packet of %d octets to %s should be answered with an MTU of %d, got %d: %s", c.inner+1, to, c.inner, over.MTU, over.Output)
				}
			}
		})
	}
}

var cbcSHA1 = ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA1_96}

// TestPathMTUIsLearned puts a narrow router between the gateways: its ICMP
// message lowers the path MTU of the SA, and senders hear of it.
func TestPathMTUIsLearned(t *testing.T) {
	for _, spec := range []tunnelSpec{{}, {udp: true}, {outer6: true}, {udp: true, outer6: true}} {
		t.Run(fmt.Sprintf("outer6=%v,udp=%v", spec.outer6, spec.udp), func(t *testing.T) {
			t.Parallel()
			a, b := newRoutedGateways(t, 1400)
			atA, _ := a.connect(b, spec)
			events := watch(t, a.engine)
			to := b.inner[0].String()
			a.pingOnce(netlab.Ping{To: to, Count: 1, Size: 1360, DontFragment: true, Wait: lostSoon})
			want(events, "a path MTU of 1400", func(e offload.MTUChanged) bool { return e.ID == atA[1].ID && e.MTU == 1400 })
			if got := a.counters(atA[1].ID).PathMTU; got != 1400 {
				t.Errorf("Export should name the path MTU 1400, got %d.", got)
			}
			r := a.pingOnce(netlab.Ping{To: to, Count: 1, Size: 1360, DontFragment: true, Wait: patience})
			if r.Received != 0 || r.MTU == 0 || r.MTU >= 1388 {
				t.Errorf("The sender should hear of the path MTU less the overhead, got %d: %s", r.MTU, r.Output)
			}
			transfer(t, a, b, 1, 1<<20) // TCP finds its way
		})
	}
}

// TestFirstHopIsKnownFromTheStart: an active SA reports the MTU of its route
// before any packet was too long, a standby reports what it is told.
func TestFirstHopIsKnownFromTheStart(t *testing.T) { // B3
	for _, spec := range []tunnelSpec{{}, {udp: true, outer6: true}} {
		t.Run(fmt.Sprintf("outer6=%v", spec.outer6), func(t *testing.T) {
			t.Parallel()
			a, b := newGateways(t, nil)
			atA, atB := spec.pair(a, b)
			a.install(offload.Active, atA[:]...)
			b.install(offload.Standby, atB[:]...)
			a.wantPathMTU("the interface has 1500", atA[1].ID, 1500)
			b.wantPathMTU("a standby knows nothing", atB[1].ID, 0)
			if err := b.engine.Promote(t.Context(), group, later(1)); err != nil {
				t.Fatalf("Promote failed: %v.", err)
			}
			b.wantPathMTU("the promoted SA sends", atB[1].ID, 1500)

			a.wan.SetMTU(1340)
			a.reconfigure()
			a.wantPathMTU("the interface has 1340 now", atA[1].ID, 1340)
			told := uint16(1300)
			if _, err := a.engine.Update(t.Context(), epoch, offload.Change{ID: atA[1].ID, PathMTU: &told}); err != nil {
				t.Fatalf("Update failed: %v.", err)
			}
			a.wantPathMTU("the core knows better", atA[1].ID, 1300)
		})
	}
}

// reconfigure makes the engine look at its network again.
func (g *gateway) reconfigure() {
	g.t.Helper()
	if err := g.ns.Do(func() error { _, err := g.engine.Configure(g.t.Context(), g.config); return err }); err != nil {
		g.t.Fatalf("Configure failed: %v.", err)
	}
}

// wantPathMTU waits until an SA reports a path MTU.
func (g *gateway) wantPathMTU(why string, id ipsec.SAID, mtu uint16) {
	g.t.Helper()
	netlab.Eventually(g.t, patience, fmt.Sprintf("Export names a path MTU of %d, as %s", mtu, why), func() error {
		if got := g.counters(id).PathMTU; got != mtu {
			return fmt.Errorf("it names %d", got)
		}
		return nil
	})
}

// TestOwnInterfaceLimitsThePath: the link is narrower than what is assumed of
// paths.
func TestOwnInterfaceLimitsThePath(t *testing.T) {
	for _, spec := range []tunnelSpec{{}, {udp: true}, {outer6: true}, {udp: true, outer6: true}} {
		t.Run(fmt.Sprintf("outer6=%v,udp=%v", spec.outer6, spec.udp), func(t *testing.T) {
			t.Parallel()
			a, b := newGateways(t, nil)
			a.wan.SetMTU(1360)
			b.wan.SetMTU(1360)
			atA, _ := a.connect(b, spec)
			events := watch(t, a.engine)
			a.pingOnce(netlab.Ping{To: b.inner[0].String(), Count: 1, Size: 1340, DontFragment: true, Wait: lostSoon})
			want(events, "a path MTU of 1360", func(e offload.MTUChanged) bool { return e.ID == atA[1].ID && e.MTU == 1360 })
			transfer(t, a, b, 0, 1<<20)
			if d := a.counters(atA[1].ID).Drops; d.TooBig == 0 || d.Queue != 0 {
				t.Errorf("What did not fit should be counted as such, got %+v.", d)
			}
		})
	}
}

// TestWithoutDFTheOuterPacketIsFragmented pings with packets that fit in no
// outer packet.
func TestWithoutDFTheOuterPacketIsFragmented(t *testing.T) {
	for _, spec := range []tunnelSpec{{}, {udp: true}, {outer6: true}, {udp: true, outer6: true}} {
		for name, df := range map[string]ipsec.DFPolicy{"copied": ipsec.DFCopy, "cleared": ipsec.DFClear} {
			t.Run(fmt.Sprintf("outer6=%v,udp=%v,%s", spec.outer6, spec.udp, name), func(t *testing.T) {
				t.Parallel()
				a, b := newGateways(t, nil)
				if df == ipsec.DFCopy { // so the inner packets have none
					a.ns.Sysctl("net/ipv4/ip_no_pmtu_disc", "1")
					b.ns.Sysctl("net/ipv4/ip_no_pmtu_disc", "1")
				}
				tunnel := spec // the subtests share spec
				tunnel.change = func(sa *ipsec.SA) { sa.Header.DF = df }
				a.connect(b, tunnel)
				// Of packets with DF only the policy can make fragments.
				r := a.pingOnce(netlab.Ping{To: b.inner[0].String(), Count: 1, Wait: patience, Size: 1472, DontFragment: df == ipsec.DFClear})
				if err := r.Err(); err != nil {
					t.Errorf("Large pings should pass in fragments: %v: %s", err, r.Output)
				}
			})
		}
	}
}

// TestIPv6KeepsItsMinimum: a path whose MTU less the overhead is below 1280 must
// carry IPv6 packets of 1280 all the same.
func TestIPv6KeepsItsMinimum(t *testing.T) {
	a, b := newGateways(t, nil)
	a.connect(b, tunnelSpec{udp: true, change: func(sa *ipsec.SA) { sa.PathMTU = 1300 }})
	to := b.inner[1].String()
	if r := a.pingOnce(netlab.Ping{To: to, Count: 1, Size: 1280 - 48, DontFragment: true, Wait: patience}); r.Lost() != 0 {
		t.Errorf("A packet of 1280 octets should pass: %s", r.Output)
	}
	if r := a.pingOnce(netlab.Ping{To: to, Count: 1, Size: 1281 - 48, DontFragment: true, Wait: patience}); r.MTU != 1280 {
		t.Errorf("A packet of 1281 octets should be answered with 1280, got %d: %s", r.MTU, r.Output)
	}
}

// newRoutedGateways builds two gateways with a router between them, whose link to
// b is narrow.
func newRoutedGateways(t *testing.T, mtu int) (a, b *gateway) {
	t.Helper()
	lab := netlab.New(t)
	na, nr, nb := lab.Namespace("a"), lab.Namespace("router"), lab.Namespace("b")
	nr.Forward()
	wa, _ := lab.Link(na.Port("wan", "192.0.2.1/25", "2001:db8::1/112"), nr.Port("left", "192.0.2.126/25", "2001:db8::fffe/112"))
	wb, right := lab.Link(nb.Port("wan", "192.0.2.130/25", "2001:db8::1:2/112"), nr.Port("right", "192.0.2.254/25", "2001:db8::1:fffe/112"))
	wb.SetMTU(mtu)
	right.SetMTU(mtu)
	na.Route("192.0.2.128/25", "192.0.2.126")
	na.Route("2001:db8::1:0/112", "2001:db8::fffe")
	nb.Route("192.0.2.0/25", "192.0.2.254")
	nb.Route("2001:db8::/112", "2001:db8::1:fffe")
	a = newGateway(t, na, wa, 1, [2]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, nil)
	b = newGateway(t, nb, wb, 2, [2]netip.Addr{netip.MustParseAddr("192.0.2.130"), netip.MustParseAddr("2001:db8::1:2")}, nil)
	a.route(b)
	b.route(a)
	return a, b
}
