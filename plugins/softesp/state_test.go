package softesp

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/softesp/packet"
)

var gcm = ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128}

// TestSequenceNumbersAreGivenOnce lets several queues take numbers while the lease
// is raised: each is given once, none above the ceiling (invariant I2).
func TestSequenceNumbersAreGivenOnce(t *testing.T) { // B1
	const workers, rounds = 4, 2000
	q := newSequencer(gcm, ipsec.Sequence{Next: 1000, Ceiling: 1100}, 0)
	taken := make([][]uint64, workers)
	var tasks sync.WaitGroup
	var control sync.Mutex // calls to merge do not overlap
	for w := range workers {
		tasks.Go(func() {
			for i := range uint64(rounds) {
				first, got := q.reserve(i%7 + 1)
				for n := range got {
					taken[w] = append(taken[w], first+n)
				}
				if got == 0 {
					control.Lock()
					q.merge(ipsec.Sequence{Ceiling: q.ceiling.Load() + 1})
					control.Unlock()
				}
			}
		})
	}
	tasks.Wait()
	seen := make(map[uint64]bool)
	for _, numbers := range taken {
		for _, n := range numbers {
			if seen[n] || n < 1000 || n > q.ceiling.Load() {
				t.Fatalf("Number %d was given twice, or lies outside of 1000 to %d.", n, q.ceiling.Load())
			}
			seen[n] = true
		}
	}
	if want := int(q.next.Load() - 1000); len(seen) != want {
		t.Errorf("%d numbers should have been given, got %d.", want, len(seen))
	}
}

func TestSequenceStateNeverMovesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.Uint64Range(0, 200)
		q := newSequencer(gcm, ipsec.Sequence{Next: number.Draw(t, "next"), Ceiling: number.Draw(t, "ceiling")}, 0)
		for range 20 {
			next, ceiling := q.next.Load(), q.ceiling.Load()
			if rapid.Bool().Draw(t, "send") {
				first, got := q.reserve(number.Draw(t, "packets") + 1)
				if got > 0 && (first != next || first+got-1 > q.end()) {
					t.Fatalf("With next %d and end %d, %d numbers from %d were given.", next, q.end(), got, first)
				}
			} else {
				q.merge(ipsec.Sequence{Next: number.Draw(t, "next"), Ceiling: number.Draw(t, "ceiling")})
			}
			if q.next.Load() < next || q.ceiling.Load() < ceiling {
				t.Fatalf("Next %d and ceiling %d moved back to %d and %d.", next, ceiling, q.next.Load(), q.ceiling.Load())
			}
		}
	})
}

func TestLeaseIsLowBelowHalf(t *testing.T) {
	q := newSequencer(gcm, ipsec.Sequence{Next: 1, Ceiling: 10}, 0)
	q.reserve(5)
	if q.low() {
		t.Error("With five of ten numbers left the lease is not low.")
	}
	q.reserve(1)
	if !q.low() || q.low() {
		t.Error("With four of ten left it is, and that is told once.")
	}
	q.merge(ipsec.Sequence{Ceiling: 100})
	if q.low() {
		t.Error("A raised ceiling is a new lease.")
	}
	q.reserve(50)
	if !q.low() {
		t.Error("The new lease is low after more than half of it.")
	}
	if u := newSequencer(gcm, ipsec.Sequence{Next: 1 << 31}, 0); u.low() {
		t.Error("An SA without a ceiling has no lease to run low.")
	}
}

