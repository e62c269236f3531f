package diag

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// status is a dialup instance with one pair of SAs, as the engine describes it.
func status() engine.TunnelStatus {
	local, remote := netip.MustParseAddr("192.168.202.31"), netip.MustParseAddr("192.168.1.2")
	in := ipsec.SA{
		ID: ipsec.SAID{SPI: 0xa575b631, Dst: local, Proto: ipsec.ESP}, Direction: ipsec.Inbound, Pair: 0x10aa45b0,
		Algorithms: ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA1_96},
		Encryption: ipsec.CopyKey(make([]byte, 16)), Integrity: ipsec.CopyKey(make([]byte, 20)),
		Local: local, Remote: remote,
		Selectors: ipsec.Selectors{
			Local:  []ipsec.TrafficSelector{ipsec.AnySelector(false)},
			Remote: []ipsec.TrafficSelector{ipsec.SelectorOf(netip.MustParsePrefix("10.10.1.0/24"))},
		},
		Lifetime: ipsec.Lifetime{Soft: ipsec.Limits{Time: 10788 * time.Second}, Hard: ipsec.Limits{Time: 10800 * time.Second}},
	}
	out := in
	out.ID, out.Direction, out.Pair = ipsec.SAID{SPI: 0x10aa45b0, Dst: remote, Proto: ipsec.ESP}, ipsec.Outbound, in.ID.SPI
	out.PathMTU, out.Sequence = 1500, ipsec.Sequence{Next: 1, Ceiling: ipsec.LeaseSize}
	return engine.TunnelStatus{
		Name: "vpn1_1", Phase1: "vpn1", Dialup: true, Index: 1, Serial: 0xa4, Number: 15, Version: 2, AddRoute: true,
		DPD: ike.DPD{Mode: ike.DPDOnIdle, Interval: time.Minute, Retries: 3},
		IKE: ike.Status{
			State: ike.StateUp, Local: netip.AddrPortFrom(local, 500), Remote: netip.AddrPortFrom(remote, 500), Fragmentation: true,
			DPD: ike.DPDStatus{Mode: ike.DPDOnIdle, Sequence: 20},
			Children: []ike.ChildStatus{{
				Name: "vpn1", In: in.ID, Out: out.ID, Age: 320 * time.Second, Soft: 10468 * time.Second, Lifetime: in.Lifetime,
			}},
		},
		Activity: ike.Activity{In: now.Add(-6 * time.Second), Out: now.Add(-6 * time.Second)},
		Children: []engine.ChildStatus{{
			Name: "vpn1",
			In: engine.SAStatus{
				SA: in, Packets: 7, Bytes: 700,
				Counters:  offload.Counters{Sequence: ipsec.Sequence{Highest: 7}, Drops: offload.Drops{Replayed: 2}},
				Placement: offload.Placement{WhyNot: offload.NoSuchNPU},
			},
			Out: engine.SAStatus{
				SA: out, Packets: 5, Bytes: 500,
				Counters:  offload.Counters{Sequence: ipsec.Sequence{Next: 6}},
				Placement: offload.Placement{WhyNot: offload.NoSuchNPU, SelectorIDs: []offload.SelectorID{0xb2}},
			},
		}},
	}
}

func TestTunnelListIsMadeOfWhatTheEngineKnows(t *testing.T) { // F20
	var b strings.Builder
	tun := FromTunnel(status(), now, offload.Info{}, false)
	if err := WriteTunnels(&b, "vpn1_1", []Tunnel{tun}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"name=vpn1_1 ver=2 serial=a4 192.168.202.31:0->192.168.1.2:0 tun_id=192.168.1.2 tun_id6=::10.0.0.15 dst_mtu=1500",
		"encap=none/8832 options[2280]=rgwy-chg frag-rfc  run_state=0 role=primary accept_traffic=1",
		"parent=vpn1 index=1", "ilast=6 olast=6",
		"stat: rxp=7 txp=5 rxb=700 txb=500",
		"dpd: mode=on-idle on=1 idle=60000ms retry=3 count=0 seqno=20",
		"natt: mode=none draft=0 interval=0 remote_port=0",
		"  src: 0:0.0.0.0-255.255.255.255:0\n  dst: 0:10.10.1.0-10.10.1.255:0\n",
		"options=682 type=00 soft=0 mtu=1438 expire=10468/0B replaywin=2048",
		"seqno=6 esn=0 replaywin_lastseq=00000007",
		"life: type=01 bytes=1200/0 timeout=10788/10800",
		"dec: spi=a575b631 esp=aes key=16 [hidden]\n       ah=sha1 key=20 [hidden]",
		"npu_flag=00 npu_rgwy=192.168.1.2 npu_lgwy=192.168.202.31 npu_selid=b2 dec_npuid=0 enc_npuid=0",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the list lacks %q:\n%s", want, b.String())
		}
	}
	if got := tun.Proxies[0].SAs[0].Drops; len(got) != 1 || got["replayed"] != 2 {
		t.Errorf("drops are %v, want two replayed packets and no other reason", got)
	}
}

