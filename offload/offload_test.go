package offload_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

func TestEpochsNeverTieAndOrderByCount(t *testing.T) {
	a, b := offload.NewEpoch(7, 15), offload.NewEpoch(8, 0)
	if a >= b {
		t.Errorf("A higher count wins whatever the member: %d should be below %d.", a, b)
	}
	if offload.NewEpoch(7, 3) == offload.NewEpoch(7, 4) {
		t.Error("Claims of two members with the same count tie.")
	}
	if a.Count() != 7 || a.Member() != 15 {
		t.Errorf("An epoch of count 7 and member 15 says %d and %d.", a.Count(), a.Member())
	}
}

func TestFlagOfAPair(t *testing.T) {
	in := func(npu offload.NPUID, why offload.NoNPU) offload.Placement {
		return offload.Placement{NPU: npu, WhyNot: why}
	}
	for _, c := range []struct {
		what    string
		in, out offload.Placement
		want    offload.NPUFlag
	}{
		{"neither direction is in an NPU", in(0, offload.NoSuchNPU), in(0, offload.NoSuchNPU), 0x00},
		{"the outbound SA is", in(0, offload.NoRoom), in(1, offload.InNPU), 0x01},
		{"the inbound SA is", in(2, offload.InNPU), in(0, offload.NoRoom), 0x02},
		{"both are", in(2, offload.InNPU), in(1, offload.InNPU), 0x03},
		{"the NPU lacks the algorithm", in(0, offload.NoAlgorithm), in(0, offload.NoAlgorithm), 0x20},
		{"it lacks it in one direction only", in(0, offload.NoAlgorithm), in(0, offload.NoRoom), 0x00},
	} {
		if got := offload.FlagOf(c.in, c.out); got != c.want {
			t.Errorf("When %s, npu_flag is %02x, got %02x.", c.what, c.want, got)
		}
	}
}

// goodSA is what CheckSA accepts; change spoils it.
func goodSA(change func(*ipsec.SA)) ipsec.SA {
	any4 := []ipsec.TrafficSelector{ipsec.AnySelector(false)}
	sa := ipsec.SA{
		ID:         ipsec.SAID{SPI: 0x1000, Dst: netip.MustParseAddr("192.0.2.1"), Proto: ipsec.ESP},
		Direction:  ipsec.Inbound,
		Algorithms: ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: 256, Integrity: ipsec.AuthHMACSHA2_256_128},
		Encryption: ipsec.NewKey(make([]byte, 32)),
		Integrity:  ipsec.NewKey(make([]byte, 32)),
		Local:      netip.MustParseAddr("192.0.2.1"),
		Remote:     netip.MustParseAddr("192.0.2.2"),
		Selectors:  ipsec.Selectors{Local: any4, Remote: any4},
	}
	change(&sa)
	return sa
}

