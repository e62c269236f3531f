package transport

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"
)

// beatPair are the keys of both ends of a session between members 1 and 2.
func beatPair(t testing.TB) (a, b *beatKeys) {
	t.Helper()
	ab, ba := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	a, err := newBeatKeys(77, 1, 2, ab, ba)
	if err != nil {
		t.Fatal(err)
	}
	b, err = newBeatKeys(77, 2, 1, ba, ab)
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// take is what listenBeats does with a datagram.
func (k *beatKeys) take(b []byte, now time.Time, since time.Duration) (Heartbeat, int64, error) {
	h, err := parseBeatHead(b)
	if err != nil {
		return Heartbeat{}, 0, err
	}
	return k.open(b, h, now, since)
}

func TestHeartbeatsMeasureTheRoundTrip(t *testing.T) {
	a, b := beatPair(t)
	t0 := time.Now()
	ms := time.Millisecond
	// Each end has a clock of its own: A's started 1 s ago, B's 9 s.
	first := a.seal(t0, time.Second, []byte("one"))
	got, _, err := b.take(first, t0.Add(3*ms), 9*time.Second+3*ms)
	if err != nil || string(got.Payload) != "one" || got.Seq != 1 || got.From != 1 || got.RTT != 0 || !got.At.Equal(t0.Add(3*ms)) {
		t.Fatalf("The first heartbeat says %+v, %v.", got, err)
	}
	answer := b.seal(t0.Add(43*ms), 9*time.Second+43*ms, nil) // 40 ms later
	got, _, err = a.take(answer, t0.Add(47*ms), time.Second+47*ms)
	if err != nil || got.RTT != 7*ms {
		t.Errorf("3 ms there and 4 ms back make 7 ms, got %v, %v.", got.RTT, err)
	}
}

func TestHeartbeatsAreTakenOnce(t *testing.T) {
	a, b := beatPair(t)
	now := time.Now()
	var sent [][]byte
	for range 100 {
		sent = append(sent, a.seal(now, time.Second, nil))
	}
	take := func(i int) (int64, error) {
		_, lost, err := b.take(sent[i], now, time.Second)
		return lost, err
	}
	for _, c := range []struct {
		i    int
		lost int64
		err  error
		why  string
	}{
		{0, 0, nil, "the first"},
		{0, 0, errBeatReplay, "the first again"},
		{3, 2, nil, "the fourth passes two over"},
		{2, -1, nil, "the third was only overtaken"},
		{2, 0, errBeatReplay, "the third again"},
		{99, 95, nil, "a long gap"},
		{99 - windowSize, 0, errBeatReplay, "too old to know"},
		{99 - windowSize + 1, -1, nil, "just young enough"},
		{99, 0, errBeatReplay, "the last again"},
	} {
		if lost, err := take(c.i); lost != c.lost || !errors.Is(err, c.err) {
			t.Errorf("%s: heartbeat %d should change the lost ones by %d with error %v, got %d, %v.", c.why, c.i+1, c.lost, c.err, lost, err)
		}
	}
}

func TestForgedHeartbeatsAreDropped(t *testing.T) { // B4
	a, b := beatPair(t)
	now := time.Now()
	good := a.seal(now, time.Second, []byte("alive"))
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 0x10
		if _, _, err := b.take(bad, now, time.Second); err == nil {
			t.Errorf("A heartbeat with octet %d changed was taken.", i)
		}
	}
	for n := range good {
		if _, _, err := b.take(good[:n], now, time.Second); err == nil {
			t.Errorf("The first %d octets of a heartbeat were taken.", n)
		}
	}
	if _, _, err := a.take(good, now, time.Second); err == nil {
		t.Error("A heartbeat that was sent back to its sender was taken.")
	}
	if bytes.Contains(good, []byte("alive")) {
		t.Error("The payload can be read on the wire.")
	}
	// A forgery with a high number must not move the window.
	if _, _, err := b.take(good, now, time.Second); err != nil {
		t.Errorf("After all forgeries the good one should be taken, got %v.", err)
	}
}

func TestRoundTripDoesNotBelieveNonsense(t *testing.T) {
	for _, s := range []beatStamps{{}, {echo: -1}, {echo: 2e9}, {echo: 1, held: -5}, {echo: 5e8, held: 1 << 62}} {
		if r := s.rtt(time.Second); r != 0 {
			t.Errorf("%+v makes no round trip, got %v.", s, r)
		}
	}
}

func FuzzHeartbeat(f *testing.F) {
	a, _ := beatPair(f)
	f.Add(a.seal(time.Now(), time.Second, []byte("alive")), byte(0), uint16(0))
	f.Add(a.seal(time.Now(), time.Second, nil), byte(1), uint16(4))
	f.Add([]byte{}, byte(1), uint16(0))
	f.Fuzz(func(t *testing.T, wire []byte, flip byte, at uint16) {
		_, b := beatPair(t)
		_, _, errBefore := b.take(wire, time.Now(), time.Second)
		if len(wire) == 0 || flip == 0 || errBefore != nil {
			return
		}
		changed := slices.Clone(wire)
		changed[int(at)%len(changed)] ^= flip
		_, fresh := beatPair(t)
		if _, _, err := fresh.take(changed, time.Now(), time.Second); err == nil {
			t.Error("A changed heartbeat was taken.")
		}
	})
}

func BenchmarkHeartbeat(b *testing.B) {
	a, peer := beatPair(b)
	now := time.Now()
	payload := make([]byte, 100)
	for b.Loop() {
		if _, _, err := peer.take(a.seal(now, time.Second, payload), now, time.Second); err != nil {
			b.Fatal(err)
		}
	}
}
