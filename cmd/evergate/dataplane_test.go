package main

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/evergate/evergate/core/admin"
	"github.com/evergate/evergate/core/diag"
)

// plane is a gateway that is asked for its dataplane's counters only.
type plane struct{ admin.Gateway }

func (plane) DataplaneStats(context.Context) (diag.Stats, error) {
	return diag.Stats{{Name: "no-sa", Value: 4}, {Name: "unknown-spi"}}, nil
}

func TestDataplaneStatsAreShown(t *testing.T) { // B7
	socket := serve(t, plane{})
	text, err := evergate(t, "--socket", socket, "diagnose", "dataplane", "stats")
	if err != nil || text != "no-sa: 4\nunknown-spi: 0\n" {
		t.Errorf("The command printed %q (%v), it should have one counter a line.", text, err)
	}
	text, err = evergate(t, "--socket", socket, "diagnose", "dataplane", "stats", "--json")
	var got diag.Stats
	if err := errors.Join(err, json.Unmarshal([]byte(text), &got)); err != nil || len(got) != 2 || got[0].Value != 4 {
		t.Errorf("With --json the command printed %q (%v), it should be the counters.", text, err)
	}
}
