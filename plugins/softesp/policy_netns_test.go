package softesp_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
)

// TestTransportModeProtectsTheGatewaysOwnTraffic: what the hosts say to each other
// goes through the TUN device by a routing rule, ESP by its mark does not.
func TestTransportModeProtectsTheGatewaysOwnTraffic(t *testing.T) {
	for _, outer6 := range []bool{false, true} {
		for _, udp := range []bool{false, true} {
			t.Run(fmt.Sprintf("outer6=%v,udp=%v", outer6, udp), func(t *testing.T) {
				t.Parallel()
				a, b := newGateways(t, map[string]string{"fwmark": "0x4500"})
				a.ping(b.outer[1].String(), 1)
				atA, atB := a.connect(b, tunnelSpec{outer6: outer6, udp: udp, transport: true})
				family := 0
				if outer6 {
					family = 1
				}
				a.divert(a.outer[family], b.outer[family])
				b.divert(b.outer[family], a.outer[family])
				wire := a.wan.Capture("")
				a.ping(b.outer[family].String(), 3)
				if n := wire.Count("(icmp.type == 8 || icmpv6.type == 128) && !esp"); n != 0 {
					t.Errorf("%d packets were on the wire in the clear.", n)
				}
				keys := netlab.ESPKey{SPI: uint32(atA[1].ID.SPI), Cipher: netlab.AESGCM16, CipherKey: atA[1].Encryption.Reveal()}
				if inner := wire.Decrypt("", keys); len(inner) == 0 || inner[0].Protocol != map[bool]uint8{false: 1, true: 58}[outer6] {
					t.Errorf("The first packet should be a ping, got %+v.", inner[:min(len(inner), 1)])
				}
				transferBetween(t, a, b, a.outer[family], b.outer[family], 1<<20)
				if got := b.counters(atB[0].ID).Packets; got < 700 {
					t.Errorf("Pings and the file should come through the SA, it counts %d packets.", got)
				}
			})
		}
	}
}

// divert routes a peer's address to the TUN device, but for marked packets.
func (g *gateway) divert(own, peer netip.Addr) {
	family := "-4"
	if peer.Is6() {
		family = "-6"
	}
	g.ip(family, "route", "add", peer.String(), "dev", "evg0", "src", own.String(), "table", "4500")
	g.ip(family, "rule", "add", "not", "fwmark", "0x4500", "lookup", "4500", "priority", "100")
}

// TestPacketsWithoutSAAreReported names what they would need.
func TestPacketsWithoutSAAreReported(t *testing.T) {
	a, b := newGateways(t, nil)
	events := watch(t, a.engine)
	conn := a.listenUDP(netip.AddrPortFrom(a.inner[0], 7000))
	defer conn.Close()
	to := netip.AddrPortFrom(b.inner[0], 9)
	for range 20 {
		if _, err := conn.WriteToUDPAddrPort([]byte("x"), to); err != nil {
			t.Fatalf("The host cannot send: %v.", err)
		}
	}
	e := want(events, "a request for an SA", anyOf[offload.Acquire])
	wantLocal := ipsec.TrafficSelector{Proto: 17, PortMin: 7000, PortMax: 7000, Min: a.inner[0], Max: a.inner[0]}
	wantRemote := ipsec.TrafficSelector{Proto: 17, PortMin: 9, PortMax: 9, Min: to.Addr(), Max: to.Addr()}
	if e.Local != wantLocal || e.Remote != wantRemote {
		t.Errorf("The packet's own selectors should be named, got %v and %v.", e.Local, e.Remote)
	}
	netlab.Eventually(t, patience, "all packets are counted", func() error {
		return wantStats(a.engine, map[string]uint64{"no-sa": 20})
	})
}

