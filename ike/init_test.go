package ike_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
	"github.com/evergate/evergate/ike/wire"
)

func TestCookie(t *testing.T) { // RFC 7296 section 2.6
	p := iketest.New(t, func(c *iketest.Config) { c.Limits.CookieAt = -1 })
	p.A.Initiate()
	p.Next()
	if p.B.Stats.CookiesSent != 1 || p.B.Stats.HalfOpen != 0 {
		t.Fatalf("B sent %d cookies and has %d half-open IKE SAs, want one and none", p.B.Stats.CookiesSent, p.B.Stats.HalfOpen)
	}
	p.Deliver()
	p.WantUp()
	if p.B.Stats.CookiesAccepted != 1 {
		t.Errorf("B accepted %d cookies, want one", p.B.Stats.CookiesAccepted)
	}
}

// TestCookieCrossesTheAnswer has a request sent twice: one copy is asked for a
// cookie, the other one is answered.
func TestCookieCrossesTheAnswer(t *testing.T) { // RFC 7296 sections 2.6 and 2.15
	for name, cookieFirst := range map[string]bool{"the demand arrives first": true, "the answer arrives first": false} {
		t.Run(name, func(t *testing.T) {
			p := iketest.New(t, func(c *iketest.Config) { c.Limits = ike.Limits{SourceRate: 1, SourceBurst: 1} })
			p.A.Initiate()
			request := p.Hold()[0]
			other := request
			other.Datagram.Payload = bytes.Clone(request.Datagram.Payload)
			other.Datagram.Payload[0] ^= 0x55 // somebody else behind the same address
			answerTo := func(f iketest.Flight) iketest.Flight {
				t.Helper()
				p.Release([]iketest.Flight{f})
				p.Next()
				return p.Hold()[0]
			}
			answerTo(other)
			demand := answerTo(request)
			if p.B.Stats.CookiesSent != 1 {
				t.Fatalf("B sent %d cookies, want one", p.B.Stats.CookiesSent)
			}
			p.Now = p.Now.Add(2 * time.Second)
			answer := answerTo(request)
			if cookieFirst {
				p.Release([]iketest.Flight{demand, answer})
			} else {
				p.Release([]iketest.Flight{answer, demand})
			}
			p.Deliver()
			p.WantUp()
		})
	}
}

func TestCookieOfAnotherAddress(t *testing.T) {
	p := iketest.New(t, func(c *iketest.Config) { c.Limits.CookieAt = -1 })
	p.A.Initiate()
	p.Next()
	p.Next() // A has the cookie, and sends it
	f := p.Hold()[0]
	f.Datagram.Remote = netip.MustParseAddrPort("192.0.2.66:500")
	p.Release([]iketest.Flight{f})
	p.Next()
	if p.B.Stats.CookiesRejected != 1 || p.B.Stats.HalfOpen != 0 {
		t.Errorf("B rejected %d cookies and has %d half-open IKE SAs, want one and none", p.B.Stats.CookiesRejected, p.B.Stats.HalfOpen)
	}
}

func TestCookieSecretRotates(t *testing.T) {
	for _, tt := range []struct {
		age time.Duration
		ok  uint64
	}{{25 * time.Second, 1}, {50 * time.Second, 1}, {2 * time.Minute, 0}} {
		p := iketest.New(t, func(c *iketest.Config) { c.Limits.CookieAt = -1 })
		p.A.Initiate()
		p.Next()
		p.Next()
		held := p.Hold()
		p.Now = p.Now.Add(tt.age)
		p.Release(held)
		p.Next()
		if p.B.Stats.CookiesAccepted != tt.ok {
			t.Errorf("a cookie %v old was accepted %d times, want %d", tt.age, p.B.Stats.CookiesAccepted, tt.ok)
		}
	}
}

