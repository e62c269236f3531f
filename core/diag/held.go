package diag

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// Held is how many SAs a dataplane holds of one group and role, by its own word.
// Those of links between members are not among them.
type Held struct {
	// Group is the member whose tunnels they are of.
	Group int    `json:"group"`
	Role  string `json:"role"`
	// In and Out are counts by direction.
	In  int `json:"in"`
	Out int `json:"out"`
}

// FromInventory counts what a dataplane exports. The first error ends it.
func FromInventory(all iter.Seq2[offload.Counters, error]) ([]Held, error) {
	type kind struct {
		group offload.Group
		role  offload.Role
	}
	counts := make(map[kind]*Held)
	for c, err := range all {
		if err != nil {
			return nil, err
		}
		if c.Link != nil {
			continue
		}
		k := kind{c.Group, c.Role}
		h := counts[k]
		if h == nil {
			h = &Held{Group: int(c.Group), Role: c.Role.String()}
			counts[k] = h
		}
		if c.Direction == ipsec.Inbound {
			h.In++
		} else {
			h.Out++
		}
	}
	out := make([]Held, 0, len(counts))
	for _, h := range counts {
		out = append(out, *h)
	}
	slices.SortFunc(out, func(a, b Held) int { return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Role, b.Role)) })
	return out, nil
}

// WriteHeld prints one line for each group and role.
func WriteHeld(w io.Writer, held []Held) error {
	b := bufio.NewWriter(w)
	for _, h := range held {
		fmt.Fprintf(b, "group=%d role=%s in=%d out=%d\n", h.Group, h.Role, h.In, h.Out)
	}
	return b.Flush()
}
