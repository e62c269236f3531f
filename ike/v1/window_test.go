package v1_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest/v1test"
	"github.com/evergate/evergate/ike/v1"
	"github.com/evergate/evergate/ike/v1/wire"
)

// modes are the two kinds of phase 1.
func modes() map[string][]v1test.Option {
	return map[string][]v1test.Option{
		"main mode":       {v1test.Twins(v1.Resume)},
		"aggressive mode": {v1test.Twins(v1.Resume), v1test.Aggressive()},
	}
}

func TestEveryMessageLost(t *testing.T) {
	for name, options := range modes() {
		for lost := range 9 {
			t.Run(fmt.Sprintf("%s without message %d", name, lost+1), func(t *testing.T) {
				p := v1test.New(t, options...)
				p.A.Initiate()
				for range lost {
					p.Next()
				}
				p.DropAt(0)
				p.Deliver()
				p.Pass(2 * time.Minute)
				p.WantUp()
				p.WantPairs(1)
			})
		}
	}
}

func TestEveryMessageTwice(t *testing.T) {
	for name, options := range modes() {
		t.Run(name, func(t *testing.T) {
			p := v1test.New(t, options...)
			p.A.Initiate()
			for n := 0; len(p.InFlight()) > 0; n++ {
				if n > 200 {
					t.Fatal("the two ends go on talking")
				}
				if n < 20 {
					p.DuplicateAt(0)
				}
				p.Next()
			}
			p.WantUp()
			p.WantPairs(1)
			if n := p.A.Stats.ChildrenCreated + p.B.Stats.ChildrenCreated; n != 2 {
				t.Errorf("%d pairs were made, want one at each end", n)
			}
		})
	}
}

// TestAnswerIsRepeated: the same octets come again.
func TestAnswerIsRepeated(t *testing.T) { // B2
	p := v1test.Establish(t)
	rekeyChild(p.A)
	request := p.InFlight()[0].Datagram.Payload
	p.DuplicateAt(0)
	p.Next()
	p.Next()
	answers := p.InFlight()
	if len(answers) != 2 || !bytes.Equal(answers[0].Datagram.Payload, answers[1].Datagram.Payload) {
		t.Fatalf("a message that came twice was answered by %d messages, want two that are the same", len(answers))
	}
	p.Deliver()
	p.Pass(2 * time.Minute)
	p.WantPairs(1)

	// Long after it is over, it is known as used.
	before := p.B.Stats.Drops[ike.DropMessageID]
	p.Release([]v1test.Flight{{To: p.B, Datagram: datagramToB(request)}})
	p.Deliver()
	if got := p.B.Stats.Drops[ike.DropMessageID]; got != before+1 {
		t.Errorf("a replayed quick mode was dropped %d times as such, want once", got-before)
	}
	p.WantPairs(1)
}

func datagramToB(payload []byte) ike.Datagram {
	return ike.Datagram{Local: addrPort(v1test.AddrB, 500), Remote: addrPort(v1test.AddrA, 500), Payload: bytes.Clone(payload)}
}

// TestTampering: whatever bit of whatever message is changed on its way, the ends
// agree in the end.
func TestTampering(t *testing.T) {
	for name, options := range modes() {
		for message := range 9 {
			t.Run(fmt.Sprintf("%s, message %d", name, message+1), func(t *testing.T) {
				p := v1test.New(t, options...)
				p.A.Initiate()
				for range message {
					p.Next()
				}
				if len(p.InFlight()) == 0 {
					return
				}
				p.DuplicateAt(0)
				payload := p.InFlight()[0].Datagram.Payload
				payload[len(payload)-3] ^= 0x40
				p.Deliver()
				p.Pass(2 * time.Minute)
				if !p.A.Tunnel.Established() {
					// Phase 1 in the clear can be spoilt by anybody who sees it; then
					// nothing is left of it.
					p.A.WantGone()
					// HASH_I does not cover what follows it in message 5, but the IVs of
					// all that follows come from there.
					if message > 4 {
						t.Errorf("message %d is protected, but a forged one ended the tunnel with: %v", message+1, p.A.Why)
					}
					return
				}
				p.WantUp()
			})
		}
	}
}