func TestInvalidKE(t *testing.T) { // RFC 7296 section 1.2
	both := func(name string, groups ...ipsec.GroupID) []ipsec.Proposal {
		return []ipsec.Proposal{iketest.Must(ipsec.ParseIKEProposal(name)).WithGroups(groups...)}
	}
	t.Run("the initiator offers the group", func(t *testing.T) {
		for _, cookies := range []int{0, -1} {
			p := iketest.Establish(t, func(c *iketest.Config) {
				c.Limits.CookieAt = cookies
				c.A.Proposals = both("aes128-sha256", ipsec.GroupECP256, ipsec.GroupX25519)
				c.B.Proposals = both("aes128-sha256", ipsec.GroupX25519)
			})
			if got := p.A.Tunnel.Status(p.Now).Suite.Group; got != ipsec.GroupX25519 {
				t.Errorf("they agreed on %v, want x25519", got)
			}
			p.B.WantDropped(ike.DropInvalidKE)
		}
	})
	t.Run("somebody asks for a weak group", func(t *testing.T) {
		p := iketest.New(t, func(c *iketest.Config) {
			c.A.Proposals = both("aes128-sha256", ipsec.GroupX25519, ipsec.GroupECP256)
		})
		p.A.Initiate()
		request := p.Hold()[0]
		h, err := wire.ParseHeader(request.Datagram.Payload)
		if err != nil {
			t.Fatal(err)
		}
		m := wire.Message{
			Header: wire.Header{SPIi: h.SPIi, Exchange: wire.IKESAInit, Flags: wire.FlagResponse},
			Payloads: []wire.Payload{&wire.Notify{
				Type: wire.InvalidKEPayload, Data: binary.BigEndian.AppendUint16(nil, uint16(ipsec.GroupMODP768)),
			}},
		}
		forged := iketest.Must(m.Append(nil))
		p.Release([]iketest.Flight{{To: p.A, Datagram: ike.Datagram{Local: request.Datagram.Remote, Remote: request.Datagram.Local, Payload: forged}}})
		p.Next()
		p.A.WantGone()
		p.A.WantFailure(ike.FailKE)
	})
	t.Run("for a child", func(t *testing.T) {
		p := iketest.Establish(t, iketest.PFS(ipsec.GroupX25519), func(c *iketest.Config) {
			c.A.Children[0].Proposals = []ipsec.Proposal{
				iketest.Must(ipsec.ParseESPProposal("aes128-sha256")).WithGroups(ipsec.GroupECP256, ipsec.GroupX25519),
			}
		})
		rekeyChild(p.A)
		p.Pass(time.Minute)
		p.WantPairs(1)
		if got := p.A.Tunnel.Status(p.Now).Children[0].Group; got != ipsec.GroupX25519 {
			t.Errorf("the new pair has perfect forward secrecy by %v, want x25519", got)
		}
	})
	t.Run("for an IKE SA", func(t *testing.T) {
		p := iketest.Establish(t, func(c *iketest.Config) {
			c.A.Proposals = both("aes128-sha256", ipsec.GroupECP256, ipsec.GroupX25519)
			c.B.Proposals = both("aes128-sha256", ipsec.GroupX25519)
		})
		p.A.Do(ike.RekeyIKE{})
		p.Pass(time.Minute)
		p.WantSameIKE()
		if p.A.Stats.IKERekeys != 1 {
			t.Errorf("A has rekeyed %d times, want once", p.A.Stats.IKERekeys)
		}
	})
}

func TestPFS(t *testing.T) {
	p := iketest.Establish(t, iketest.PFS(ipsec.GroupECP256))
	if got := p.A.Tunnel.Status(p.Now).Children[0].Group; got != ipsec.GroupNone {
		t.Errorf("the first pair says %v, want none: the IKE SA's own key exchange serves", got)
	}
	rekeyChild(p.B)
	p.Pass(time.Minute)
	if got := p.A.Tunnel.Status(p.Now).Children[0].Group; got != ipsec.GroupECP256 {
		t.Errorf("the rekeyed pair has %v, want ecp256", got)
	}
	p.WantPairs(1)
}

// TestOptionalPFSIsOfferedOnce: with and without a key exchange of its own is the
// same offer in IKE_AUTH, which has none.
func TestOptionalPFSIsOfferedOnce(t *testing.T) {
	plain := iketest.Must(ipsec.ParseESPProposal("aes128-sha256"))
	other := iketest.Must(ipsec.ParseESPProposal("aes128gcm"))
	optional := []ipsec.Proposal{plain.WithGroups(ipsec.GroupX25519), other.WithGroups(ipsec.GroupX25519), plain, other}
	if got := ike.ESPProposals(optional, true); len(got) != 2 || got[0].OfType(ipsec.TypeEncryption)[0].ID == got[1].OfType(ipsec.TypeEncryption)[0].ID {
		t.Errorf("IKE_AUTH offers %v, want each of two suites once", got)
	}
	if got := ike.ESPProposals(optional, false); len(got) != 4 {
		t.Errorf("CREATE_CHILD_SA offers %v, want each suite with a key exchange and without", got)
	}
}

