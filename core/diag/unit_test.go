package diag_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/ipsec"
)

// unit is one that works, seen by member 1, its primary.
func unit() diag.HAStatus {
	primary := ipsec.MemberID(1)
	return diag.HAStatus{
		Mode: "a-p", Group: 7, GroupName: "office", Member: 1, Primary: &primary, Health: "primary", Elections: 2,
		Members: []diag.HAMember{
			{Member: 1, Serial: "EG01", Role: "primary", Priority: 200, Age: 90 * time.Second, Synced: true},
			{Member: 2, Serial: "EG02", Role: "subordinate", Priority: 100, Age: time.Minute, Synced: true},
		},
		Heartbeats: []diag.HALink{
			{Member: 2, Interface: "port4", Local: netip.MustParseAddr("172.31.1.1"), Address: netip.MustParseAddr("172.31.1.2"), Up: true, Received: 40, Sync: true},
			{Member: 2, Interface: "port5", Local: netip.MustParseAddr("172.31.2.1"), Address: netip.MustParseAddr("172.31.2.2"), Up: true, Received: 41},
		},
		Monitored: []diag.HAMonitored{{Interface: "port2", Up: true}},
		Addresses: []diag.HAAddress{{Interface: "port2", Prefix: netip.MustParsePrefix("192.0.2.10/24")}},
		Held:      true,
	}
}

func TestUnitInFortiOSsWords(t *testing.T) {
	var b strings.Builder
	if err := diag.WriteHAStatus(&b, unit()); err != nil {
		t.Fatal(err)
	}
	const want = `HA Health Status: OK
Mode: HA A-P
Group Name: office
Group ID: 7
override: disable
failover: unset
HBDEV stats:
    member 2, port4: 172.31.1.1 -> 172.31.1.2, up, rx-packets=40, tx-dropped=0, sync
    member 2, port5: 172.31.2.1 -> 172.31.2.2, up, rx-packets=41, tx-dropped=0
MONDEV stats:
    port2: up
Addresses, held here:
    port2: 192.0.2.10/24
Primary   : member 1, EG01, priority 200, fit for 1m30s, 0 interfaces failed, in-sync, this one
Secondary : member 2, EG02, priority 100, fit for 1m0s, 0 interfaces failed, in-sync
`
	if b.String() != want {
		t.Errorf("the unit is written as\n%s\nwant\n%s", b.String(), want)
	}
	b.Reset()
	if err := diag.WriteHADiagnosis(&b, unit()); err != nil || !strings.Contains(b.String(), "is_manage_primary=1") || !strings.Contains(b.String(), "member=2 dev=port5 state=up") {
		t.Errorf("the diagnosis is\n%s (%v)", b.String(), err)
	}
}

func TestUnitSaysWhatIsWrong(t *testing.T) { // B7
	for want, change := range map[string]func(*diag.HAStatus){
		"ERROR, there is no primary":                                 func(s *diag.HAStatus) { s.Primary = nil },
		"WARNING, addresses were not moved":                          func(s *diag.HAStatus) { s.Trouble = "port2 is not there" },
		"WARNING, no other member could take over without a loss":    func(s *diag.HAStatus) { s.Members[1].Synced = false },
		"WARNING, the last takeover is not known to all members yet": func(s *diag.HAStatus) { s.Unsettled = true },
		"WARNING, heartbeats of member 2 do not come over port5":     func(s *diag.HAStatus) { s.Heartbeats[1].Up = false },
		"Dead      : member 2":                                       func(s *diag.HAStatus) { s.Members[1].Role = "dead" },
		"trouble: port2 is not there":                                func(s *diag.HAStatus) { s.Trouble = "port2 is not there" },
		"Addresses, held by the primary":                             func(s *diag.HAStatus) { s.Held = false },
		"failover: set":                                              func(s *diag.HAStatus) { s.Failover = true },
		"fit for 1m0s, 2 interfaces failed, stepped back, in-sync\n": func(s *diag.HAStatus) { s.Members[1].Failed, s.Members[1].Yielded = 2, true },
	} {
		s := unit()
		change(&s)
		var b strings.Builder
		if err := diag.WriteHAStatus(&b, s); err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("the unit is written as\n%s, want %q in it (%v)", b.String(), want, err)
		}
	}
}