// TestForgedInformational: without the keys nobody ends anything.
func TestForgedInformational(t *testing.T) {
	p := v1test.Establish(t)
	s := p.A.Tunnel.Status(p.Now)
	for _, m := range []wire.Message{
		{Payloads: []wire.Payload{&wire.Delete{Protocol: wire.ProtocolISAKMP, SPIs: [][]byte{wire.Cookies(s.SPIi, s.SPIr)}}}},
		{Payloads: []wire.Payload{&wire.Notify{Kind: wire.InvalidCookie}}},
		{Header: wire.Header{Flags: wire.FlagEncryption}, Payloads: []wire.Payload{&wire.VendorID{Data: make([]byte, 44)}}},
	} {
		m.Header.CookieI, m.Header.CookieR, m.Header.Exchange, m.Header.MessageID = s.SPIi, s.SPIr, wire.Informational, 99
		b, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		p.Release([]v1test.Flight{{To: p.B, Datagram: datagramToB(b)}})
	}
	p.Deliver()
	p.WantUp()
	p.WantPairs(1)
	p.B.WantDropped(ike.DropUnprotected)
	p.B.WantDropped(ike.DropIntegrity)
}

func TestUnknownCookies(t *testing.T) {
	p := v1test.Establish(t)
	m := wire.Message{
		Header:   wire.Header{CookieI: 0x7000000000000001, CookieR: 0x3000000000000002, Exchange: wire.QuickMode, MessageID: 1, Flags: wire.FlagEncryption},
		Payloads: []wire.Payload{&wire.VendorID{}},
	}
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	p.Release([]v1test.Flight{{To: p.B, Datagram: datagramToB(b)}})
	p.Deliver()
	if n := len(p.B.Routed); n != 1 {
		t.Fatalf("%d datagrams found no tunnel, want 1", n)
	}
	r := p.B.Routed[0]
	if r.Drop != ike.DropUnknownSPI || r.Cookies != [2]ipsec.IKESPI{0x7000000000000001, 0x3000000000000002} || len(r.Reply) > 0 {
		t.Errorf("the router says %+v, want both cookies for whoever knows one of them", r)
	}
	if m := r.Cookies[1].Member(); m != 3 {
		t.Errorf("the responder's cookie is of member %d, want 3", m)
	}
}

// TestCookiesTellTheMember: as SPIs do.
func TestCookiesTellTheMember(t *testing.T) {
	p := v1test.Establish(t)
	s := p.A.Tunnel.Status(p.Now)
	if s.SPIi.Member() != 1 || s.SPIr.Member() != 2 {
		t.Errorf("the cookies are of members %d and %d, want 1 and 2", s.SPIi.Member(), s.SPIr.Member())
	}
}

// TestFlood: half-open tunnels are limited, by address and in all, and go away.
func TestFlood(t *testing.T) {
	p := v1test.New(t, func(c *v1test.Config) { c.Limits = ike.Limits{HalfOpen: 5, PerSource: 3} })
	p.A.Initiate()
	first := p.Hold()[0]
	flood := func(cookie byte, from byte) {
		d := first.Datagram
		d.Payload = bytes.Clone(d.Payload)
		d.Payload[7] = cookie
		a := d.Remote.Addr().As4()
		a[3] = from
		d.Remote = addrPort(addrFrom4(a), 500)
		p.Release([]v1test.Flight{{To: p.B, Datagram: d}})
		p.Next()
		p.DropAll()
	}
	for i := range byte(6) {
		flood(i, 1)
	}
	p.B.WantDropped(ike.DropSourceLimit)
	for i := range byte(6) {
		flood(i, 10+i)
	}
	p.B.WantDropped(ike.DropHalfOpenLimit)
	if got := p.B.Stats.HalfOpen; got != 5 {
		t.Errorf("%d tunnels are half-open, want 5", got)
	}
	p.PassSilently(time.Minute)
	if got := p.B.Stats.HalfOpen; got != 0 {
		t.Errorf("%d tunnels are half-open after a minute, want none", got)
	}
}

