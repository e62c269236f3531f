package diag

import (
	"bufio"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Status describes a gateway.
type Status struct {
	Version string        `json:"version"`
	PID     int           `json:"pid"`
	Uptime  time.Duration `json:"uptime_ns"`
	// Config is the file that was loaded.
	Config    string    `json:"config"`
	Member    int       `json:"member"`
	Dataplane Dataplane `json:"dataplane"`
	Network   Network   `json:"network"`
	// Links lead to the members that this gateway has met.
	Links  []MemberLink `json:"links,omitempty"`
	Phase1 []Phase1     `json:"phase1"`
}

// Dataplane describes the plugin and its process.
type Dataplane struct {
	Plugin  string `json:"plugin"`
	Version string `json:"version"`
	// State is what the supervisor says: up, starting, down.
	State    string        `json:"state"`
	PID      int           `json:"pid"`
	Uptime   time.Duration `json:"uptime_ns"`
	Restarts uint64        `json:"restarts"`
	// LastError is why the last process ended, empty when none has.
	LastError string `json:"last_error,omitempty"`
	NPUs      int    `json:"npus"`
	Interface string `json:"interface,omitempty"`
}

// Phase1 counts the tunnels of a connection.
type Phase1 struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	LocalGW string `json:"local_gw"`
	// Up are the tunnels that this gateway owns, Standby those that it holds for
	// another member.
	Up      int `json:"up"`
	Standby int `json:"standby"`
	// Connecting have no IKE SA yet.
	Connecting int `json:"connecting"`
	// Children are the pairs of SAs of what is up.
	Children int `json:"children"`
}

// WriteStatus prints the status for people.
func WriteStatus(w io.Writer, s Status) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "evergated %s, pid %d, up %v, member %d\n", s.Version, s.PID, s.Uptime.Round(time.Second), s.Member)
	fmt.Fprintf(b, "configuration: %s\n", s.Config)
	d := s.Dataplane
	fmt.Fprintf(b, "dataplane: %s %s, %s", d.Plugin, d.Version, d.State)
	if d.PID != 0 {
		fmt.Fprintf(b, ", pid %d, up %v", d.PID, d.Uptime.Round(time.Second))
	}
	fmt.Fprintf(b, ", %d restarts, %d NPUs", d.Restarts, d.NPUs)
	if d.Interface != "" {
		fmt.Fprintf(b, ", interface %s", d.Interface)
	}
	fmt.Fprintln(b)
	if d.LastError != "" {
		fmt.Fprintf(b, "last dataplane failure: %s\n", d.LastError)
	}
	if err := s.Network.write(b); err != nil {
		return err
	}
	for _, l := range s.Links {
		l.write(b)
	}
	fmt.Fprintln(b)
	t := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "PHASE1\tTYPE\tLOCAL-GW\tUP\tSTANDBY\tCONNECTING\tCHILD SAS")
	for _, p := range s.Phase1 {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%d\t%d\n", p.Name, p.Type, p.LocalGW, p.Up, p.Standby, p.Connecting, p.Children)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return b.Flush()
}
