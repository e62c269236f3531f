package heap

import (
	"context"
	"runtime/debug"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mib = 1 << 20

// play has work look at a heap for a while, and returns how often room shrank, which
// takes a collection each time.
func (w *work) play(l *look, rate uint64, looks int) (shrank int) {
	for range looks {
		l.allocated += rate
		before := w.percent
		if w.note(*l); w.percent < before {
			shrank++
		}
	}
	return shrank
}

// TestRoomFollowsTheWork plays a gateway's day: it fills up, rests, and has a busy
// hour again. What it has left behind when it was busy is collected, once each time.
func TestRoomFollowsTheWork(t *testing.T) {
	const live = 200 * mib
	day := []struct {
		what   string
		rate   uint64 // octets a look
		looks  int
		want   int
		shrank int
	}{
		{"clients dial in", 10 * mib, 100, MostPercent, 0},
		{"nothing but a checkpoint now and then", mib / 10, 300, LeastPercent, 1},
		{"traffic and rekeying", 3 * mib, 300, 45, 0},
		{"one busy moment", 300 * mib, 1, MostPercent, 0},
		{"and the next", 0, 1, MostPercent, 0},
		{"nothing at all", 0, 300, LeastPercent, 1},
	}
	l := look{allocated: mib, live: live}
	w := newWork(l)
	for _, hour := range day {
		shrank := w.play(&l, hour.rate, hour.looks)
		if least, most := hour.want*2/3, hour.want*3/2; w.percent < least || w.percent > most {
			t.Errorf("%s: the heap may grow by %d %%, want about %d %%.", hour.what, w.percent, hour.want)
		}
		if shrank != hour.shrank {
			t.Errorf("%s: room shrank %d times, want %d.", hour.what, shrank, hour.shrank)
		}
	}
}

// TestRoomIsThereBeforeItIsNeeded: another member joins one that rests. What that
// allocates does not fill the room that there is before there is more.
func TestRoomIsThereBeforeItIsNeeded(t *testing.T) {
	const live, rate = 180 * mib, 8 * mib // 20,000 tunnels in a second
	w, l := newWork(look{allocated: mib}), look{allocated: mib, live: live}
	w.play(&l, 0, 300)
	if w.percent != LeastPercent {
		t.Fatalf("At rest the heap may grow by %d %%, want %d %%.", w.percent, LeastPercent)
	}
	for begun := l.allocated; l.allocated-begun < 80*mib; {
		if room := uint64(w.percent) * live / 100; l.allocated+rate-begun > room {
			t.Fatalf("After %d MiB the heap has room for %d MiB only.", (l.allocated-begun)/mib, room/mib)
		}
		if w.play(&l, rate, 1) > 0 {
			t.Fatalf("After %d MiB room shrank in the midst of the work.", (l.allocated-begun)/mib)
		}
	}
}

// TestAProcessBeginsWithRoom: what it holds is not known before the first collection,
// and it is about to need more.
func TestAProcessBeginsWithRoom(t *testing.T) {
	w := newWork(look{})
	for _, at := range []string{"at once", "and later"} {
		if room := w.percent * leastHeap / 100; room < AnyRoom {
			t.Errorf("%s: a process has room for %d MiB, want %d MiB.", at, room/mib, AnyRoom/mib)
		}
		w.note(look{allocated: 10 * mib, live: 2 * mib})
	}
}

// TestASmallHeapHasRoom: a process that begins to work is not held up by its size.
func TestASmallHeapHasRoom(t *testing.T) {
	for live, want := range map[uint64]int{
		4 * mib: 100 * AnyRoom / leastHeap, 8 * mib: SmallPercent, SmallHeap - 1: SmallPercent, SmallHeap: MostPercent, 128 * mib: MostPercent,
	} {
		if got := percent(1<<40, AnyRoom, live); got != want {
			t.Errorf("A heap of %d MiB that works hard may grow by %d %%, want %d %%.", live/mib, got, want)
		}
	}
	if got := percent(0, AnyRoom, 4*mib); got != LeastPercent {
		t.Errorf("A small heap at rest may grow by %d %%, want %d %%.", got, LeastPercent)
	}
}

// TestAHeapThatFillsUpHasMoreRoom: while the tunnels of others arrive in a member that
// joins, what is allocated stays, and collections would find little. While clients dial in
// most of it is garbage, and later on all is there.
func TestAHeapThatFillsUpHasMoreRoom(t *testing.T) {
	for _, work := range []struct {
		what          string
		rest          int // looks before
		stay, percent uint64
	}{
		{"a member joins", 0, 4 * mib, 100 * FullRoom / (16 * mib)},
		{"clients dial in", 0, mib, SmallPercent},
		{"tunnels come to a member that is there", 300, 4 * mib, SmallPercent},
	} {
		l := look{allocated: 10 * mib, live: 8 * mib}
		w := newWork(l)
		w.play(&l, 0, work.rest)
		for range 2 {
			l.allocated += 8 * mib
			l.live += work.stay
			w.note(l)
		}
		if least, most := work.percent*3/4, work.percent*4/3; uint64(w.percent) < least || uint64(w.percent) > most {
			t.Errorf("While %s the heap may grow by %d %%, want about %d %%.", work.what, w.percent, work.percent)
		}
	}
}

// TestRoomIsBoundedWhileAHeapFillsUp: the share that is FullRoom of an empty heap would be
// many times that of what is there after the first collection.
func TestRoomIsBoundedWhileAHeapFillsUp(t *testing.T) {
	l := look{allocated: mib, live: mib}
	w := newWork(l)
	for range 4 {
		l.allocated += 8 * mib
		l.live += 6 * mib
		w.note(l)
		if room := uint64(w.percent) * l.live / 100; l.live >= leastHeap && room > FullRoom*3/2 {
			t.Errorf("A heap that has filled up to %d MiB has room for %d MiB, want %d MiB.", l.live/mib, room/mib, FullRoom/mib)
		}
		if w.rests() {
			t.Error("What fills up is collected as if work were over.")
		}
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

// TestTheRuntimeIsAsked: all figures are there, so the names are the runtime's.
func TestTheRuntimeIsAsked(t *testing.T) {
	debug.FreeOSMemory() // collects
	if l := read(); l.allocated == 0 || l.live == 0 {
		t.Errorf("The heap stands as %+v: the runtime was not understood.", l)
	}
}
