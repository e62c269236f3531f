package diag_test

import (
	"errors"
	"iter"
	"slices"
	"testing"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// exported is what a dataplane exports, and the error that ends it.
func exported(err error, all ...offload.Counters) iter.Seq2[offload.Counters, error] {
	return func(yield func(offload.Counters, error) bool) {
		for _, c := range all {
			if !yield(c, nil) {
				return
			}
		}
		if err != nil {
			yield(offload.Counters{}, err)
		}
	}
}

func sa(g offload.Group, r offload.Role, d ipsec.Direction) offload.Counters {
	return offload.Counters{Placement: offload.Placement{Role: r}, Group: g, Direction: d}
}

// TestHeldSAsAreCountedByGroupAndRole: the directions apart, and no links.
func TestHeldSAsAreCountedByGroupAndRole(t *testing.T) {
	link := sa(0, offload.Active, ipsec.Outbound)
	link.Link = &ipsec.Link{Member: 2}
	held, err := diag.FromInventory(exported(nil,
		sa(2, offload.Standby, ipsec.Inbound), sa(1, offload.Active, ipsec.Inbound), link, sa(2, offload.Standby, ipsec.Outbound),
		sa(1, offload.Standby, ipsec.Inbound), sa(2, offload.Standby, ipsec.Inbound)))
	want := []diag.Held{{1, "active", 1, 0}, {1, "standby", 1, 0}, {2, "standby", 2, 1}}
	if err != nil || !slices.Equal(held, want) {
		t.Errorf("The dataplane holds %+v (%v), want %+v.", held, err, want)
	}
}

// TestAnIncompleteInventoryIsNone: what came before an error is not all.
func TestAnIncompleteInventoryIsNone(t *testing.T) {
	broken := errors.New("the plugin died")
	if held, err := diag.FromInventory(exported(broken, sa(1, offload.Active, ipsec.Inbound))); !errors.Is(err, broken) || held != nil {
		t.Errorf("The dataplane holds %+v (%v), want the error alone.", held, err)
	}
}
