package diag

import (
	"fmt"
	"io"
	"net/netip"
	"text/tabwriter"
	"time"
)

// Network is what the gateway tells the routers around it.
type Network struct {
	// Fit: they may send to us. Reason says why, or why not.
	Fit    bool   `json:"fit"`
	Reason string `json:"reason"`
	// Draining: the gateway is about to stop, and asks for other ways.
	Draining bool `json:"draining"`
	// Gateways are the addresses that are announced while it is fit.
	Gateways []netip.Addr `json:"gateways"`
	// Owned are the networks of clients whose tunnels are ours, Standby those of
	// other members' clients.
	Owned     int        `json:"owned"`
	Standby   int        `json:"standby"`
	Neighbors []Neighbor `json:"neighbors"`
}

// Neighbor is a router that speaks BGP with us.
type Neighbor struct {
	Address netip.Addr `json:"address"`
	AS      uint32     `json:"as"`
	// State is one of RFC 4271 section 8.2.2, Established when all is well.
	State string `json:"state"`
	// Uptime is of the session, 0 while it is not established.
	Uptime time.Duration `json:"uptime_ns"`
	// Prefixes are those that it has from us.
	Prefixes int `json:"prefixes"`
	// Lost counts sessions that have ended.
	Lost uint64 `json:"lost"`
	// LastError says what went wrong last, also when that is over.
	LastError   string     `json:"last_error,omitempty"`
	LastErrorAt *time.Time `json:"last_error_at,omitempty"`
}

// write prints the lines of a status.
func (n Network) write(w io.Writer) error {
	state := "fit"
	switch {
	case n.Draining:
		state = "draining, " + n.Reason
	case !n.Fit:
		state = "not fit, " + n.Reason
	case n.Reason != "":
		state = "fit, " + n.Reason
	}
	fmt.Fprintf(w, "network: %s\n", state)
	if len(n.Neighbors) == 0 {
		return nil
	}
	fmt.Fprintf(w, "announced while fit: %v, %d networks of own clients, %d of others\n\n", n.Gateways, n.Owned, n.Standby)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "NEIGHBOR\tAS\tSTATE\tUP\tPREFIXES\tLOST\tLAST ERROR")
	for _, p := range n.Neighbors {
		last := "none"
		if p.LastError != "" {
			last = p.LastError
		}
		fmt.Fprintf(t, "%v\t%d\t%s\t%v\t%d\t%d\t%s\n", p.Address, p.AS, p.State, p.Uptime.Round(time.Second), p.Prefixes, p.Lost, last)
	}
	return t.Flush()
}
