package diag

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// HAStatus is a unit as one of its members sees it.
type HAStatus struct {
	// Mode is a-p, or standalone for a gateway in no unit, which has nothing else.
	Mode      string         `json:"mode"`
	Group     uint8          `json:"group_id"`
	GroupName string         `json:"group_name"`
	Member    ipsec.MemberID `json:"member"` // this one
	// Primary is nil while there is none.
	Primary  *ipsec.MemberID `json:"primary"`
	Override bool            `json:"override"`
	// Failover: the operator made this member step back.
	Failover bool `json:"failover"`
	// Unsettled: what came of the last takeover here is not on all members yet. If this
	// one fails now, its tunnels go on, but get new keys.
	Unsettled bool `json:"unsettled"`
	// Health says why packets should come here, or why not.
	Health string `json:"health"`
	// Elections is how often this member became primary, Promotions how often it took
	// over the tunnels of another one at once, since it started.
	Elections  uint64     `json:"elections"`
	Promotions uint64     `json:"promotions"`
	Members    []HAMember `json:"members"`
	// Heartbeats are the links to the other members.
	Heartbeats []HALink      `json:"heartbeats"`
	Monitored  []HAMonitored `json:"monitored"`
	// Addresses are the unit's; Held: they are here.
	Addresses []HAAddress `json:"addresses"`
	Held      bool        `json:"held"`
	Moves     uint64      `json:"moves"` // of the addresses to us
	Announced uint64      `json:"announced"`
	// Trouble is what the kernel refused of them, empty when nothing.
	Trouble string `json:"trouble,omitempty"`
}

// HAMember is a member of the unit.
type HAMember struct {
	Member ipsec.MemberID `json:"member"`
	Serial string         `json:"serial"`
	// Role is primary, subordinate or dead.
	Role     string `json:"role"`
	Priority uint8  `json:"priority"`
	Override bool   `json:"override"`
	// Age is for how long it has been fit to be primary.
	Age time.Duration `json:"age_ns"`
	// Failed is how many of its monitored interfaces have failed.
	Failed  int  `json:"failed"`
	Yielded bool `json:"yielded"` // its operator made it step back
	// Synced: it holds all that is ours, and we all that is its.
	Synced bool `json:"synced"`
}

// HALink is a heartbeat link to a member.
type HALink struct {
	Member    ipsec.MemberID `json:"member"`
	Interface string         `json:"interface"`
	Local     netip.Addr     `json:"local"`
	Address   netip.Addr     `json:"address"`
	// Up: the member was heard lately. Silent is for how long it has not been, 0 for
	// one that was never heard.
	Up     bool          `json:"up"`
	Silent time.Duration `json:"silent_ns"`
	// Received counts heartbeats that came, Unsent those that could not leave.
	Received uint64 `json:"received"`
	Unsent   uint64 `json:"unsent"`
	// Sync: the tunnels' state goes over it.
	Sync bool `json:"sync"`
}

// HAMonitored is an interface that must work.
type HAMonitored struct {
	Interface string `json:"interface"`
	Up        bool   `json:"up"`
}

// HAAddress is one of the unit's addresses.
type HAAddress struct {
	Interface string       `json:"interface"`
	Prefix    netip.Prefix `json:"prefix"`
}

// Role is that of this member.
func (s HAStatus) Role() string {
	for _, m := range s.Members {
		if m.Member == s.Member {
			return m.Role
		}
	}
	return ""
}

