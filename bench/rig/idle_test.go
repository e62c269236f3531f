package rig

import "testing"

func TestIdleTimeIsThatOfNobody(t *testing.T) {
	at := func(line string) Processors {
		t.Helper()
		p, err := parseProcessors(line)
		if err != nil {
			t.Fatalf("What the kernel says was not understood: %v.", err)
		}
		return p
	}
	before := at("cpu  100 0 100 1000 0 0 0 0 50 0")
	for name, c := range map[string]struct {
		after Processors
		want  float64
	}{
		"waiting for a disk is idle, what the host took is not": {at("cpu  140 0 110 1030 10 0 0 10 90 0"), 0.4},
		"nothing ran at all":   {at("cpu  100 0 100 1100 0 0 0 0 50 0"), 1},
		"no time has passed":   {before, 0},
		"the count went back":  {at("cpu  200 0 100 999 0 0 0 0 50 0"), 0},
		"all of them are full": {at("cpu  200 0 100 1000 0 0 0 0 50 0"), 0},
	} {
		if got := c.after.IdleSince(before); got != c.want {
			t.Errorf("%s: %v of the time is idle, want %v.", name, got, c.want)
		}
	}
	for _, line := range []string{"", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3 4 5 6 7 x"} {
		if _, err := parseProcessors(line); err == nil {
			t.Errorf("%q tells nothing, and should be refused.", line)
		}
	}
	if _, err := LookAtProcessors(); err != nil {
		t.Errorf("This machine's processors were not found: %v.", err)
	}
}