// raw gives B a datagram from A's address, and returns B's answer.
func raw(p *iketest.Pair, payload []byte) []byte {
	p.Release([]iketest.Flight{{To: p.B, Datagram: ike.Datagram{
		Local:  netip.AddrPortFrom(iketest.AddrB, 500),
		Remote: netip.AddrPortFrom(iketest.AddrA, 500), Payload: payload,
	}}})
	p.NextAt(len(p.InFlight()) - 1)
	if n := len(p.InFlight()); n > 0 {
		return p.InFlight()[n-1].Datagram.Payload
	}
	return nil
}

func wantNotify(t *testing.T, answer []byte, n wire.NotifyType, data ...byte) {
	t.Helper()
	m, err := wire.Decode(answer)
	if err != nil {
		t.Fatalf("want %v, there is no readable answer: %v", n, err)
	}
	found := wire.FindNotify(m.Payloads, n)
	if found == nil {
		t.Fatalf("want %v, got %+v", n, m)
	}
	if !bytes.Equal(found.Data, data) {
		t.Errorf("%v has data %x, want %x", n, found.Data, data)
	}
	if !m.Header.Flags.Response() || m.Header.Flags.Initiator() {
		t.Errorf("%v comes with the flags %v of no responder", n, m.Header.Flags)
	}
}

func TestVersions(t *testing.T) { // RFC 7296 section 2.5
	p := iketest.New(t)
	p.A.Initiate()
	request := p.Hold()[0].Datagram.Payload

	higher := bytes.Clone(request)
	higher[17] = 0x30
	wantNotify(t, raw(p, higher), wire.InvalidMajorVersion)
	p.DropAll()

	older := bytes.Clone(request)
	older[17] = 0x10
	if a := raw(p, older); a != nil {
		t.Errorf("B answers IKEv1 with %x, want silence", a)
	}
	p.B.WantDropped(ike.DropVersion)

	minor := bytes.Clone(request)
	minor[17] = 0x27
	if a := raw(p, minor); a == nil {
		t.Error("B does not answer version 2.7, which differs in nothing that matters")
	}
}

func TestUnknownCriticalPayload(t *testing.T) { // RFC 7296 section 2.5
	unknown := func(critical bool) wire.Payload {
		return &wire.Unknown{Type: 200, Critical: critical, Body: []byte("?")}
	}
	t.Run("in IKE_SA_INIT", func(t *testing.T) {
		p := iketest.New(t)
		m := wire.Message{
			Header:   wire.Header{SPIi: 1, Exchange: wire.IKESAInit, Flags: wire.FlagInitiator},
			Payloads: []wire.Payload{unknown(true)},
		}
		wantNotify(t, raw(p, iketest.Must(m.Append(nil))), wire.UnsupportedCriticalPayload, 200)
	})
	t.Run("in INFORMATIONAL", func(t *testing.T) {
		p := iketest.Establish(t)
		for _, critical := range []bool{true, false} {
			for _, d := range ike.Say(p.A.Tunnel, p.Now, wire.Informational, unknown(critical)) {
				p.Release([]iketest.Flight{{To: p.B, Datagram: ike.Datagram{Local: d.Remote, Remote: d.Local, Payload: d.Payload}}})
			}
			p.Deliver()
			p.WantUp()
		}
	})
}

// TestNonsenseInside: an authentic message that cannot be read ends the IKE SA
// (RFC 7296 section 2.21.3).
func TestNonsenseInside(t *testing.T) {
	p := iketest.Establish(t)
	d := iketest.Must(ike.SayAnything(p.A.Tunnel, p.Now, wire.Informational, wire.PayloadDelete, []byte{0, 0, 0, 5, 3}))
	p.Release([]iketest.Flight{{To: p.B, Datagram: ike.Datagram{Local: d.Remote, Remote: d.Local, Payload: d.Payload}}})
	p.Deliver()
	p.B.WantGone()
	p.B.WantFailure(ike.FailSyntax)
}

// TestUnknownExchange: both ends forget an IKE SA on which one says what the
// other does not understand (RFC 7296 section 2.21.3).
func TestUnknownExchange(t *testing.T) {
	for _, x := range []wire.ExchangeType{wire.IKEAuth, 99} {
		p := iketest.Establish(t)
		d := ike.Say(p.A.Tunnel, p.Now, x)[0]
		p.Release([]iketest.Flight{{To: p.B, Datagram: ike.Datagram{Local: d.Remote, Remote: d.Local, Payload: d.Payload}}})
		p.Deliver()
		p.A.WantGone()
		p.B.WantGone()
	}
}