// TestRefusalsAreLimited: what is refused costs an answer, and answers have a
// limit.
func TestRefusalsAreLimited(t *testing.T) {
	p := v1test.New(t, func(c *v1test.Config) {
		c.Limits = ike.Limits{Replies: 3}
		c.B.Proposals = []ipsec.Proposal{v1test.Must(ipsec.ParseIKEProposal("aes256-sha512")).WithGroups(ipsec.GroupMODP2048)}
	})
	p.A.Initiate()
	first := p.Hold()[0]
	for range 10 {
		first.Datagram.Payload = bytes.Clone(first.Datagram.Payload)
		p.Release([]v1test.Flight{first})
		p.Next()
	}
	if n := len(p.InFlight()); n != 3 {
		t.Errorf("ten refusals were answered %d times, want 3", n)
	}
	p.Now = p.Now.Add(time.Second)
	p.DropAll()
	p.Release([]v1test.Flight{first})
	p.Deliver()
	p.A.WantGone()
	p.A.WantFailure(ike.FailNoProposal)
}

func TestFragments(t *testing.T) {
	small := v1test.Both(func(c *ike.Connection) {
		c.FragmentSize = 200
		c.Proposals = []ipsec.Proposal{v1test.Must(ipsec.ParseIKEProposal("aes256-sha512")).WithGroups(ipsec.GroupMODP2048)}
	})
	t.Run("both join them", func(t *testing.T) {
		p := v1test.Establish(t, small, v1test.Twins(v1.Resume))
		p.WantPairs(1)
		if p.A.Stats.FragmentsIn == 0 || p.B.Stats.FragmentsIn == 0 {
			t.Error("no fragments came")
		}
	})
	t.Run("in any order, and lost", func(t *testing.T) {
		p := v1test.New(t, small)
		p.A.Initiate()
		for n := 0; !p.A.Tunnel.Established() && n < 100; n++ {
			for i := len(p.InFlight()) - 1; i >= 0; i = len(p.InFlight()) - 1 {
				if n == 2 {
					p.DropAt(i)
					continue
				}
				p.NextAt(i)
			}
			p.Pass(time.Second)
		}
		p.Pass(time.Minute)
		p.WantUp()
	})
	t.Run("not to a peer that does not know them", func(t *testing.T) {
		p := v1test.Establish(t, small, func(c *v1test.Config) { c.B.NoFragmentation = true })
		if p.A.Stats.FragmentsOut+p.B.Stats.FragmentsOut > 0 {
			t.Error("fragments were sent")
		}
	})
	t.Run("that contradict each other", func(t *testing.T) {
		p := v1test.Establish(t, small)
		s := p.A.Tunnel.Status(p.Now)
		for _, f := range []wire.Fragment{
			{ID: 9, Number: 3, Last: true}, {ID: 9, Number: 4}, {ID: 9, Number: 255}, {ID: 9, Number: 2, Last: true}, {ID: 9, Number: 3, Last: true},
		} {
			m := wire.Message{Header: wire.Header{CookieI: s.SPIi, CookieR: s.SPIr, Exchange: wire.QuickMode}, Payloads: []wire.Payload{&f}}
			b, err := m.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			p.Release([]v1test.Flight{{To: p.B, Datagram: datagramToB(b)}})
		}
		p.Deliver()
		p.B.WantDropped(ike.DropFragment)
		rekeyChild(p.A)
		p.Pass(time.Minute)
		p.WantPairs(1)
	})
}
