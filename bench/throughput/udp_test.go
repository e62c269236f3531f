package throughput

import (
	"testing"
	"time"
)

func TestPacerKeepsItsRateHoweverLateItIs(t *testing.T) {
	p := pacer{rate: 50_000}
	sent := 0
	for at := time.Duration(0); at <= time.Second; at += 1100 * time.Microsecond {
		sent += p.due(at)
	}
	if sent < 49_900 || sent > 50_000 {
		t.Errorf("Asked every 1.1 ms it has %d datagrams sent in a second, want 50,000 but for the last pause.", sent)
	}
	if n := p.due(time.Minute); n > 500 {
		t.Errorf("After a pause of a minute %d datagrams are due at once, want those of 10 ms: 500.", n)
	}
	if n := p.due(time.Minute + time.Millisecond); n != 50 {
		t.Errorf("A millisecond later %d are due, want 50.", n)
	}
}
