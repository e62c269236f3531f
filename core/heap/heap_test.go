package heap

import (
	"context"
	"runtime/debug"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mib = 1 << 20

// TestRoomFollowsTheWork plays a gateway's day: it fills up, rests, and has a busy
// hour again.
func TestRoomFollowsTheWork(t *testing.T) {
	w := work{percent: MostPercent}
	var allocated uint64
	day := []struct {
		what  string
		rate  uint64 // octets a second
		live  uint64
		looks int
		want  int
	}{
		{"clients dial in", 100 * mib, 100 * mib, 10, MostPercent},
		{"nothing but a checkpoint", 5 * mib, 200 * mib, 60, LeastPercent},
		{"traffic and rekeying", 20 * mib, 200 * mib, 60, 40},
		{"a burst", 80 * mib, 200 * mib, 1, MostPercent},
		{"and the second after it", 0, 200 * mib, 1, MostPercent},
		{"nothing at all", 0, 200 * mib, 60, LeastPercent},
	}
	w.note(allocated, 0)
	for _, hour := range day {
		for range hour.looks {
			allocated += hour.rate
			w.note(allocated, hour.live)
		}
		if least, most := hour.want*3/4, hour.want*5/4; w.percent < least || w.percent > most {
			t.Errorf("%s: the heap may grow by %d %%, want about %d %%.", hour.what, w.percent, hour.want)
		}
	}
}

// TestASmallHeapIsGosOwnBusiness: before the first collection nothing is known.
func TestASmallHeapIsGosOwnBusiness(t *testing.T) {
	if got := percent(mib, 0); got != MostPercent {
		t.Errorf("An empty heap may grow by %d %%, want %d %%.", got, MostPercent)
	}
}

// TestKeepLeavesThingsAsTheyWere: nothing of it outlives its context.
func TestKeepLeavesThingsAsTheyWere(t *testing.T) {
	const before = 73
	old := debug.SetGCPercent(before)
	defer debug.SetGCPercent(old)
	Around(func() {})
	if got := debug.SetGCPercent(before); got != before {
		t.Errorf("The collector is left at %d %%, want %d %% as before.", got, before)
	}
}

// TestTheOperatorsWordCounts: where GOGC is set, it stays.
func TestTheOperatorsWordCounts(t *testing.T) {
	t.Setenv("GOGC", "50")
	const before = 50
	old := debug.SetGCPercent(before)
	defer debug.SetGCPercent(old)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	Keep(ctx)
	if got := debug.SetGCPercent(before); got != before {
		t.Errorf("The collector is at %d %%, want the operator's %d %%.", got, before)
	}
}

// TestTheRuntimeIsAsked: both figures are there, so the names are the runtime's.
func TestTheRuntimeIsAsked(t *testing.T) {
	debug.FreeOSMemory() // collects
	if allocated, live := read(); allocated == 0 || live == 0 {
		t.Errorf("%d octets allocated, %d in use: the runtime was not understood.", allocated, live)
	}
}