func TestNewestPairIsListedFirst(t *testing.T) {
	s := status()
	for generation, spi := range []ipsec.SPI{0x30, 0x10, 0x20} {
		c := s.Children[0]
		c.In.SA.ID.SPI, c.In.SA.Generation = spi, uint64(2+generation)
		s.Children = append(s.Children, c)
	}
	proxies := FromTunnel(s, now, offload.Info{}, false).Proxies
	if len(proxies) != 1 {
		t.Fatalf("one phase 2 has %d entries in the list", len(proxies))
	}
	var got []string
	for _, sa := range proxies[0].SAs {
		got = append(got, sa.Dec.SPI)
	}
	if want := []string{"00000020", "00000010", "00000030", "a575b631"}; !slices.Equal(got, want) {
		t.Errorf("the list has the pairs %v, want %v", got, want)
	}
}

// seedKey is a key of FortiOS's example.
func seedKey(t *testing.T, digits string) ipsec.Key {
	t.Helper()
	b, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	return ipsec.NewKey(b)
}

// standby is the tunnel of FortiOS's example as a member that does not own it
// holds it, with everything that only its owner shows still in there.
func standby(t *testing.T) engine.TunnelStatus {
	t.Helper()
	s := status()
	s.Standby, s.Synced, s.Serial = true, true, 0xa3
	s.IKE.DPD.Unanswered, s.IKE.NATRemote = 2, true
	s.IKE.Children[0].Soft = 10466 * time.Second
	c := &s.Children[0]
	c.In.Packets, c.In.Bytes, c.In.Counters = 0, 0, offload.Counters{}
	c.Out.Packets, c.Out.Bytes, c.Out.Counters = 0, 0, offload.Counters{}
	c.Out.SA.PathMTU = 0
	c.Out.SA.Sequence = ipsec.Sequence{Next: ipsec.LeaseSize + 1, Ceiling: 2 * ipsec.LeaseSize}
	c.Out.Placement.SelectorIDs = []offload.SelectorID{0xab}
	c.In.SA.Encryption, c.In.SA.Integrity = seedKey(t, "5de449f75c7d70258f4972506dd164e2"), seedKey(t, "7e65d641be6bc52655619ff542c67c61713de523")
	c.Out.SA.Encryption, c.Out.SA.Integrity = seedKey(t, "65ad3b4849386deb4f3028079a657257"), seedKey(t, "b5f1e1c6786f69482b5d271347a69a0cbb83ed58")
	return s
}

func TestStandbyIsMadeOfWhatTheEngineKnows(t *testing.T) { // F19, F21
	tun := FromTunnel(standby(t), now, offload.Info{NPUs: make([]offload.NPU, 1)}, true)
	if tun.IdleIn >= 0 || tun.IdleOut >= 0 {
		t.Errorf("The last packets passed %v and %v ago, on a standby none ever did.", tun.IdleIn, tun.IdleOut)
	}
	// What is the example's own: when its clock began, and how its interfaces and
	// phase 2 entries are numbered.
	tun.IdleIn, tun.IdleOut = 43063501*time.Second, 43063501*time.Second
	tun.BoundIf, tun.Proxies[0].Serial = 6, 3
	var b strings.Builder
	if err := WriteTunnels(&b, "vpn1_1", []Tunnel{tun}); err != nil {
		t.Fatal(err)
	}
	wantText(t, "tunnel-standby.txt", b.String())
}