// WriteHAStatus prints a unit in the words of FortiOS's `get system ha status`.
func WriteHAStatus(w io.Writer, s HAStatus) error {
	b := bufio.NewWriter(w)
	if s.Mode == "standalone" {
		fmt.Fprintln(b, "Mode: standalone")
		return b.Flush()
	}
	fmt.Fprintf(b, "HA Health Status: %s\n", s.verdict())
	fmt.Fprintf(b, "Mode: HA A-P\nGroup Name: %s\nGroup ID: %d\n", s.GroupName, s.Group)
	fmt.Fprintf(b, "override: %s\nfailover: %s\n", enabled(s.Override), set(s.Failover))
	fmt.Fprintf(b, "HBDEV stats:\n")
	for _, l := range s.Heartbeats {
		fmt.Fprintf(b, "    member %d, %s: %v -> %v, %s, rx-packets=%d, tx-dropped=%d%s\n",
			l.Member, l.Interface, l.Local, l.Address, upDown(l.Up), l.Received, l.Unsent, clause(l.Sync, ", sync"))
	}
	fmt.Fprintf(b, "MONDEV stats:\n")
	for _, m := range s.Monitored {
		fmt.Fprintf(b, "    %s: %s\n", m.Interface, upDown(m.Up))
	}
	fmt.Fprintf(b, "Addresses, %s:\n", here(s.Held))
	for _, a := range s.Addresses {
		fmt.Fprintf(b, "    %s: %v\n", a.Interface, a.Prefix)
	}
	if s.Trouble != "" {
		fmt.Fprintf(b, "    trouble: %s\n", s.Trouble)
	}
	for _, m := range s.Members {
		m.write(b, s.Member)
	}
	return b.Flush()
}

func (m HAMember) write(w io.Writer, self ipsec.MemberID) {
	role := map[string]string{"primary": "Primary", "subordinate": "Secondary"}[m.Role]
	if role == "" {
		role = "Dead"
	}
	fmt.Fprintf(w, "%-10s: member %d, %s, priority %d, fit for %v, %d interfaces failed%s%s%s\n",
		role, m.Member, m.Serial, m.Priority, m.Age.Round(time.Second), m.Failed,
		clause(m.Yielded, ", stepped back"), clause(m.Synced, ", in-sync"), clause(m.Member == self, ", this one"))
}

// verdict is OK where a failover would go well.
func (s HAStatus) verdict() string {
	ready := 0
	for _, m := range s.Members {
		if m.Role != "dead" && m.Synced && m.Failed == 0 {
			ready++
		}
	}
	switch {
	case s.Primary == nil:
		return "ERROR, there is no primary"
	case s.Trouble != "":
		return "WARNING, addresses were not moved"
	case ready < 2:
		return "WARNING, no other member could take over without a loss"
	case s.Unsettled:
		return "WARNING, the last takeover is not known to all members yet"
	}
	for _, l := range s.Heartbeats {
		if !l.Up {
			return fmt.Sprintf("WARNING, heartbeats of member %d do not come over %s", l.Member, l.Interface)
		}
	}
	return "OK"
}

// WriteHADiagnosis prints what an expert wants to know beside WriteHAStatus.
func WriteHADiagnosis(w io.Writer, s HAStatus) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "HA information\nMode=%s Group=%d\n", s.Mode, s.Group)
	if s.Mode == "standalone" {
		return b.Flush()
	}
	fmt.Fprintf(b, "Statistics\n        activity.elections = %d\n        activity.promotions = %d\n", s.Elections, s.Promotions)
	fmt.Fprintf(b, "        addresses.moves = %d\n        addresses.announced = %d\n", s.Moves, s.Announced)
	fmt.Fprintf(b, "state=%s, health=%s, is_manage_primary=%d\n", s.Role(), s.Health, bit(s.Role() == "primary"))
	fmt.Fprintln(b, "HA group member information:")
	for _, m := range s.Members {
		m.write(b, s.Member)
	}
	fmt.Fprintln(b, "Heartbeat links:")
	for _, l := range s.Heartbeats {
		fmt.Fprintf(b, "        member=%d dev=%s state=%s silent_ms=%d recv=%d unsent=%d sync=%d\n",
			l.Member, l.Interface, upDown(l.Up), l.Silent.Milliseconds(), l.Received, l.Unsent, bit(l.Sync))
	}
	return b.Flush()
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

func enabled(on bool) string {
	if on {
		return "enable"
	}
	return "disable"
}

func set(on bool) string {
	if on {
		return "set"
	}
	return "unset"
}

func here(held bool) string {
	if held {
		return "held here"
	}
	return "held by the primary"
}

func clause(on bool, words string) string {
	if on {
		return words
	}
	return ""
}
