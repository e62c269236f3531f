package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/diag"
)

// mate is a gateway that is asked for its unit only.
type mate struct {
	working
	set *bool
}

func (m mate) HAStatus(context.Context) (diag.HAStatus, error) {
	return diag.HAStatus{Mode: "a-p", Group: 3, GroupName: "office", Failover: *m.set}, nil
}

func (m mate) Failover(_ context.Context, on bool) error {
	*m.set = on
	return nil
}

func TestUnitInFortiOSsWords(t *testing.T) {
	set := false
	socket := serve(t, mate{set: &set})
	for _, c := range []struct{ command, begins string }{
		{"get system ha status", "HA Health Status: ERROR, there is no primary\nMode: HA A-P\nGroup Name: office\nGroup ID: 3\n"},
		{"diagnose sys ha status", "HA information\nMode=a-p Group=3\n"},
		{"ha failover", "failover status: unset\n"},
		{"ha failover set", ""},
		{"ha failover", "failover status: set\n"},
		{"ha failover unset", ""},
		{"ha failover", "failover status: unset\n"},
	} {
		text, err := evergate(t, append([]string{"--socket", socket}, strings.Fields(c.command)...)...)
		if err != nil || !strings.HasPrefix(text, c.begins) || c.begins == "" && text != "" {
			t.Errorf("evergate %s printed %q (%v), it should begin with %q.", c.command, text, err, c.begins)
		}
	}
	text, err := evergate(t, "--socket", socket, "--json", "get", "system", "ha", "status")
	var got diag.HAStatus
	if err := errors.Join(err, json.Unmarshal([]byte(text), &got)); err != nil || got.Group != 3 {
		t.Errorf("With --json the command printed %q (%v), it should be the unit.", text, err)
	}
}