func TestCheckSAExplainsWhatIsWrong(t *testing.T) {
	if err := offload.CheckSA(goodSA(func(*ipsec.SA) {})); err != nil {
		t.Errorf("A good SA should pass, got %v.", err)
	}
	if err := offload.CheckSA(goodSA(func(sa *ipsec.SA) { sa.Remote = netip.MustParseAddr("198.51.100.7") })); err != nil {
		t.Errorf("An SA whose peer moved keeps its name and should pass, got %v.", err)
	}
	if err := offload.CheckSA(goodSA(func(sa *ipsec.SA) { sa.Link, sa.Selectors = &ipsec.Link{Member: 1}, ipsec.Selectors{} })); err != nil {
		t.Errorf("An SA of a link should pass, got %v.", err)
	}
	for _, c := range []struct {
		says   string
		want   error
		change func(*ipsec.SA)
	}{
		{"spi", offload.ErrInvalid, func(sa *ipsec.SA) { sa.ID.SPI = 0 }},
		{"destination", offload.ErrInvalid, func(sa *ipsec.SA) { sa.ID.Dst = netip.Addr{} }},
		{"want esp", offload.ErrUnsupported, func(sa *ipsec.SA) { sa.ID.Proto = ipsec.AH }},
		{"direction", offload.ErrInvalid, func(sa *ipsec.SA) { sa.Direction = 3 }},
		{"mode", offload.ErrInvalid, func(sa *ipsec.SA) { sa.Mode = 2 }},
		{"group", offload.ErrInvalid, func(sa *ipsec.SA) { sa.Group = 16 }},
		{"sender", offload.ErrInvalid, func(sa *ipsec.SA) { sa.Sender = 16 }},
		{"df policy", offload.ErrInvalid, func(sa *ipsec.SA) { sa.Header.DF = 3 }},
		{"dscp", offload.ErrInvalid, func(sa *ipsec.SA) { sa.Header.DSCP = 64 }},
		{"local address", offload.ErrInvalid, func(sa *ipsec.SA) { sa.Local = netip.IPv4Unspecified() }},
		{"remote address", offload.ErrInvalid, func(sa *ipsec.SA) { sa.Remote = netip.MustParseAddr("224.0.0.1") }},
		{"mix families", offload.ErrInvalid, func(sa *ipsec.SA) { sa.Remote = netip.MustParseAddr("2001:db8::1") }},
		{"ports 0 and 4500", offload.ErrInvalid, func(sa *ipsec.SA) { sa.Encap = &ipsec.Encap{RemotePort: 4500} }},
		{"unknown encryption", offload.ErrUnsupported, func(sa *ipsec.SA) { sa.Algorithms.Encryption = 99 }},
		{"unknown integrity", offload.ErrUnsupported, func(sa *ipsec.SA) { sa.Algorithms.Integrity = 99 }},
		{"without an integrity", offload.ErrInvalid, func(sa *ipsec.SA) { sa.Algorithms.Integrity = ipsec.AuthNone }},
		{"beside it", offload.ErrInvalid, func(sa *ipsec.SA) { sa.Algorithms.Encryption = ipsec.EncrAESGCM16 }},
		{"encryption key of 0 octets", offload.ErrInvalid, func(sa *ipsec.SA) { sa.Encryption = ipsec.Key{} }},
		{"integrity key of 33 octets", offload.ErrInvalid, func(sa *ipsec.SA) { sa.Integrity = ipsec.NewKey(make([]byte, 33)) }},
		{"no traffic selectors", offload.ErrInvalid, func(sa *ipsec.SA) { sa.Selectors.Local = nil }},
		{"to itself", offload.ErrInvalid, func(sa *ipsec.SA) { sa.Link, sa.Selectors = &ipsec.Link{}, ipsec.Selectors{} }},
		{"link to member 16", offload.ErrInvalid, func(sa *ipsec.SA) { sa.Link = &ipsec.Link{Member: 16} }},
		{"transport mode", offload.ErrInvalid, func(sa *ipsec.SA) { sa.Link, sa.Mode = &ipsec.Link{Member: 1}, ipsec.Transport }},
		{"link with traffic selectors", offload.ErrInvalid, func(sa *ipsec.SA) { sa.Link = &ipsec.Link{Member: 1} }},
		{"without addresses", offload.ErrInvalid, func(sa *ipsec.SA) { sa.Selectors.Local = make([]ipsec.TrafficSelector, 1) }},
	} {
		err := offload.CheckSA(goodSA(c.change))
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("The error should be %q and say %q, got %v.", c.want, c.says, err)
		}
	}
}

func TestCheckConfigNamesTheField(t *testing.T) {
	if err := offload.CheckConfig(offload.Config{Member: 15, Addresses: []netip.Addr{netip.MustParseAddr("2001:db8::1")}}); err != nil {
		t.Errorf("A good configuration should pass, got %v.", err)
	}
	for says, c := range map[string]offload.Config{
		"member 16":    {Member: 16},
		"addresses[0]": {Addresses: []netip.Addr{netip.IPv6Unspecified()}},
	} {
		if err := offload.CheckConfig(c); !errors.Is(err, offload.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("The error should be invalid and say %q, got %v.", says, err)
		}
	}
}

