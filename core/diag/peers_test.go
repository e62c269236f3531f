package diag

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// wantText compares with a file in testdata, which has what FortiOS's
// documentation shows.
func wantText(t *testing.T, file, text string) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatalf("FortiOS's text cannot be read: %v.", err)
	}
	got, want := strings.Split(text, "\n"), strings.Split(string(b), "\n")
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("Line %d differs from FortiOS's:\n got %q\nwant %q", i+1, line(got, i), line(want, i))
		}
	}
}

// seedPeers is the group of FortiOS's documentation as its member 1 sees it.
func seedPeers() StandalonePeers {
	s := StandalonePeers{Group: 1, Member: 1}
	for id, mac := range map[int][2]int{1: {0x220000, 0x6b}, 2: {0x064e00, 0xd6}, 3: {0x70b900, 0x6c}, 4: {0x5cd300, 0x23}} {
		for i := range 10 {
			n := mac[0] | (mac[1]+10*i)&0xff
			s.Links[id] = append(s.Links[id], Link{
				Name: fmt.Sprintf("port%d", i+1), MAC: fmt.Sprintf("00:0c:29:%02x:%02x:%02x", n>>16, n>>8&0xff, n&0xff), Up: true,
			})
		}
	}
	for i, id := range []ipsec.MemberID{2, 3, 4} {
		addr := netip.MustParseAddrPort(fmt.Sprintf("172.31.1.%d:708", i+2))
		s.Peers = append(s.Peers, StandalonePeer{Address: addr, Member: &id, Detected: true, Synced: true, Complete: true})
	}
	return s
}

func TestStandalonePeersAreTheOnesThatOperatorsKnow(t *testing.T) { // F16-F18
	var b strings.Builder
	if err := WriteStandalonePeers(&b, seedPeers()); err != nil {
		t.Fatal(err)
	}
	wantText(t, "standalone-peers.txt", b.String())
}

func TestWhatIsWrongWithAMemberIsShown(t *testing.T) { // F16-F18, B7
	s := seedPeers()
	s.Peers[1].Detected, s.Peers[1].Member = false, nil
	s.Peers[0].Sessions, s.Peers[0].Packets = Exchanged{12, 3}, Exchanged{4, 5}
	s.Peers[0].Trouble = []string{"phase 1 vpn1 differs"}
	s.Links[2][3].Up = false
	var b strings.Builder
	if err := WriteStandalonePeers(&b, s); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Detected-peers=2\nKernel standalone-peers: num=3.\n",
		"standalone_id=2\n        session-type: send=12, recv=3\n         packet-type: send=4, recv=5\n        trouble: phase 1 vpn1 differs\npeer1:",
		"peerip:port = 172.31.1.3:708, standalone_id=unknown\n",
		"phyindex=3: mac=00:0c:29:06:4e:f4, linkfail=0\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("The list lacks %q:\n%s", want, b.String())
		}
	}
}

func TestSlowMemberIsTrouble(t *testing.T) { // B7
	for _, tt := range []struct {
		queue MemberQueue
		want  string
	}{
		{MemberQueue{}, ""},
		{MemberQueue{Records: 3, Octets: 900, Lag: 40 * time.Millisecond, FellOut: 2}, ""},
		{MemberQueue{Lag: time.Minute}, ""}, // it has everything by now
		{
			MemberQueue{Records: 300, Octets: 90000, Lag: 2500 * time.Millisecond, FellOut: 1},
			"300 records (90000 octets) wait for it, which takes 2.5s; it fell out 1 times",
		},
	} {
		if got := tt.queue.Trouble(); got != tt.want {
			t.Errorf("The trouble with %+v is %q, want %q.", tt.queue, got, tt.want)
		}
	}
}

func TestStandalonePeersTravelAsJSON(t *testing.T) { // F16-F18
	sent := seedPeers()
	b, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	var got StandalonePeers
	if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, sent) {
		t.Errorf("What arrives is %+v (%v), it should be %+v.", got, err, sent)
	}
}
