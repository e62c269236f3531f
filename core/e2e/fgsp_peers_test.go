package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// TestStandalonePeersShowWhatIs has four members as in FortiOS's example. Each shows
// the others, what it has exchanged with them, and the real interfaces of all.
func TestStandalonePeersShowWhatIs(t *testing.T) { // F16, F17, F18, B7
	t.Parallel()
	f := startFGSP(t, 3, 1, func(*gateway.GroupMember) string { return metricsConfig })
	f.site.Lead(f.site.Members[0])
	f.waitLinked(f.members...)
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	f.waitRole(f.members[1], "vpn1_1", "standby")
	f.site.LeadDown(f.site.Members[1]) // the owner gets the server's packets from it
	pingThrough(t, f)
	f.wantPeersShown()
	f.wantCountersAgree()
	netlab.Eventually(t, time.Minute, "member 2, which gave member 1 its client's packets, has counted them, and so has member 1", func() error {
		if sent, received := f.peersOf(2)[1].Packets.Sent, f.peersOf(1)[2].Packets.Received; sent == 0 || received == 0 {
			return fmt.Errorf("they count %d and %d", sent, received) // members ask their dataplanes now and then
		}
		return nil
	})

	f.site.Members[2].Port3.Down() // a cable is pulled
	f.wantPeersShown()
	samples, _ := scrape(t, f.site.Members[0].Host)
	for id := 2; id <= 4; id++ {
		label := fmt.Sprintf(`{member="%d"}`, id)
		if lag, ok := samples["evergate_ha_member_lag_seconds"+label]; !ok || lag <= 0 {
			t.Errorf("the lag of member %d is %v (%t), want one that was measured", id, lag, ok)
		}
		if n, ok := samples["evergate_ha_member_fell_out_total"+label]; !ok || n != 0 {
			t.Errorf("member %d fell out %v times (%t), want 0", id, n, ok)
		}
	}
}

// TestSlowMemberIsSeen: a member lives, and does nothing. The others go on, and tell
// an operator how much waits for it, and for how long.
func TestSlowMemberIsSeen(t *testing.T) { // B7
	t.Parallel()
	f := &fgsp{t: t, site: groupSite(t, 3)}
	for _, m := range f.site.Members {
		config := f.site.Config(m, "    fgsp-sync: enable", metricsConfig)
		config = strings.Replace(config, "hb-lost-threshold", "hb-interval: 1000ms\n  hb-lost-threshold", 1)
		f.members = append(f.members, startGateway(m.Host, config))
	}
	f.waitSynced(f.members...)
	f.site.Lead(f.site.Members[0])
	f.client = strongswan.Start(f.site.Client, strongswan.Settings{RetransmitTimeout: time.Second})
	f.client.Load(office())

	f.members[2].Process().Signal(syscall.SIGSTOP)
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	f.waitRole(f.members[1], "vpn1_1", "standby")
	shown := func(with bool) {
		netlab.Eventually(t, time.Minute, fmt.Sprintf("that records wait for the member is shown: %t", with), func() error {
			text, err := tool(t.Context(), f.members[0], "diagnose", "sys", "ha", "standalone-peers")
			if _, after, _ := strings.Cut(text, "standalone_id=3\n"); err == nil && with != slow.MatchString(after) {
				return fmt.Errorf("it shows\n%s", text)
			}
			return err
		})
	}
	shown(true)
	samples, _ := scrape(t, f.site.Members[0].Host)
	if n := samples[`evergate_ha_member_queue_records{member="3"}`]; n == 0 || samples[`evergate_ha_member_queue_octets{member="3"}`] < n {
		t.Errorf("%v records wait for the member with %v octets, want some", n, samples[`evergate_ha_member_queue_octets{member="3"}`])
	}
	if lag := samples[`evergate_ha_member_lag_seconds{member="3"}`]; lag < 1 {
		t.Errorf("they wait for %v s, want 1 at least", lag)
	}
	if n := samples[`evergate_ha_member_queue_records{member="2"}`]; n != 0 {
		t.Errorf("%v records wait for the member that works, want none", n)
	}
	f.members[2].Process().Signal(syscall.SIGCONT)
	shown(false)
	f.waitRole(f.members[2], "vpn1_1", "standby")
}

// slow is what is shown of a member that is.
var slow = regexp.MustCompile(`^.*\n.*\n        trouble: \d+ records \(\d+ octets\) wait for it, which takes [0-9.]+`)

