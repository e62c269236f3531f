package ike_test

import (
	"bytes"
	"testing"

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