// TestSequenceNumbersNeverCycle at the end of 32 and of 64 bits.
func TestSequenceNumbersNeverCycle(t *testing.T) { // C6
	q := newSequencer(gcm, ipsec.Sequence{Next: 1<<32 - 2, Ceiling: 1 << 40}, 0)
	if first, got := q.reserve(10); first != 1<<32-2 || got != 2 {
		t.Errorf("Two numbers should be left of 32 bits, got %d from %d.", got, first)
	}
	if _, got := q.reserve(1); got != 0 {
		t.Error("After 2^32-1 nothing should follow.")
	}
	esn := gcm
	esn.ESN = true
	q = newSequencer(esn, ipsec.Sequence{Next: 1<<64 - 3}, 0)
	if _, got := q.reserve(10); got != 2 {
		t.Errorf("Two numbers should be left of 64 bits but the last, got %d.", got)
	}
	if _, got := q.reserve(1); got != 0 {
		t.Error("At the end of 64 bits nothing should follow.")
	}
}

// TestIVsOfAKeyNeverRepeat: what a key has used is remembered beyond its SA, and
// raises the floor when it is forgotten (invariant I1).
func TestIVsOfAKeyNeverRepeat(t *testing.T) { // B1
	var l ivLedger
	l.record(1, 500)
	if got := l.start(1); got != 500 {
		t.Errorf("A known key should go on at 500, got %d.", got)
	}
	if got := l.start(2); got != 0 {
		t.Errorf("A fresh key should start at 0, got %d.", got)
	}
	for n := range uint64(maxLedger) {
		l.record(1000+n, 1)
	}
	if got := l.start(1); got != 500 {
		t.Errorf("A forgotten key should start no lower than 500, got %d.", got)
	}
	if len(l.counters) > maxLedger {
		t.Errorf("The ledger should keep %d entries at most, has %d.", maxLedger, len(l.counters))
	}
	q := newSequencer(gcm, ipsec.Sequence{}, 1<<40-10)
	if _, ok := q.counters(9); !ok {
		t.Error("There are nine counters left.")
	}
	if _, ok := q.counters(64); ok {
		t.Error("Past 2^40 there are none: they would reach into the boot counter.")
	}
}

func TestEventsThatNobodyReadsAreBounded(t *testing.T) {
	q := newEventQueue()
	for range maxEvents + 5 {
		q.add(offload.Expired{})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for ev, err := range q.stream(ctx, nil) {
		if err != nil {
			t.Fatalf("The stream failed: %v.", err)
		}
		if gap, ok := ev.(offload.Overrun); ok {
			if n != maxEvents || gap.Lost != 5 {
				t.Errorf("After %d events 5 should be lost, got %d after %d.", maxEvents, gap.Lost, n)
			}
			break
		}
		n++
	}
}

// TestEventsSurviveAReaderThatStops: what it took and did not see comes again.
func TestEventsSurviveAReaderThatStops(t *testing.T) {
	q := newEventQueue()
	for n := range uint64(3) {
		q.add(offload.LeaseLow{Next: n})
	}
	var got []uint64
	for range 3 {
		for ev := range q.stream(t.Context(), nil) {
			got = append(got, ev.(offload.LeaseLow).Next)
			break
		}
	}
	if want := "[0 0 0]"; fmt.Sprint(got) != want {
		t.Errorf("A reader that stops at an event should meet it again, want %s, got %v.", want, got)
	}
}

func TestSettings(t *testing.T) {
	got, err := parseSettings(map[string]string{"tun-name": "esp7", "tun-mtu": "9000", "queues": "4", "fwmark": "0x10"})
	if want := (settings{tunName: "esp7", mtu: 9000, queues: 4, mark: 16}); err != nil || got != want {
		t.Errorf("The settings should be %+v, got %+v, %v.", want, got, err)
	}
	if got, err := parseSettings(nil); err != nil || got != (settings{tunName: "evg0", mtu: 1500, queues: 1, mark: offload.OuterMark}) {
		t.Errorf("The defaults should be evg0, 1500 and one queue, got %+v, %v.", got, err)
	}
	_, err = parseSettings(map[string]string{"tun-name": "a/b", "tun-mtu": "68", "queues": "none", "speed": "fast"})
	for _, part := range []string{"tun-name", "tun-mtu", "queues", "speed is unknown"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("The error should name %q, got %v.", part, err)
		}
	}
}

