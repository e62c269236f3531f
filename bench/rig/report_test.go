package rig

import (
	"testing"
	"time"
)

func TestSpreadIsOfSortedDurations(t *testing.T) {
	var ds []time.Duration
	for i := range 200 {
		ds = append(ds, time.Duration(200-i)*time.Millisecond)
	}
	want := Spread{N: 200, Median: 101 * time.Millisecond, P99: 198 * time.Millisecond, Max: 200 * time.Millisecond}
	if got := SpreadOf(ds); got != want {
		t.Errorf("The spread of 1 to 200 ms is %+v, want %+v.", got, want)
	}
	if got := SpreadOf(nil); got != (Spread{}) {
		t.Errorf("The spread of nothing is %+v.", got)
	}
}

func TestRoundKeepsThreeDigits(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 47: "47ns", 47_749: "47.7µs", 3_565_900: "3.57ms", 12_345_678_901: "12.3s",
	} {
		if got := round(d).String(); got != want {
			t.Errorf("%d ns reads %s, want %s.", d, got, want)
		}
	}
}

func TestClientsHaveAddressesOfTheirOwn(t *testing.T) {
	for _, i := range []int{1, 255, 256, 65535, 65536, MaxClients - 1} {
		if outer(i) == outer(i-1) || inner(i) == inner(i-1) {
			t.Errorf("Clients %d and %d share an address.", i-1, i)
		}
	}
}
