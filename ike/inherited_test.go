package ike_test

import (
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
)

// TestInheritedRequestMakesNoPairToSendOn: the last owner may have had the answer
// to its request, made the same pair of it, and sent on it.
func TestInheritedRequestMakesNoPairToSendOn(t *testing.T) { // B1
	p := iketest.Establish(t)
	rekeyChild(p.B)
	s := standby(p, p.B)
	p.Next()
	answer := p.InFlight()[0].Datagram
	s.Step(p.Now, ike.Takeover{})
	r := s.Step(p.Now, ike.Received{Datagram: answer})
	found := false
	for _, sa := range r.Install {
		if sa.Direction != ipsec.Outbound {
			continue
		}
		found = true
		if sa.Sequence.Next <= sa.Sequence.Ceiling {
			t.Errorf("the new owner may send the numbers %d to %d, want none", sa.Sequence.Next, sa.Sequence.Ceiling)
		}
	}
	if !found {
		t.Fatal("the answer makes no pair")
	}
	if s.Status(p.Now).Queued == 0 {
		t.Error("the pair gets no successor")
	}
}
