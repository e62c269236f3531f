package main

import (
	"strings"
	"testing"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/engine"
)

// TestStatsOfAFailoverAreExplained: an operator who sees these counters finds what they
// count where he has them from.
func TestStatsOfAFailoverAreExplained(t *testing.T) { // C19
	help, err := evergate(t, "diagnose", "vpn", "ike", "stats", "--help")
	if err != nil {
		t.Fatal(err)
	}
	explained := 0
	for _, c := range diag.FromStats(engine.Stats{}) {
		if !strings.HasPrefix(c.Name, "ha.") {
			continue
		}
		explained++
		if !strings.Contains(help, "\n  "+c.Name+" ") {
			t.Errorf("The help does not say what %s counts:\n%s", c.Name, help)
		}
	}
	if explained != 6 {
		t.Errorf("There are %d counters of what a failover makes peers agree on, want 6.", explained)
	}
}
