package main

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/evergate/evergate/core/diag"
)

// plane is a gateway that is asked for its dataplane's counters only.
type plane struct{ working }

func (plane) DataplaneStats(context.Context) (diag.Stats, error) {
	return diag.Stats{{Name: "no-sa", Value: 4}, {Name: "unknown-spi"}}, nil
}

func (plane) DataplaneSAs(context.Context) ([]diag.Held, error) {
	return []diag.Held{{Group: 1, Role: "active", In: 2, Out: 2}, {Group: 2, Role: "standby", In: 5, Out: 4}}, nil
}

func TestDataplaneSAsAreCounted(t *testing.T) { // B7
	socket := serve(t, plane{})
	text, err := evergate(t, "--socket", socket, "diagnose", "dataplane", "sas")
	if err != nil || text != "group=1 role=active in=2 out=2\ngroup=2 role=standby in=5 out=4\n" {
		t.Errorf("The command printed %q (%v), it should have one group and role a line.", text, err)
	}
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