// counters are what changes all the time in what is shown.
var counters = regexp.MustCompile(`(send|recv)=\d+`)

// wantPeersShown waits until each member shows exactly what there is, but for the
// counters.
func (f *fgsp) wantPeersShown() {
	f.t.Helper()
	var slots strings.Builder
	for id := range ipsec.MaxMembers {
		fmt.Fprintf(&slots, "        standalone_id=%d:\n", id)
		if i := id - 1; i >= 0 && i < len(f.site.Members) {
			slots.WriteString(cards(f.t, f.site.Members[i].Host))
		}
	}
	for i, d := range f.members {
		var want strings.Builder
		fmt.Fprintf(&want, "Group=1, ID=%d\nDetected-peers=3\nKernel standalone-peers: num=3.\n", i+1)
		peer := 0
		for j := range f.members {
			if j == i {
				continue
			}
			fmt.Fprintf(&want, "peer%d: vfid=0, peerip:port = 172.31.1.%d:708, standalone_id=%d\n", peer, j+1, j+1)
			fmt.Fprintf(&want, "        session-type: send=N, recv=N\n         packet-type: send=N, recv=N\n")
			if i < 3 && j == 3 { // has sync disabled, and is told nothing of tunnels
				fmt.Fprintf(&want, "        trouble: 1 phase1 entries with fgsp-sync differ from ours or are missing there\n")
			}
			peer++
		}
		fmt.Fprintf(&want, "Kernel standalone dev_base:\n%s", slots.String())
		netlab.Eventually(f.t, time.Minute, fmt.Sprintf("member %d shows the members as they are", i+1), func() error {
			text, err := tool(f.t.Context(), d, "diagnose", "sys", "ha", "standalone-peers")
			if got := counters.ReplaceAllString(text, "$1=N"); err == nil && got != want.String() {
				return fmt.Errorf("it shows\n%s\nand should show\n%s", text, want.String())
			}
			return err
		})
	}
}

// cards are the Ethernet interfaces of a host, as the kernel's own tool knows them.
func cards(t *testing.T, host *netlab.Namespace) string {
	t.Helper()
	out, err := host.Output(exec.CommandContext(t.Context(), "ip", "-json", "link", "show", "type", "veth"))
	var links []struct {
		Index   int      `json:"ifindex"`
		Address string   `json:"address"`
		Flags   []string `json:"flags"`
	}
	if err = errors.Join(err, json.Unmarshal(out, &links)); err != nil || len(links) != 3 {
		t.Fatalf("list the three interfaces of %s: %v: %s", host.Name(), err, out)
	}
	var b strings.Builder
	for i, l := range links {
		up := 0
		if slices.Contains(l.Flags, "LOWER_UP") {
			up = 1
		}
		fmt.Fprintf(&b, "                phyindex=%d: mac=%s, linkfail=%d\n", i, l.Address, up)
	}
	return b.String()
}

// peersOf is what a member says of the others, by their ids.
func (f *fgsp) peersOf(member int) map[int]diag.StandalonePeer {
	f.t.Helper()
	p, err := f.members[member-1].StandalonePeers()
	if err != nil {
		f.t.Fatal(err)
	}
	byID := make(map[int]diag.StandalonePeer)
	for _, peer := range p.Peers {
		if peer.Member == nil {
			f.t.Fatalf("member %d does not know who is at %v", member, peer.Address)
		}
		byID[int(*peer.Member)] = peer
	}
	return byID
}

// wantCountersAgree waits until what each member has sent to each other one has been
// received there, and is not nothing.
func (f *fgsp) wantCountersAgree() {
	f.t.Helper()
	netlab.Eventually(f.t, time.Minute, "what members send arrives", func() error {
		var all []map[int]diag.StandalonePeer
		for id := range f.members {
			all = append(all, f.peersOf(id+1))
		}
		for i := range all {
			for j := range all {
				if i == j {
					continue
				}
				there, here := all[i][j+1], all[j][i+1]
				if there.Sessions.Sent != here.Sessions.Received || there.Packets.Sent != here.Packets.Received || there.Sessions.Sent == 0 {
					return fmt.Errorf("member %d has sent %+v and %+v to member %d, which has received %+v and %+v",
						i+1, there.Sessions, there.Packets, j+1, here.Sessions, here.Packets)
				}
			}
		}
		return nil
	})
}
