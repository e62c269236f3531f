package ike

import (
	"net/netip"
	"testing"
	"time"
)

// TestLabels: metrics need a label for every reason, and no two the same.
func TestLabels(t *testing.T) { // B7
	seen := make(map[string]bool)
	for _, d := range Drops() {
		if s := d.String(); s == "other" || seen[s] {
			t.Errorf("drop reason %d has the label %q, want one of its own", d, s)
		} else {
			seen[s] = true
		}
	}
	seen = make(map[string]bool)
	for _, f := range Failures() {
		if s := f.String(); seen[s] || s == "other" && f != FailOther {
			t.Errorf("failure reason %d has the label %q, want one of its own", f, s)
		} else {
			seen[s] = true
		}
	}
	for k := taskInit; k <= taskProbe; k++ {
		if k.String() == "none" {
			t.Errorf("exchange %d has no name", k)
		}
	}
}

// TestSourcesAreBounded: a flood from forged addresses does not make the table of
// rates grow.
func TestSourcesAreBounded(t *testing.T) {
	s := sources{limit: 100, rate: 1, burst: 2}
	now := time.Unix(0, 0)
	a := netip.MustParseAddr("2001:db8::1")
	for range 10000 {
		a = a.Next()
		if !s.take(now, a) {
			t.Fatalf("%v is refused its first request", a)
		}
		if n := len(s.young) + len(s.old); n > 101 {
			t.Fatalf("the rates of %d addresses are kept, want about 100", n)
		}
	}
	if !s.take(now, a) || s.take(now, a) {
		t.Error("an address may do two requests at once, not more or less")
	}
	if !s.take(now.Add(time.Second), a) {
		t.Error("a second later it may do another")
	}
}
