package diag

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// seedTunnel is the tunnel of FortiOS's documentation as its primary shows it.
func seedTunnel() Tunnel {
	half := func(spi, key, hash string) Half {
		return Half{SPI: spi, Cipher: "aes", KeyLen: 16, Key: key, Hash: "sha1", HashLen: 20, HashKey: hash}
	}
	return Tunnel{
		Name: "vpn1_1", Phase1: "vpn1", Version: 2, Serial: 0xa4, Index: 1, Dialup: true, BoundIf: 6,
		Local:     netip.MustParseAddrPort("192.168.202.31:0"),
		Remote:    netip.MustParseAddrPort("192.168.1.2:0"),
		TunnelID:  netip.MustParseAddr("192.168.1.2"),
		TunnelID6: netip.MustParseAddr("::10.0.0.15"),
		Role:      "sync-primary", AcceptTraffic: true, PathMTU: 1500,
		Options: OptNPU | OptRemoteChanged | OptFragmentation | OptDialupInstance,
		IdleIn:  6 * time.Second, IdleOut: 6 * time.Second,
		DPD:  DPD{Mode: "on-idle", Interval: time.Minute, Retries: 3, Seqno: 20},
		NATT: NATT{Mode: "none"},
		Proxies: []Proxy{{
			Name: "vpn1", Serial: 3, AddRoute: true,
			Src: []string{"0:0.0.0.0-255.255.255.255:0"}, Dst: []string{"0:10.10.1.0-10.10.1.255:0"},
			SAs: []SA{{
				Options: SAOptReplay | SAOptIKE | SAOptTunnel | SAOptDialup, MTU: 1438,
				Expire: 10480 * time.Second, Soft: 10788 * time.Second, Hard: 10800 * time.Second,
				ReplayWindow: 2048, Seqno: 1,
				Dec: half("a575b631", "5de449f75c7d70258f4972506dd164e2", "7e65d641be6bc52655619ff542c67c61713de523"),
				Enc: half("10aa45b0", "65ad3b4849386deb4f3028079a657257", "b5f1e1c6786f69482b5d271347a69a0cbb83ed58"),
				NPU: NPU{Selector: 0xb2},
			}},
		}},
	}
}

const seedText = `list ipsec tunnel by names in vd 0
------------------------------------------------------
name=vpn1_1 ver=2 serial=a4 192.168.202.31:0->192.168.1.2:0 tun_id=192.168.1.2 tun_id6=::10.0.0.15 dst_mtu=1500 dpd-link=on weight=1
bound_if=6 lgwy=static/1 tun=intf/0 mode=dial_inst/3 encap=none/8840 options[2288]=npu rgwy-chg frag-rfc  run_state=0 role=sync-primary accept_traffic=1 overlay_id=0

parent=vpn1 index=1
proxyid_num=1 child_num=0 refcnt=6 ilast=6 olast=6 ad=/0
stat: rxp=0 txp=0 rxb=0 txb=0
dpd: mode=on-idle on=1 idle=60000ms retry=3 count=0 seqno=20
natt: mode=none draft=0 interval=0 remote_port=0
fec: egress=0 ingress=0
proxyid=vpn1 proto=0 sa=1 ref=2 serial=3 add-route
  src: 0:0.0.0.0-255.255.255.255:0
  dst: 0:10.10.1.0-10.10.1.255:0
  SA:  ref=3 options=682 type=00 soft=0 mtu=1438 expire=10480/0B replaywin=2048
       seqno=1 esn=0 replaywin_lastseq=00000000 qat=0 rekey=0 hash_search_len=1
  life: type=01 bytes=0/0 timeout=10788/10800
  dec: spi=a575b631 esp=aes key=16 5de449f75c7d70258f4972506dd164e2
       ah=sha1 key=20 7e65d641be6bc52655619ff542c67c61713de523
  enc: spi=10aa45b0 esp=aes key=16 65ad3b4849386deb4f3028079a657257
       ah=sha1 key=20 b5f1e1c6786f69482b5d271347a69a0cbb83ed58
  dec:pkts/bytes=0/0, enc:pkts/bytes=0/0
  npu_flag=00 npu_rgwy=192.168.1.2 npu_lgwy=192.168.202.31 npu_selid=b2 dec_npuid=0 enc_npuid=0
`

func TestTunnelListIsTheOneThatOperatorsKnow(t *testing.T) { // F19, F20
	var b strings.Builder
	if err := WriteTunnels(&b, "vpn1_1", []Tunnel{seedTunnel()}); err != nil {
		t.Fatal(err)
	}
	got, want := strings.Split(b.String(), "\n"), strings.Split(seedText, "\n")
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("line %d differs from FortiOS's:\n got %q\nwant %q", i+1, line(got, i), line(want, i))
		}
	}
}

func TestNeverIsAsLongAsFortiOSCanCount(t *testing.T) { // F21
	tun := seedTunnel()
	tun.IdleIn, tun.IdleOut = -1, -1
	var b strings.Builder
	if err := WriteTunnels(&b, "vpn1_1", []Tunnel{tun}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "ilast=42949672 olast=42949672") {
		t.Errorf("the list lacks the number that FortiOS prints for never:\n%s", b.String())
	}
}

func TestNoTunnelLeavesTheHeaderLine(t *testing.T) { // F10, F22
	var b strings.Builder
	if err := WriteTunnels(&b, "vpn1_1", nil); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != "list ipsec tunnel by names in vd 0\n" {
		t.Errorf("an empty list is %q, want the header line alone", got)
	}
}

func TestKeysAreHiddenUnlessTheyWereAskedFor(t *testing.T) {
	tun := seedTunnel()
	sa := &tun.Proxies[0].SAs[0]
	sa.Dec.Key, sa.Dec.HashKey, sa.Enc.Key, sa.Enc.HashKey = "", "", "", ""
	var b strings.Builder
	if err := WriteTunnels(&b, "", []Tunnel{tun}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "[hidden]"); n != 4 {
		t.Errorf("%d keys are shown as [hidden], want 4:\n%s", n, b.String())
	}
}

func line(s []string, i int) string {
	if i < len(s) {
		return s[i]
	}
	return "(no line)"
}