// TestSelectorsChooseTheSA: longest prefix first, then ports, and the newest of
// equals.
func TestSelectorsChooseTheSA(t *testing.T) {
	a, b := newGateways(t, nil)
	selecting := func(number uint32, change func(*ipsec.TrafficSelector)) ipsec.SA {
		atA, _ := tunnelSpec{number: number, change: func(sa *ipsec.SA) {
			wide := ipsec.SelectorOf(netip.MustParsePrefix("10.0.0.0/8"))
			change(&wide)
			sa.Selectors = ipsec.Selectors{Local: hosts(a.inner[0]), Remote: []ipsec.TrafficSelector{wide}}
		}}.pair(a, b)
		a.install(offload.Active, atA[1])
		return atA[1]
	}
	wide := selecting(1, func(*ipsec.TrafficSelector) {})
	ports := selecting(2, func(s *ipsec.TrafficSelector) {
		*s = ipsec.SelectorOf(netip.PrefixFrom(b.inner[0], 32))
		s.Proto, s.PortMin, s.PortMax = 17, 100, 200
	})
	older := selecting(3, func(s *ipsec.TrafficSelector) { s.Proto, s.PortMin, s.PortMax = 17, 300, 300 })
	newer := selecting(4, func(s *ipsec.TrafficSelector) { s.Proto, s.PortMin, s.PortMax = 17, 300, 300 })
	conn := a.listenUDP(netip.AddrPortFrom(a.inner[0], 7000))
	defer conn.Close()
	for _, c := range []struct {
		port uint16
		want ipsec.SA
		why  string
	}{
		{150, ports, "the longest prefix, whose ports match"},
		{99, wide, "the shorter prefix, because of its ports"},
		{300, newer, "the newest of equals"},
	} {
		before := a.counters(c.want.ID).Packets
		if _, err := conn.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(b.inner[0], c.port)); err != nil {
			t.Fatalf("The host cannot send: %v.", err)
		}
		netlab.Eventually(t, patience, fmt.Sprintf("a packet to port %d leaves through %s", c.port, c.why), func() error {
			if a.counters(c.want.ID).Packets != before+1 {
				return fmt.Errorf("it did not")
			}
			return nil
		})
	}
	if n := a.counters(older.ID).Packets; n != 0 {
		t.Errorf("The older of equals should carry nothing, got %d packets.", n)
	}
}

// TestQueuesShareTheWork: with two queues, flows and SAs spread, and all arrives.
func TestQueuesShareTheWork(t *testing.T) {
	a, b := newGateways(t, map[string]string{"queues": "2"})
	for _, udp := range []bool{true, false} {
		number := uint32(len(b.inner))
		for family := range a.inner {
			number++
			a.connect(b, tunnelSpec{udp: udp, number: number, change: func(sa *ipsec.SA) {
				local, remote := a.inner[family], b.inner[family]
				if sa.Local == b.outer[0] {
					local, remote = remote, local
				}
				sa.Selectors = ipsec.Selectors{Local: hosts(local), Remote: hosts(remote)}
			}})
		}
		for family := range a.inner {
			transfer(t, a, b, family, 4<<20)
			transfer(t, b, a, family, 4<<20)
		}
	}
}

// TestTrafficClassesFollowTheRFCs looks at the outer header and at what comes out
// (RFC 4301 section 5.1.2, RFC 6040).
func TestTrafficClassesFollowTheRFCs(t *testing.T) {
	for name, c := range map[string]struct {
		policy ipsec.HeaderPolicy
		outer  int
	}{
		"copied": {ipsec.HeaderPolicy{}, 0xb9},
		"hidden": {ipsec.HeaderPolicy{HideDSCP: true, DSCP: 10}, 10<<2 | 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := newGateways(t, nil)
			atA, _ := a.connect(b, tunnelSpec{udp: true, change: func(sa *ipsec.SA) { sa.Header = c.policy }})
			wire := a.wan.Capture("udp port 4500")
			if out, err := a.ns.Output(pingCommand("-c", "1", "-Q", "0xb9", b.inner[0].String())); err != nil {
				t.Fatalf("The ping should be answered: %v: %s", err, out)
			}
			filter := fmt.Sprintf("esp.spi == %d && ip.dsfield == %d", atA[1].ID.SPI, c.outer)
			if n := wire.Count(filter); n != 1 {
				t.Errorf("One packet with the traffic class %#x should be on the wire, got %d.", c.outer, n)
			}
		})
	}
}
