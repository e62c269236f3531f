package xfrm

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm/xfrmnl"
)

func TestPortRangesBecomeMasks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		low := rapid.Uint16().Draw(t, "low")
		high := rapid.Uint16Min(low).Draw(t, "high")
		port := rapid.Uint16().Draw(t, "port")
		matches := 0
		for _, p := range maskedPorts(low, high) {
			if port&p.Mask == p.Value&p.Mask {
				matches++
			}
		}
		want := 0
		if low <= port && port <= high {
			want = 1
		}
		if matches != want {
			t.Fatalf("Of the masks of %d to %d, %d should select port %d, got %d.", low, high, want, port, matches)
		}
	})
	if got := maskedPorts(0, 65535); len(got) != 1 || got[0] != (xfrmnl.Port{}) {
		t.Errorf("All ports should be no mask, got %v.", got)
	}
}

func selector(prefix string, proto uint8, low, high uint16) ipsec.TrafficSelector {
	s := ipsec.SelectorOf(netip.MustParsePrefix(prefix))
	s.Proto, s.PortMin, s.PortMax = proto, low, high
	return s
}

func TestSelectorsOfBothDirectionsMirror(t *testing.T) {
	s := ipsec.Selectors{
		Local:  []ipsec.TrafficSelector{selector("10.0.0.0/8", 17, 53, 53), selector("2001:db8::/32", 0, 0, 65535)},
		Remote: []ipsec.TrafficSelector{selector("192.0.2.0/24", 0, 0, 65535), selector("2001:db8:1::/48", 0, 0, 65535)},
	}
	out, err := selectorsOf(s, ipsec.Outbound)
	if err != nil {
		t.Fatalf("The selectors cannot be used outbound: %v.", err)
	}
	in, err := selectorsOf(s, ipsec.Inbound)
	if err != nil || len(in) != 2 || len(out) != 2 {
		t.Fatalf("Two pairs of families should make two policies a direction, got %v and %v (%v).", out, in, err)
	}
	for i := range out {
		mirrored := xfrmnl.Selector{Dst: in[i].Src, Src: in[i].Dst, Proto: in[i].Proto, DstPort: in[i].SrcPort, SrcPort: in[i].DstPort}
		if out[i] != mirrored {
			t.Errorf("Inbound should be the mirror of outbound %v, got %v.", out[i], in[i])
		}
	}
	if out[0].SrcPort != (xfrmnl.Port{Value: 53, Mask: 0xffff}) || out[0].Proto != 17 {
		t.Errorf("The local port should be the source outbound, got %+v.", out[0])
	}
}

func TestICMPHasTypeAndCodeInTheirPlaces(t *testing.T) { // RFC 4301 section 4.4.1.1
	echo := selector("10.0.0.0/8", 1, 8<<8, 8<<8)
	for _, d := range []ipsec.Direction{ipsec.Inbound, ipsec.Outbound} {
		got, err := selectorsOf(ipsec.Selectors{
			Local: []ipsec.TrafficSelector{echo}, Remote: []ipsec.TrafficSelector{selector("192.0.2.0/24", 1, 0, 65535)},
		}, d)
		if err != nil || len(got) != 1 || got[0].SrcPort.Value != 8 || got[0].DstPort != (xfrmnl.Port{Value: 0, Mask: 0xffff}) {
			t.Errorf("%v, type 8 should be the source port and code 0 the destination port, got %+v (%v).", d, got, err)
		}
	}
}

func TestWhatTheKernelCannotSelectIsRefused(t *testing.T) {
	everywhere := selector("0.0.0.0/0", 0, 0, 65535)
	for what, s := range map[string]ipsec.TrafficSelector{
		"OPAQUE ports":          selector("10.0.0.0/8", 6, 65535, 0),
		"a range of ICMP types": selector("10.0.0.0/8", 1, 3<<8, 11<<8),
		"a range of addresses that is no handful of prefixes": {
			Min: netip.MustParseAddr("2001:db8::1"), Max: netip.MustParseAddr("2001:db8:ffff:ffff:ffff:ffff:ffff:fffe"), PortMin: 1, PortMax: 65534,
		},
	} {
		remote := everywhere
		if s.Is6() {
			remote = ipsec.AnySelector(true)
		}
		_, err := selectorsOf(ipsec.Selectors{Local: []ipsec.TrafficSelector{s}, Remote: []ipsec.TrafficSelector{remote}}, ipsec.Outbound)
		if !errors.Is(err, offload.ErrUnsupported) {
			t.Errorf("%s should be ErrUnsupported, got %v.", what, err)
		}
	}
}

func TestTheLongestRemotePrefixComesFirst(t *testing.T) {
	of := func(remote, local string, proto uint8) uint32 {
		return priorityOf(xfrmnl.Selector{Dst: netip.MustParsePrefix(remote), Src: netip.MustParsePrefix(local), Proto: proto}, xfrmnl.Out)
	}
	order := []uint32{
		of("192.0.2.1/32", "10.0.0.0/24", 17), of("192.0.2.1/32", "10.0.0.0/24", 0), of("192.0.2.1/32", "10.0.0.0/8", 17),
		of("192.0.2.0/24", "10.0.0.1/32", 17), of("0.0.0.0/0", "0.0.0.0/0", 0), 1 << 30,
	}
	if !slices.IsSorted(order) || len(slices.Compact(slices.Clone(order))) != len(order) {
		t.Errorf("Priorities should rise from the most particular policy to the widest, got %v.", order)
	}
}

