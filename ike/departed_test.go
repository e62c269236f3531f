package ike_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
)

// "The responder MUST remember each response until it receives a request whose
// sequence number is larger than or equal to the sequence number in the response
// plus its window size." RFC 7296 section 2.1: the last one, too.
func TestLastAnswerIsRepeated(t *testing.T) {
	p := iketest.Establish(t)
	p.A.Do(ike.Close{Reason: "the test says so"})
	request := copied(p.InFlight()[0])
	p.Next() // B gets the Delete
	p.B.WantGone()
	answer := copied(p.InFlight()[0])
	p.DropAll()

	p.Release([]iketest.Flight{request})
	p.Next()
	if len(p.InFlight()) != 1 || !bytes.Equal(p.InFlight()[0].Datagram.Payload, answer.Datagram.Payload) {
		t.Fatalf("B answers the repeated Delete with %v, want the same octets as before", p.InFlight())
	}
	p.Deliver()
	p.A.WantGone()
}

func copied(f iketest.Flight) iketest.Flight {
	f.Datagram.Payload = bytes.Clone(f.Datagram.Payload)
	return f
}

// What only looks like the last request is not answered with the last answer.
func TestLastAnswerIsForItsRequestOnly(t *testing.T) {
	p := iketest.Establish(t)
	p.A.Do(ike.Close{Reason: "the test says so"})
	request := copied(p.InFlight()[0])
	p.Next()
	p.DropAll()
	request.Datagram.Payload[len(request.Datagram.Payload)-1] ^= 1
	p.Release([]iketest.Flight{request})
	p.Next()
	p.B.WantDropped(ike.DropUnknownSPI)
}

// ended is a pair whose A has deleted the tunnel: what A asked, and what B did.
func ended(t *testing.T) (p *iketest.Pair, request ike.Datagram, r ike.Ready) {
	t.Helper()
	p = iketest.Establish(t)
	p.A.Do(ike.Close{Reason: "the test says so"})
	request = copied(p.InFlight()[0]).Datagram
	b := p.B.Tunnel
	return p, request, p.B.Demux.Step(p.Now, b, ike.Received{Datagram: copied(p.InFlight()[0]).Datagram})
}

// TestLastAnswerTravels: who stood by for a tunnel repeats its last answer octet
// by octet, to its request only, and forgets it in time.
func TestLastAnswerTravels(t *testing.T) { // B2
	p, request, r := ended(t)
	if r.Farewell == nil || len(r.Send) != 1 {
		t.Fatalf("B ends with the farewell %v and %d messages, want one of each", r.Farewell, len(r.Send))
	}
	f, err := ike.ParseFarewell(r.Farewell.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	var elsewhere ike.Departed
	elsewhere.Keep(p.Now, f)
	for range 2 {
		again := elsewhere.Repeat(p.Now.Add(ike.FarewellTime), request)
		if len(again) != 1 || !bytes.Equal(again[0].Payload, r.Send[0].Payload) || again[0].Remote != request.Remote {
			t.Fatalf("the other member answers %v, want B's octets to %v", again, request.Remote)
		}
		again[0].Payload[0] ^= 0xff // is the caller's
	}
	other := ike.Datagram{Payload: bytes.Clone(request.Payload)}
	other.Payload[len(other.Payload)-1] ^= 1
	if again := elsewhere.Repeat(p.Now, other); again != nil {
		t.Errorf("another message gets %v", again)
	}
	if again := elsewhere.Repeat(p.Now.Add(ike.FarewellTime+1), request); again != nil {
		t.Errorf("after its time the answer is repeated: %v", again)
	}
}

func TestFarewellRefusesNonsense(t *testing.T) {
	_, _, r := ended(t)
	good := r.Farewell.Marshal()
	for n := range good {
		if _, err := ike.ParseFarewell(good[:n]); err == nil {
			t.Errorf("the first %d of %d octets make an answer", n, len(good))
		}
	}
}

// TestLastAnswersAreBounded: the oldest make room.
func TestLastAnswersAreBounded(t *testing.T) {
	var d ike.Departed
	now := time.Unix(0, 0)
	request := func(i int) ike.Datagram {
		b := make([]byte, 28)
		copy(b[8:], fmt.Sprintf("%08d", i))
		b[17], b[18], b[19], b[27] = 0x20, 37, 0x08, 28 // version 2.0, INFORMATIONAL, from the initiator
		return ike.Datagram{Payload: b}
	}
	for i := range ike.MaxDeparted + 1 {
		d.Keep(now, ike.FarewellOf(request(i), []ike.Datagram{{Payload: []byte("goodbye")}}))
	}
	if d.Repeat(now, request(0)) != nil || d.Repeat(now, request(1)) == nil || d.Repeat(now, request(ike.MaxDeparted)) == nil {
		t.Errorf("of %d last answers not just the oldest is forgotten", ike.MaxDeparted+1)
	}
}
