package examplenpu

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

func TestEveryCipherOpensWhatItSealed(t *testing.T) {
	for _, a := range algorithms() {
		_, sa := pair(7, a)
		c, err := newTransform(sa)
		if err != nil {
			t.Fatalf("%v is listed and cannot be made: %v.", a, err)
		}
		for length := range 70 {
			payload := slices.Repeat([]byte{0xa5}, length)
			const seq = 5<<32 + 9
			packet := c.seal(nil, 0x1234, seq, make([]byte, c.ivLen()), payload, protoIPv4)
			if len(packet)%4 != 0 {
				t.Errorf("%v: a packet of %d octets is not aligned.", a, len(packet))
			}
			for cut := range packet {
				if _, _, err := c.open(slices.Clone(packet[:cut]), seq); err == nil {
					t.Fatalf("%v: the first %d of %d octets were accepted.", a, cut, len(packet))
				}
			}
			for i := range packet {
				if i/4 == 1 {
					continue // the number, of which the caller tells the whole
				}
				spoiled := slices.Clone(packet)
				spoiled[i] ^= 1
				if _, _, err := c.open(spoiled, seq); err == nil {
					t.Fatalf("%v: a packet with octet %d changed was accepted.", a, i)
				}
			}
			if _, _, err := c.open(slices.Clone(packet), 9); (err == nil) == a.ESN {
				t.Errorf("%v: the upper half of the number counts with ESN only, got %v.", a, err)
			}
			got, next, err := c.open(packet, seq)
			if err != nil || next != protoIPv4 || !slices.Equal(got, payload) {
				t.Fatalf("%v: %d octets came back as %d, next header %d (%v).", a, length, len(got), next, err)
			}
		}
	}
}

func TestParseTakesNoPrefix(t *testing.T) {
	v6 := make([]byte, 60)
	v6[0], v6[5], v6[6] = 0x60, 20, protoDestOptions
	v6[40], v6[48] = protoUDP, 0x12 // an empty header of options, then UDP
	for _, whole := range [][]byte{udp4(ours, peer), v6} {
		packet, f, ok := parse(append(slices.Clone(whole), 0, 0, 0))
		if !ok || len(packet) != len(whole) || f.proto != protoUDP || !f.ports {
			t.Errorf("A UDP packet of %d octets reads as %d octets, %+v.", len(whole), len(packet), f)
		}
		for n := range whole {
			if _, _, ok := parse(whole[:n]); ok {
				t.Errorf("The first %d of %d octets read as a packet.", n, len(whole))
			}
		}
	}
}

func TestWindowInfersTheUpperHalf(t *testing.T) { // RFC 4303 appendix A2.2
	for _, c := range []struct {
		top  uint64
		low  uint32
		want uint64
	}{
		{0, 1, 1},
		{10, 1 << 31, 1 << 31},
		{1<<32 - 1, 0, 1 << 32},
		{1<<32 - 1, 1<<32 - 64, 1<<32 - 64},
		{1 << 32, 1<<32 - 1, 1<<32 - 1},
		{3<<32 + 5, 6, 3<<32 + 6},
		{3<<32 + 500, 6, 4<<32 + 6},
	} {
		var w window
		w.resize(64)
		w.advance(c.top)
		if got := w.infer(c.low); got != c.want {
			t.Errorf("With %d as highest, %d stands for %d, got %d.", c.top, c.low, c.want, got)
		}
	}
}

func TestCongestionMarksPass(t *testing.T) { // RFC 6040 section 4.2, figure 4
	for _, c := range []struct {
		inner, outer, want byte
		dropped            bool
	}{
		{notECT, notECT, notECT, false},
		{notECT, ect0, notECT, false},
		{notECT, ce, 0, true},
		{ect0, notECT, ect0, false},
		{ect0, ect1, ect1, false},
		{ect0, ce, ce, false},
		{ect1, ect0, ect1, false},
		{ect1, ce, ce, false},
		{ce, notECT, ce, false},
	} {
		v4, v6 := udp4(ours, peer), make([]byte, 40)
		v4[1], v6[0], v6[1] = 0xb8|c.inner, 0x60|0xb, 0x80|c.inner<<4
		binary.BigEndian.PutUint16(v4[10:], checksum(v4))
		for _, packet := range [][]byte{v4, v6} {
			passed := mergeECN(packet, c.outer)
			if passed == c.dropped || passed && trafficClass(packet) != 0xb8|c.want {
				t.Errorf("Inner mark %d, outer %d: want %d, dropped %v; got class %02x, passed %v.", c.inner, c.outer, c.want, c.dropped, trafficClass(packet), passed)
			}
		}
		if checksum(v4) != 0 {
			t.Errorf("Inner mark %d, outer %d: the header checksum is wrong.", c.inner, c.outer)
		}
	}
}

