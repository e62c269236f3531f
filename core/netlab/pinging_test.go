package netlab_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
)

func TestPingingTellsWhichRequestsWereLost(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	l.far.Drop("icmp type echo-request", netlab.Nth(5))
	p := l.client.Pinging("203.0.113.1", "10.0.0.2", 10*time.Millisecond)
	p.WaitFor(10, limit)
	p.WaitFor(5, limit)
	a := p.Stop()
	if !slices.Equal(a.Lost, []int{5}) || len(a.Replies) < 15 {
		t.Fatalf("the network lost the fifth request, but %v are missing among %d replies", a.Lost, len(a.Replies))
	}
	for i, r := range a.Replies[1:] {
		if before := a.Replies[i]; r.Sequence <= before.Sequence || r.At.Before(before.At) || r.At.Before(r.Sent) {
			t.Errorf("reply %+v came after %+v", r, before)
		}
	}
}

func TestTransferAtARate(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	var arrived bytes.Buffer
	took, err := netlab.Transfer{
		From: l.client, To: l.server, Dest: "203.0.113.1", Bytes: 1 << 20, Rate: 4 << 20, Arrived: &arrived,
	}.Run(t.Context())
	if err != nil || arrived.Len() != 1<<20 {
		t.Fatalf("%d octets arrived (error %v), want a mebibyte", arrived.Len(), err)
	}
	// The rate is a bound, whatever the machine does.
	if took < 250*time.Millisecond {
		t.Errorf("a mebibyte took %v at 4 MiB/s", took)
	}
}

// TestAnswersGoBackWhereTheyCameFrom has a server with two routers, and its route
// to the client through the one that does not know the client.
func TestAnswersGoBackWhereTheyCameFrom(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	wrong := l.lab.Namespace("wrong")
	other, _ := l.lab.Link(l.server.Port("other", "198.51.100.2/24"), wrong.Port("lan", "198.51.100.1/24"))
	l.server.Route("10.0.0.0/24", "198.51.100.1")
	wantSilence(t, l.client, "203.0.113.1", "the server's route leads elsewhere")
	l.server.AnswerBack(map[*netlab.Interface]string{l.far: "192.0.2.1", other: "198.51.100.1"})
	wantPing(t, l.client, "203.0.113.1")
	if _, err := (netlab.Transfer{From: l.client, To: l.server, Dest: "203.0.113.1", Bytes: 1 << 16}).Run(t.Context()); err != nil {
		t.Errorf("TCP is not answered where it came from: %v", err)
	}
}
