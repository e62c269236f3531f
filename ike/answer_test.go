package ike_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
	"github.com/evergate/evergate/ike/wire"
)

// answer lets B answer A's request in flight as the test wants, and delivers it.
func answer(p *iketest.Pair, x wire.ExchangeType, payloads ...wire.Payload) {
	p.TB.Helper()
	request := p.Hold()
	if len(request) != 1 {
		p.TB.Fatalf("A has %d datagrams in flight, want its request", len(request))
	}
	for _, d := range ike.Answer(p.B.Tunnel, p.Now, request[0].Datagram, x, payloads...) {
		p.Release([]iketest.Flight{{To: p.A, Datagram: ike.Datagram{Local: d.Remote, Remote: d.Local, Payload: d.Payload}}})
	}
	p.Next()
}

func notify(n wire.NotifyType, data ...byte) wire.Payload { return &wire.Notify{Type: n, Data: data} }

// TestChildAnsweredByAnError: an error is about the request only. What is not
// known is an error, too (RFC 7296 section 3.10.1).
func TestChildAnsweredByAnError(t *testing.T) {
	for _, n := range []wire.NotifyType{
		wire.NoProposalChosen, wire.TSUnacceptable, wire.NoAdditionalSAs, wire.SinglePairRequired, wire.InternalAddressFailure,
		wire.FailedCPRequired, wire.InvalidKEPayload, 9999,
	} {
		t.Run(n.String(), func(t *testing.T) {
			var log bytes.Buffer
			p := iketest.Establish(t, logged(&log))
			rekeyChild(p.A)
			answer(p, wire.CreateChildSA, notify(n))
			p.WantUp()
			wantLogged(t, &log, "peer refused the child sa", n.String(), "check=")
		})
	}
}

// TestSinglePair: a responder that takes only one pair of addresses is asked for
// those of the packet.
func TestSinglePair(t *testing.T) { // RFC 7296 section 2.9
	p := iketest.Establish(t)
	packet := ipsec.Selectors{
		Local:  []ipsec.TrafficSelector{selector("10.1.2.3/32")},
		Remote: []ipsec.TrafficSelector{selector("10.9.8.7/32")},
	}
	p.A.Do(ike.Initiate{Child: "net", For: &packet})
	answer(p, wire.CreateChildSA, notify(wire.SinglePairRequired))
	p.Deliver()
	p.WantPairs(2)
	found := false
	for _, sa := range p.B.Installed {
		found = found || sa.Selectors.Remote[0] == packet.Local[0] && len(sa.Selectors.Remote) == 1
	}
	if !found {
		t.Error("no SA has the packet's addresses only")
	}
}

// TestTemporaryFailure is tried again, later each time.
func TestTemporaryFailure(t *testing.T) { // RFC 7296 section 2.25
	p := iketest.Establish(t)
	for _, start := range []func(*iketest.End){rekeyChild, createChild, func(e *iketest.End) { e.Do(ike.RekeyIKE{}) }} {
		start(p.A)
		answer(p, wire.CreateChildSA, notify(wire.TemporaryFailure))
		if n := len(p.InFlight()); n != 0 {
			t.Error("A tries again at once")
		}
		p.Pass(10 * time.Second)
		p.WantUp()
	}
	p.Pass(time.Minute)
	p.WantPairs(2)
	if got := p.A.Stats.TemporaryFailuresIn; got != 3 {
		t.Errorf("A counted %d temporary failures, want 3", got)
	}
	if p.A.Stats.IKERekeys != 1 || p.A.Stats.ChildRekeys != 1 {
		t.Error("A did not try again")
	}
}

func TestPeerLostTheChild(t *testing.T) {
	p := iketest.Establish(t)
	old, _ := p.A.Child()
	rekeyChild(p.A)
	answer(p, wire.CreateChildSA, notify(wire.ChildSANotFound))
	if in, ok := p.A.Installed[old.ID]; ok {
		t.Errorf("A keeps %v, which the peer does not have", in.ID)
	}
	p.Pass(10 * time.Second)
	if p.A.Stats.ChildrenCreated != 2 {
		t.Errorf("A made %d pairs, want a second one from scratch", p.A.Stats.ChildrenCreated)
	}
}

func TestPeerDoesNotUnderstand(t *testing.T) { // RFC 7296 section 2.21.3
	p := iketest.Establish(t)
	rekeyChild(p.A)
	answer(p, wire.CreateChildSA, notify(wire.InvalidSyntax))
	p.A.WantGone()
	var e *ike.PeerError
	if !errors.As(p.A.Why, &e) || e.Notify != wire.InvalidSyntax {
		t.Errorf("A's tunnel ended with %v, want INVALID_SYNTAX", p.A.Why)
	}
}