func TestAcquireIsAskedOnceASecond(t *testing.T) {
	var f acquireFilter
	h := packet.Header{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Proto: 17}
	for _, c := range []struct {
		at   time.Duration
		want bool
	}{{time.Second, true}, {time.Second, false}, {1999 * time.Millisecond, false}, {2 * time.Second, true}} {
		if got := f.fresh(&h, c.at); got != c.want {
			t.Errorf("At %v the flow should be fresh: %v, got %v.", c.at, c.want, got)
		}
	}
}

func TestTooBigIsRateLimited(t *testing.T) {
	var w tooBigWriter
	allowed := 0
	for range 1000 {
		if w.allow(time.Hour) {
			allowed++
		}
	}
	if allowed != tooBigBurst {
		t.Errorf("At one moment %d messages should be allowed, got %d.", tooBigBurst, allowed)
	}
	if !w.allow(time.Hour + 10*time.Millisecond) {
		t.Error("A little later there should be a token again.")
	}
}

func TestPathMTUGrowsOldAndComesBack(t *testing.T) {
	m := newPathMTU(1400)
	switch {
	case m.lower(1450, 0):
		t.Error("A higher value is no news: a path grows only with time.")
	case !m.lower(1300, time.Minute) || m.effective() != 1300:
		t.Errorf("A lower one is, got %d.", m.effective())
	case m.age(10 * time.Minute):
		t.Error("Nine minutes are not old.")
	case !m.age(11*time.Minute) || m.effective() != 1400:
		t.Errorf("After ten minutes the value that was told comes back, got %d.", m.effective())
	}
	if fresh := newPathMTU(0); fresh.effective() != assumedMTU || fresh.known() != 0 {
		t.Errorf("An unknown path is assumed to have %d octets, got %d.", assumedMTU, fresh.effective())
	}
}

// TestFirstHopLimitsThePath: the least of the first hop and of what was told or
// learned counts.
func TestFirstHopLimitsThePath(t *testing.T) {
	m := newPathMTU(0)
	switch {
	case m.setHop(assumedMTU) || m.known() != assumedMTU:
		t.Errorf("A hop as large as was assumed changes no packet but is known, got %d.", m.known())
	case !m.setHop(9000) || m.effective() != 9000:
		t.Errorf("A larger hop lets larger packets pass, got %d.", m.effective())
	case !m.lower(1400, 0) || m.effective() != 1400:
		t.Errorf("The path behind the hop counts, got %d.", m.effective())
	case !m.setHop(1300) || m.effective() != 1300:
		t.Errorf("A hop narrower than the path counts, got %d.", m.effective())
	case !m.setHop(0) || m.effective() != 1400:
		t.Errorf("Without a route the path counts, got %d.", m.effective())
	}
	m.setHop(1300)
	if m.moved(); m.known() != 0 {
		t.Errorf("Nothing is known of another path, got %d.", m.known())
	}
}

func TestAllowance(t *testing.T) {
	a := &association{usage: new(usage)}
	limit := func(l ipsec.Limits) { a.lifetime.Store(&ipsec.Lifetime{Hard: l}) }
	limit(ipsec.Limits{})
	if got := a.allowance(7, 100, 0, 0); got != 7 {
		t.Errorf("Without limits all seven pass, got %d.", got)
	}
	limit(ipsec.Limits{Packets: 5})
	if got := a.allowance(7, 100, 2, 0); got != 3 {
		t.Errorf("Two of five packets are used, so three pass, got %d.", got)
	}
	limit(ipsec.Limits{Bytes: 1050})
	if got := a.allowance(20, 100, 0, 0); got != 11 {
		t.Errorf("The packet that reaches the limit of octets passes, so eleven do, got %d.", got)
	}
	if got := a.allowance(1, 0, 0, 1050); got != 0 {
		t.Errorf("At the limit of octets nothing passes, got %d.", got)
	}
}