func TestNotesComeBackAsTheyWere(t *testing.T) { // B6
	a := &association{
		id:    ipsec.SAID{SPI: 0x90010203, Dst: netip.MustParseAddr("192.0.2.2"), Proto: ipsec.ESP, Port: 4500},
		reqID: 0x45000007, direction: ipsec.Outbound, tunnel: 0x1122334455667788, group: 15, generation: 1 << 40,
		pathMTU: 1400, ceiling: 1 << 33, lease: 1 << 28,
		lifetime:   ipsec.Lifetime{Soft: ipsec.Limits{Bytes: 1, Packets: 2}, Hard: ipsec.Limits{Bytes: 3, Packets: 4}},
		algorithms: ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: 256, Integrity: ipsec.AuthHMACSHA1_96, ESN: true},
		earlier:    xfrmnl.Current{Bytes: 5, Packets: 6},
	}
	got, err := readNote(a.reqID, a.note())
	if err != nil || string(got.note()) != string(a.note()) || got.id != a.id || got.algorithms != a.algorithms || got.lifetime != a.lifetime {
		t.Errorf("A note should come back as %+v, got %+v (%v).", a, got, err)
	}
	for n := range a.note() {
		if _, err := readNote(1, a.note()[:n]); err == nil {
			t.Errorf("%d octets of a note were taken for one.", n)
		}
	}
	six := *a
	six.id.Dst = netip.MustParseAddr("2001:db8::2")
	if got, err := readNote(1, six.note()); err != nil || got.id.Dst != six.id.Dst {
		t.Errorf("A note of IPv6 should come back, got %v (%v).", got, err)
	}
}

// TestCeilingIsALimitOfPackets plays the kernel's counting.
func TestCeilingIsALimitOfPackets(t *testing.T) { // B1
	rapid.Check(t, func(t *rapid.T) {
		a := &association{direction: ipsec.Outbound, shift: rapid.Uint64Max(1<<31).Draw(t, "sent before")}
		a.ceiling = a.shift + rapid.Uint64Max(1<<20).Draw(t, "lease")
		want := a.ceiling
		if want == 0 {
			want = 1<<32 - 1 // no ceiling: the number that must not cycle is the last
		}
		a.renew(a.shift)
		l := a.limits()
		if last := a.shift + l.HardPackets; last != want {
			t.Fatalf("The last number should be %d with the ceiling %d, got %d.", want, a.ceiling, last)
		}
		if a.ceiling == 0 || a.lease == 0 {
			return // nothing that could run low
		}
		// With the packet after the soft limit less than half of the lease is left.
		left := a.left(a.shift + l.SoftPackets)
		if 2*left >= a.lease || 2*(left+1) < a.lease {
			t.Fatalf("Of a lease of %d, the soft limit should come when less than half is left, but %d are.", a.lease, left)
		}
	})
}

func TestSettingsNameWhatIsWrong(t *testing.T) {
	s, err := parseSettings(map[string]string{"interface": "none", "offload": "off", "offload-eth0": "crypto"})
	if err != nil || s.link != "" || s.ifID != 0 || s.offloadTo("eth0") != offloadCrypto || s.offloadTo("eth1") != offloadOff {
		t.Errorf("The settings should be taken, got %+v (%v).", s, err)
	}
	_, err = parseSettings(map[string]string{"interface-mtu": "12", "offload": "yes", "colour": "red", "interface": "a/b"})
	if !errors.Is(err, offload.ErrInvalid) {
		t.Fatalf("Wrong settings should be ErrInvalid, got %v.", err)
	}
	for _, name := range []string{"interface-mtu", "offload", "colour", "interface"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("The error should name %s, got %v.", name, err)
		}
	}
}

// TestTheShippedConfigurationIsTaken reads what operators start from.
func TestTheShippedConfigurationIsTaken(t *testing.T) {
	text, err := os.ReadFile("../../configs/xfrm-gateway.yaml")
	if err != nil {
		t.Fatalf("The configuration cannot be read: %v.", err)
	}
	var c struct {
		Dataplane struct {
			Settings map[string]string `yaml:"settings"`
		} `yaml:"dataplane"`
	}
	if err := yaml.Unmarshal(text, &c); err != nil {
		t.Fatalf("The configuration is no YAML: %v.", err)
	}
	s, err := parseSettings(c.Dataplane.Settings)
	if err != nil || len(c.Dataplane.Settings) < 5 || s.ifID != defaultIfID || s.table != defaultTable || s.logGroup != defaultLogGroup {
		t.Errorf("The settings should be taken, and say what the defaults are, got %+v (%v).", s, err)
	}
}
