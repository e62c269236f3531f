package play

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/evergate/evergate/ha"
)

func TestEventsHappenInTheirOrder(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := NewClock(begin)
	var told []string
	tell := func(what string) func() {
		return func() { told = append(told, what+" at "+c.Now().Sub(begin).String()) }
	}
	c.After(2*time.Second, tell("the last"))
	c.After(time.Second, func() {
		tell("the first")()
		c.After(-time.Second, tell("what is due already"))
	})
	c.After(time.Second, tell("the second"))
	c.After(time.Hour, tell("too late"))

	c.Run(begin.Add(3*time.Second), func() bool { return false })
	want := []string{"the first at 1s", "the second at 1s", "what is due already at 1s", "the last at 2s"}
	if !slices.Equal(told, want) {
		t.Errorf("The clock told %q, want %q.", told, want)
	}
	if at := c.Now().Sub(begin); at != 3*time.Second || c.Made() != 5 {
		t.Errorf("The clock stands at %v after %d events, want 3s and 5.", at, c.Made())
	}
}

func TestStoppedClockStandsStill(t *testing.T) {
	var c Clock
	stop := false
	c.After(time.Second, func() { stop = true })
	c.After(2*time.Second, func() { t.Error("An event came after the run was stopped.") })
	c.Run(time.Time{}.Add(time.Minute), func() bool { return stop })
	if at := c.Now().Sub(time.Time{}); at != time.Second {
		t.Errorf("The clock stands at %v, want the second at which it was stopped.", at)
	}
}

func TestPartitionReplacesOtherCuts(t *testing.T) {
	all := ha.MembersOf(0, 1, 2, 3)
	var c Cuts
	c.Deafen(0, 1)
	c.Deafen(2, 2)
	if !c.Between(1, 0) || c[1][0] || c[2][2] {
		t.Errorf("One way is cut: %v.", c)
	}
	c.Part(all, ha.MembersOf(0, 1, 7))
	for a := range all.All() {
		for b := range all.All() {
			if want := (a < 2) != (b < 2); c.Between(a, b) != want {
				t.Errorf("Between %d and %d the network is cut: %v, want %v.", a, b, !want, want)
			}
		}
	}
}

// TestEverySeedIsPlayedOnce has one seed fail: a runner that loses it would let every
// simulation pass.
func TestEverySeedIsPlayedOnce(t *testing.T) {
	type sum struct{ Runs, Seeds uint64 }
	failed, got := all(100, func(seed uint64, _ func(string)) (sum, error) {
		if seed == 42 {
			return sum{1, seed}, errors.New("breach")
		}
		return sum{1, seed}, nil
	})
	if want := (sum{100, 5050}); got != want {
		t.Errorf("What was played adds up to %+v, want %+v.", got, want)
	}
	if len(failed) != 1 || failed[0].seed != 42 {
		t.Errorf("The seeds that failed are %v, want 42.", failed)
	}
}
