package diag

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/ipsec"
)

// MemberLink is the link to another member: the SAs by which packets for clients
// go to the member that owns the client's tunnel, when the network hands them to
// one that does not.
type MemberLink struct {
	Member ipsec.MemberID `json:"member"`
	// State is down, offered (the other member has not agreed yet), receiving (it
	// does not receive yet) or up.
	State  string        `json:"state"`
	Uptime time.Duration `json:"uptime_ns"`
	// Sent and Received are packets since the gateway started.
	Sent     uint64 `json:"sent"`
	Received uint64 `json:"received"`
	// Drops of packets that came over the link, by reason; reasons without drops are
	// left out.
	Drops map[string]uint64 `json:"drops,omitempty"`
	// Trouble says why it is not up, empty when it is.
	Trouble string `json:"trouble,omitempty"`
}

// FromLink describes a link as of now.
func FromLink(l engine.LinkStatus, now time.Time) MemberLink {
	out := MemberLink{Member: l.Member, State: l.State, Sent: l.Sent, Received: l.Received, Drops: drops(l.Drops)}
	if !l.Since.IsZero() {
		out.Uptime = now.Sub(l.Since)
	}
	if l.Err != nil {
		out.Trouble = strings.TrimPrefix(l.Err.Error(), "engine: ")
	}
	return out
}

func (l MemberLink) write(w io.Writer) {
	fmt.Fprintf(w, "link to member %d: %s", l.Member, l.State)
	if l.Uptime > 0 {
		fmt.Fprintf(w, " for %v", l.Uptime.Round(time.Second))
	}
	fmt.Fprintf(w, ", %d packets sent, %d received", l.Sent, l.Received)
	if l.Trouble != "" {
		fmt.Fprintf(w, "; %s", l.Trouble)
	}
	fmt.Fprintln(w)
}