func TestMalformedInit(t *testing.T) {
	p := iketest.New(t)
	p.A.Initiate()
	request := p.Hold()[0].Datagram.Payload
	for n := range request {
		cut := bytes.Clone(request[:n])
		if n >= wire.HeaderLen {
			binary.BigEndian.PutUint32(cut[24:], uint32(n))
		}
		raw(p, cut)
		p.DropAll()
	}
	if p.B.Stats.HalfOpen != 0 {
		t.Errorf("B has %d half-open IKE SAs from truncated requests, want none", p.B.Stats.HalfOpen)
	}
	p.B.WantDropped(ike.DropMalformed)
}

func TestUnknownSPI(t *testing.T) { // RFC 7296 section 2.21.4
	p := iketest.Establish(t)
	probe := func(spi ipsec.IKESPI) []byte {
		m := wire.Message{Header: wire.Header{SPIi: 7, SPIr: spi, Exchange: wire.Informational, Flags: wire.FlagInitiator, MessageID: 5}}
		defer p.DropAll()
		return raw(p, iketest.Must(m.Append(nil)))
	}
	wantNotify(t, probe(ipsec.NewIKESPI(2, 77)), wire.InvalidIKESPI)
	p.B.WantDropped(ike.DropUnknownSPI)
	if a := probe(ipsec.NewIKESPI(3, 77)); a != nil {
		t.Errorf("B answers %x for an IKE SA of another member, want silence", a)
	}
	p.B.WantDropped(ike.DropForeignSPI)
	for range 200 {
		probe(ipsec.NewIKESPI(2, 77))
	}
	if got := p.B.Stats.InvalidSPIsOut; got > 110 {
		t.Errorf("B told %d times within an instant that it knows no such IKE SA, want a limit", got)
	}
}

// TestInvalidSPIIsNotTrusted: anybody can send an unprotected INVALID_IKE_SPI.
func TestInvalidSPIIsNotTrusted(t *testing.T) {
	p := iketest.Establish(t)
	p.A.Do(ike.RekeyIKE{})
	request := p.Hold()[0].Datagram
	h := iketest.Must(wire.ParseHeader(request.Payload))
	m := wire.Message{
		Header:   wire.Header{SPIi: h.SPIi, SPIr: h.SPIr, Exchange: h.Exchange, MessageID: h.MessageID, Flags: wire.FlagResponse},
		Payloads: []wire.Payload{&wire.Notify{Type: wire.InvalidIKESPI}},
	}
	p.Release([]iketest.Flight{{To: p.A, Datagram: ike.Datagram{Local: request.Remote, Remote: request.Local, Payload: iketest.Must(m.Append(nil))}}})
	p.Deliver()
	p.WantUp()
	p.A.WantDropped(ike.DropUnprotected)
	p.Pass(time.Minute)
	p.WantSameIKE()
}

func TestFloodOfInits(t *testing.T) {
	p := iketest.New(t, func(c *iketest.Config) {
		c.Limits = ike.Limits{HalfOpen: 40, CookieAt: 10000, PerSource: 3, SourceRate: 1, SourceBurst: 5}
	})
	p.A.Initiate()
	request := p.Hold()[0].Datagram
	flood := func(from netip.Addr, n int) {
		for i := range n {
			b := bytes.Clone(request.Payload)
			binary.BigEndian.PutUint64(b, uint64(i+1))
			p.Release([]iketest.Flight{{To: p.B, Datagram: ike.Datagram{Local: request.Local, Remote: netip.AddrPortFrom(from, 500), Payload: b}}})
			p.Next()
			p.DropAll()
		}
	}
	flood(netip.MustParseAddr("203.0.113.1"), 20)
	if got := p.B.Stats.HalfOpen; got != 3 {
		t.Errorf("one address holds %d half-open IKE SAs, want 3", got)
	}
	p.B.WantDropped(ike.DropSourceLimit)
	p.B.WantDropped(ike.DropSourceRate)
	a := netip.MustParseAddr("203.0.113.1")
	for range 50 {
		a = a.Next()
		flood(a, 1)
	}
	if got := p.B.Stats.HalfOpen; got != 40 {
		t.Errorf("B has %d half-open IKE SAs, want the limit of 40", got)
	}
	p.B.WantDropped(ike.DropHalfOpenLimit)
	p.PassSilently(time.Minute)
	if got := p.B.Stats.HalfOpen; got != 0 {
		t.Errorf("B still has %d half-open IKE SAs after a minute", got)
	}
	p.A.Do(ike.Close{})
	p.A.Initiate()
	p.Deliver()
	p.WantUp()
}
