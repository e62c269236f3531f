package main

import (
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
)

// pinged are 60 requests 10 ms apart of which some have no reply.
func pinged(begin time.Time, lost ...int) netlab.PingAccount {
	a := netlab.PingAccount{Lost: lost}
	missing := make(map[int]bool)
	for _, n := range lost {
		missing[n] = true
	}
	for n := 1; n <= 60; n++ {
		at := begin.Add(time.Duration(n) * 10 * time.Millisecond)
		if !missing[n] {
			a.Replies = append(a.Replies, netlab.Reply{Sequence: n, Sent: at, At: at.Add(time.Millisecond)})
		}
	}
	return a
}

func TestStripHasACharacterForEachPing(t *testing.T) {
	begin := time.Unix(1_000_000, 0)
	got := strip(pinged(begin, 31, 32), begin.Add(305*time.Millisecond))
	if want := strings.Repeat("·", 20) + "|xx" + strings.Repeat("·", 28); got != want {
		t.Errorf("the strip is\n%s, want\n%s", got, want)
	}
}

func TestMeterKnowsWhatHadArrived(t *testing.T) {
	var m meter
	begin := time.Now()
	for range 3 {
		if n, err := m.Write(make([]byte, 1000)); n != 1000 || err != nil {
			t.Fatalf("the meter took %d octets: %v", n, err)
		}
	}
	if n := m.at(begin); n != 0 {
		t.Errorf("%d octets had arrived before the first came", n)
	}
	if n := m.at(time.Now().Add(time.Second)); n != 3000 {
		t.Errorf("%d octets had arrived in the end, want 3000", n)
	}
}

func TestOnlyDifferingLinesAreShownAgain(t *testing.T) {
	first := "name=a role=sync-primary\n  SA: seqno=1\n  dec: spi=1\n"
	got := differing(first, "name=a role=standby\n  SA: seqno=10000001\n  dec: spi=1\n")
	if want := "name=a role=standby\n  SA: seqno=10000001\n... and 1 lines that are the same\n"; got != want {
		t.Errorf("the second list is shown as\n%s, want\n%s", got, want)
	}
}

func TestRunsAreChosenByName(t *testing.T) {
	if all, err := choose(nil); err != nil || len(all) != len(acts) {
		t.Errorf("no name chooses %d runs: %v", len(all), err)
	}
	if some, err := choose([]string{"BGP", "fgsp"}); err != nil || len(some) != 2 || some[0].name != "bgp" {
		t.Errorf("two names choose %v: %v", some, err)
	}
	if _, err := choose([]string{"opera"}); err == nil {
		t.Error("a run that is not there was chosen")
	}
}