func TestCheckGroupAndRole(t *testing.T) {
	for g, want := range map[offload.Group]error{0: nil, 15: nil, 16: offload.ErrInvalid, offload.AllGroups: offload.ErrInvalid} {
		if err := offload.CheckGroup(g); !errors.Is(err, want) {
			t.Errorf("Group %d should be %v, got %v.", g, want, err)
		}
	}
	for r, want := range map[offload.Role]error{0: offload.ErrInvalid, offload.Active: nil, offload.Standby: nil, 3: offload.ErrInvalid} {
		if err := offload.CheckRole(r); !errors.Is(err, want) {
			t.Errorf("Role %d should be %v, got %v.", r, want, err)
		}
	}
}

func TestCheckChangeKnowsWhatMaySuitALink(t *testing.T) {
	group, badGroup := offload.Group(1), offload.MaxGroups
	role, badRole := offload.Standby, offload.Role(0)
	at := func(local, remote string) *offload.Endpoint {
		return &offload.Endpoint{Local: netip.MustParseAddr(local), Remote: netip.MustParseAddr(remote)}
	}
	for _, c := range []struct {
		what       string
		change     offload.Change
		link, okay bool
	}{
		{"nothing", offload.Change{}, true, true},
		{"a group", offload.Change{Group: &group}, false, true},
		{"a group that is none", offload.Change{Group: &badGroup}, false, false},
		{"a group of a link", offload.Change{Group: &group}, true, false},
		{"a role", offload.Change{Role: &role}, false, true},
		{"a role that is none", offload.Change{Role: &badRole}, false, false},
		{"a role of a link", offload.Change{Role: &role}, true, false},
		{"an endpoint of a link", offload.Change{Endpoint: at("192.0.2.1", "192.0.2.2")}, true, true},
		{"an endpoint of two families", offload.Change{Endpoint: at("192.0.2.1", "2001:db8::2")}, false, false},
	} {
		if err := offload.CheckChange(c.change, c.link); (err == nil) != c.okay || err != nil && !errors.Is(err, offload.ErrInvalid) {
			t.Errorf("A change of %s should pass: %v, got %v.", c.what, c.okay, err)
		}
	}
}

func TestCheckStatsNamesTheBadOne(t *testing.T) {
	if err := offload.CheckStats([]offload.Stat{{Name: "no-sa"}, {Name: "ipv6-short"}, {Name: "ike"}}); err != nil {
		t.Errorf("Good names should pass, got %v.", err)
	}
	for _, name := range []string{"", "No-SA", "no sa", "-sa", "sa-", "no--sa", "sä", strings.Repeat("a", offload.MaxStatName+1)} {
		if err := offload.CheckStats([]offload.Stat{{Name: "ike"}, {Name: name}}); !errors.Is(err, offload.ErrInvalid) || !strings.Contains(err.Error(), "stats[1]") {
			t.Errorf("The name %q should be refused by its place, got %v.", name, err)
		}
	}
	if err := offload.CheckStats([]offload.Stat{{Name: "ike"}, {Name: "ike"}}); !errors.Is(err, offload.ErrInvalid) {
		t.Errorf("A name that comes twice should be refused, got %v.", err)
	}
	if err := offload.CheckStats(make([]offload.Stat, offload.MaxStats+1)); !errors.Is(err, offload.ErrInvalid) {
		t.Errorf("More than %d should be refused, got %v.", offload.MaxStats, err)
	}
}

func TestSupportsComparesWholeSets(t *testing.T) {
	gcm := ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128}
	info := offload.Info{Transforms: []offload.Capability{{Algorithms: gcm}}}
	esn := gcm
	esn.ESN = true
	if !info.Supports(gcm) || info.Supports(esn) {
		t.Error("A plane that lists AES-GCM without ESN supports that, and not ESN.")
	}
}