// TestUnacceptableAnswers: the peer chooses what was not offered. Nothing of it
// is installed, and the peer is told to delete its half.
func TestUnacceptableAnswers(t *testing.T) {
	good := func(p ipsec.Proposal) *wire.SA {
		return &wire.SA{Proposals: []wire.Proposal{wire.NewProposal(1, wire.ProtocolESP, wire.SPIBytes(0x20001000), p)}}
	}
	ours := iketest.Must(ipsec.ParseESPProposal("aes128-sha256"))
	other := iketest.Must(ipsec.ParseESPProposal("3des-sha1"))
	nonce := &wire.Nonce{Data: make([]byte, 32)}
	any4 := wire.TS{Selectors: []ipsec.TrafficSelector{ipsec.AnySelector(false)}}
	any6 := wire.TS{Selectors: []ipsec.TrafficSelector{ipsec.AnySelector(true)}}
	for _, tt := range []struct {
		name    string
		answer  []wire.Payload
		deletes bool
	}{
		{"nothing at all", nil, false},
		{"no nonce", []wire.Payload{good(ours), &wire.TSi{TS: any4}, &wire.TSr{TS: any4}}, false},
		{"no selectors", []wire.Payload{good(ours), nonce}, false},
		{"an algorithm that was not offered", []wire.Payload{good(other), nonce, &wire.TSi{TS: any4}, &wire.TSr{TS: any4}}, true},
		{"selectors that were not offered", []wire.Payload{good(ours), nonce, &wire.TSi{TS: any6}, &wire.TSr{TS: any4}}, true},
		{"transport mode", []wire.Payload{good(ours), nonce, &wire.TSi{TS: any4}, &wire.TSr{TS: any4}, notify(wire.UseTransportMode)}, true},
		{"a reserved SPI", []wire.Payload{
			&wire.SA{Proposals: []wire.Proposal{wire.NewProposal(1, wire.ProtocolESP, wire.SPIBytes(7), ours)}},
			nonce, &wire.TSi{TS: any4}, &wire.TSr{TS: any4},
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := iketest.Establish(t)
			createChild(p.A)
			answer(p, wire.CreateChildSA, tt.answer...)
			if n := len(p.A.Installed); n != 2 {
				t.Errorf("A has %d SAs, want its first pair only", n)
			}
			if deletes := len(p.InFlight()) > 0; deletes != tt.deletes {
				t.Errorf("A tells the peer to delete its half: %t, want %t", deletes, tt.deletes)
			}
			p.Deliver()
			p.WantUp()
		})
	}
}

// TestAuthWithoutPSK: a client that wants EAP, or signs, is told no, and the
// operator why.
func TestAuthWithoutPSK(t *testing.T) {
	for _, tt := range []struct {
		says string
		auth []wire.Payload
	}{
		{"method=EAP", nil},
		{"method=\"RSA digital signature\"", []wire.Payload{&wire.Auth{Method: wire.AuthRSASignature, Data: make([]byte, 256)}}},
	} {
		var log bytes.Buffer
		p := iketest.New(t, logged(&log))
		p.A.Initiate()
		p.Next()
		p.Next()
		p.DropAll() // A's own IKE_AUTH
		id := &wire.IDi{ID: wire.ID{Type: uint8(ike.IDFQDN), Data: []byte("a.example")}}
		for _, d := range ike.SayInstead(p.A.Tunnel, p.Now, wire.IKEAuth, append([]wire.Payload{id}, tt.auth...)...) {
			p.Release([]iketest.Flight{{To: p.B, Datagram: ike.Datagram{Local: d.Remote, Remote: d.Local, Payload: d.Payload}}})
		}
		p.Next()
		p.B.WantFailure(ike.FailPSK)
		wantLogged(t, &log, "peer authenticates in another way", tt.says, "pre-shared key")
	}
}

// TestUnknownNotifications do not matter (RFC 7296 section 3.10.1).
func TestUnknownNotifications(t *testing.T) {
	p := iketest.Establish(t)
	for _, d := range ike.Say(p.A.Tunnel, p.Now, wire.Informational, notify(40000, 1, 2), notify(wire.SetWindowSize, 0, 0, 0, 9), notify(wire.InvalidSPI)) {
		p.Release([]iketest.Flight{{To: p.B, Datagram: ike.Datagram{Local: d.Remote, Remote: d.Local, Payload: d.Payload}}})
	}
	p.Deliver()
	p.WantPairs(1)
}

// TestConfigurationRequest: we assign no addresses, and say nothing about it.
func TestConfigurationRequest(t *testing.T) {
	p := iketest.Establish(t)
	for _, d := range ike.Say(p.A.Tunnel, p.Now, wire.Informational, &wire.CP{Type: wire.CFGRequest, Attributes: []wire.ConfigAttribute{{Type: 1}}}) {
		p.Release([]iketest.Flight{{To: p.B, Datagram: ike.Datagram{Local: d.Remote, Remote: d.Local, Payload: d.Payload}}})
	}
	p.Deliver()
	p.WantPairs(1)
}