func TestStandbyThatKnowsThePathShowsIt(t *testing.T) { // B3, F21
	s := standby(t)
	s.Children[0].Out.SA.PathMTU = 1400
	s.Children[0].Out.Counters.Sequence.Next = 2*ipsec.LeaseSize + 1
	tun := FromTunnel(s, now, offload.Info{}, false)
	if sa := tun.Proxies[0].SAs[0]; tun.PathMTU != 1400 || sa.MTU != 1342 || sa.Seqno != 0x20000001 {
		t.Errorf("dst_mtu is %d, mtu %d and seqno %x; they should be 1400, 1342 and 20000001.", tun.PathMTU, sa.MTU, sa.Seqno)
	}
}

func TestRoleIsOfATunnel(t *testing.T) { // F3, F11, F20-F22
	alone, synced, held := status(), status(), standby(t)
	synced.Synced = true
	all := []engine.TunnelStatus{alone, synced, held}
	var roles []string
	for _, s := range all {
		roles = append(roles, FromTunnel(s, now, offload.Info{}, false).Role)
	}
	if got := strings.Join(roles, " "); got != "primary sync-primary standby" {
		t.Errorf("The roles are %s, they should be primary for what nobody else holds, then sync-primary and standby.", got)
	}
	p := FromPhase1(&engine.Connection{Connection: &ike.Connection{Name: "vpn1"}}, all)
	if p.Up != 2 || p.Standby != 1 || p.Children != 2 {
		t.Errorf("%d tunnels with %d children are up and %d held; it should be 2 with 2 children, and 1.", p.Up, p.Children, p.Standby)
	}
}

func TestNPUFlagFollowsFromBothDirections(t *testing.T) {
	s := status()
	s.Children[0].In.Placement = offload.Placement{NPU: 2}
	s.Children[0].Out.Placement = offload.Placement{NPU: 1}
	npu := FromTunnel(s, now, offload.Info{}, false).Proxies[0].SAs[0].NPU
	if npu.Flag != 3 || npu.Dec != 2 || npu.Enc != 1 {
		t.Errorf("with both directions in NPUs the flag is %02x, dec_npuid %d, enc_npuid %d; want 03, 2, 1", npu.Flag, npu.Dec, npu.Enc)
	}
}

func TestInnerMTUIsWhatFitsThePath(t *testing.T) { // C15: 1280 as long as the path is unknown
	gcm := ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128}
	cbc := ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA1_96}
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, c := range []struct {
		what string
		sa   ipsec.SA
		want int
	}{
		{"nothing known", ipsec.SA{Algorithms: cbc, Remote: v4}, 1280},
		{"IPv4, CBC", ipsec.SA{Algorithms: cbc, Remote: v4, PathMTU: 1500}, 1438},
		{"IPv4, GCM", ipsec.SA{Algorithms: gcm, Remote: v4, PathMTU: 1500}, 1446},
		{"IPv4, GCM in UDP", ipsec.SA{Algorithms: gcm, Remote: v4, PathMTU: 1500, Encap: &ipsec.Encap{}}, 1438},
		{"IPv6, GCM", ipsec.SA{Algorithms: gcm, Remote: v6, PathMTU: 1500}, 1426},
	} {
		if got := innerMTU(c.sa); got != c.want {
			t.Errorf("%s: the inner MTU is %d, want %d", c.what, got, c.want)
		}
	}
}

func TestCountersAreNamedAfterTheirFields(t *testing.T) { // C19
	var s engine.Stats
	s.IKE.Drops[ike.DropMessageID] = 4
	s.IKE.Started[1] = 3
	s.IKE.RequestsIn.Auth = 2
	s.IKE.SetupTime = 1500 * time.Millisecond
	s.IKE.Sync = ike.SyncStats{Resyncs: 11, Synced: 12, Shifted: 13, Sent: 14, Received: 15, BadLength: 16}
	got := make(map[string]uint64)
	for _, c := range FromStats(s) {
		if _, twice := got[c.Name]; twice {
			t.Errorf("two counters are named %s", c.Name)
		}
		got[c.Name] = c.Value
	}
	for name, want := range map[string]uint64{
		"ike.drops.message_id": 4, "ike.started.responder": 3, "ike.requests_in.auth": 2, "ike.setup_time_ms": 1500, "stray_sas": 0,
		"ha.resync": 11, "ha.vike.sync": 12, "ha.conn.sync": 13, "ha.sync.tx": 14, "ha.sync.rx": 15, "ha.sync.rx.len.bad": 16,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %d (there: %v), want %d", name, v, ok, want)
		}
	}
}