// checksum is that of an IPv4 header, 0 over one that holds it.
func checksum(header []byte) uint16 {
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum>>16 + sum)
}

func TestOuterHeaderFollowsThePolicy(t *testing.T) {
	g := newGateway(t, nil)
	_, plain := pair(1, gcm)
	_, hidden := pair(2, gcm)
	hidden.Header = ipsec.HeaderPolicy{HideDSCP: true, DSCP: 10}
	g.install(plain, hidden)
	for sa, want := range map[*ipsec.SA]byte{&plain: 46<<2 | ect0, &hidden: 10<<2 | ect0} {
		packet := clientPacket(*sa)
		packet[1] = 46<<2 | ect0
		g.fromHost(packet)
		if g.class != want {
			t.Errorf("The outer class of %v should be %02x, got %02x.", sa.ID, want, g.class)
		}
	}
}

func TestPolicyPrefersTheLongestPrefixAndThenTheNewest(t *testing.T) {
	g := newGateway(t, nil)
	_, wide := pair(1, gcm)
	wide.Selectors.Remote = []ipsec.TrafficSelector{ipsec.AnySelector(false)}
	_, older := pair(2, gcm)
	_, newer := pair(3, gcm)
	newer.Selectors = older.Selectors
	g.install(newer, older) // the order of installation counts
	g.install(wide)
	g.fromHost(clientPacket(older))
	g.fromHost(udp4(netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("203.0.113.9")))
	sent, err := g.taken(wide, older, newer)
	if err != nil || len(sent) != 2 || sent[0].SPI != older.ID.SPI || sent[1].SPI != wide.ID.SPI {
		t.Errorf("The client's packet leaves by its newer SA, any other by the wide one, got %+v (%v).", sent, err)
	}
}

func TestPacketsWithoutASAAskForOneOncePerFlow(t *testing.T) {
	g := newGateway(t, nil)
	for range 3 {
		g.fromHost(udp4(ours, peer))
	}
	g.fromHost(udp4(peer, ours))
	for i, ev := range g.next("two Acquire", 2) {
		want := []netip.Addr{peer, ours}[i]
		if a, ok := ev.(offload.Acquire); !ok || a.Remote.Min != want {
			t.Errorf("Event %d should ask for an SA to %v, got %+v.", i, want, ev)
		}
	}
}

func TestWhatIsWrongWithAPacketIsCounted(t *testing.T) {
	g := newGateway(t, nil)
	in, _ := pair(1, gcm)
	g.install(in)
	foreign := udp4(netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("198.18.0.1"))
	for i, inner := range [][]byte{foreign, []byte("no packet")} {
		if err := g.arrive(in, []uint64{uint64(i + 1)}, inner); err != nil {
			t.Fatalf("The peer cannot send: %v.", err)
		}
	}
	forged, _ := pair(1, gcm)
	forged.Encryption = ipsec.NewKey(make([]byte, 20))
	if err := g.arrive(forged, []uint64{3}, foreign); err != nil {
		t.Fatalf("The forger cannot send: %v.", err)
	}
	unknown, _ := pair(9, gcm)
	if err := g.arrive(unknown, []uint64{1}, foreign); err != nil {
		t.Fatalf("The stranger cannot send: %v.", err)
	}
	last, err := g.Delete(t.Context(), epoch, in.ID)
	if err != nil || len(last) != 1 {
		t.Fatalf("Delete failed: %v.", err)
	}
	if want := (offload.Drops{Selector: 1, Malformed: 1, Authentication: 1}); last[0].Drops != want {
		t.Errorf("The drops should be %+v, got %+v.", want, last[0].Drops)
	}
	if got := g.stats.unknownSPI.Load(); got != 1 {
		t.Errorf("One packet had an unknown SPI, %d are counted.", got)
	}
}

func TestPeerBehindNATIsFollowed(t *testing.T) {
	g := newGateway(t, nil)
	in, _ := pair(1, gcm)
	in.Encap = &ipsec.Encap{LocalPort: 4500, RemotePort: 4500}
	g.install(in)
	c, err := newTransform(in)
	if err != nil {
		t.Fatalf("The peer has no cipher: %v.", err)
	}
	moved := netip.MustParseAddrPort("198.51.100.7:1024")
	inner := udp4(in.Selectors.Remote[0].Min, netip.MustParseAddr("198.18.0.1"))
	for seq := range uint64(3) {
		g.fromNetwork(c.seal(nil, in.ID.SPI, seq+1, make([]byte, 8), inner, protoIPv4), moved, 0)
	}
	if ev := g.next("a PeerMoved", 1)[0]; ev != offload.Event(offload.PeerMoved{ID: in.ID, Remote: moved}) {
		t.Errorf("The first event should say that the peer moved to %v, got %+v.", moved, ev)
	}
	if more := g.Engine.events.waiting; len(more) != 0 {
		t.Errorf("One PeerMoved is enough, got also %+v.", more)
	}
}
