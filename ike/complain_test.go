package ike_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
)

// stranger sends B an IKE header of its own making.
func stranger(p *iketest.Pair, major byte, spiR uint64) {
	b := make([]byte, 28)
	binary.BigEndian.PutUint64(b, 0x5151)
	binary.BigEndian.PutUint64(b[8:], spiR)
	b[16], b[17], b[18], b[19], b[27] = 33, major<<4, 34, 0x08, 28 // IKE_SA_INIT from the initiator, an SA payload first
	p.Release([]iketest.Flight{{To: p.B, Datagram: ike.Datagram{
		Local: netip.AddrPortFrom(iketest.AddrB, 500), Remote: netip.AddrPortFrom(iketest.AddrA, 500), Payload: b,
	}}})
	p.Next()
	p.DropAll()
}

// TestRefusalsAreLogged: every reason for which a negotiation comes to nothing
// says who it was and what to look at.
func TestRefusalsAreLogged(t *testing.T) { // B7
	few := func(c *iketest.Config) { c.Limits = ike.Limits{CookieAt: 2} }
	for _, tt := range []struct {
		name    string
		options []iketest.Option
		does    func(*iketest.Pair)
		drop    ike.Drop
		says    string
	}{
		{
			"a peer that speaks IKEv1", nil, func(p *iketest.Pair) { stranger(p, 1, 0) }, ike.DropVersion,
			`level=WARN msg="peer speaks another version of ike" end=B local=198.51.100.1:500 remote=192.0.2.1:500 version=1 check="ike-version here and at the peer"`,
		},
		{"a peer of the future", nil, func(p *iketest.Pair) { stranger(p, 3, 0) }, ike.DropVersion, `version=3 check="ike-version`},
		{"an IKE_SA_INIT without a payload", nil, func(p *iketest.Pair) { stranger(p, 2, 0) }, ike.DropMalformed, `msg="message was not understood"`},
		{"an IKE SA that is gone", nil, func(p *iketest.Pair) {
			p.A.Initiate()
			p.Deliver()
			p.B.Do(ike.Superseded{})
			rekeyChild(p.A)
			p.Next()
		}, ike.DropUnknownSPI, `msg="message for an ike sa that is not here"`},
		{"an IKE SA of another member", nil, func(p *iketest.Pair) { stranger(p, 2, 0x7<<60|1) }, ike.DropForeignSPI, `member=7 check=`},
		{"no connection", []iketest.Option{func(c *iketest.Config) { c.B.Remote = netip.MustParseAddr("203.0.113.77") }}, func(p *iketest.Pair) {
			p.A.Initiate()
			p.Deliver()
		}, ike.DropNoConnection, `msg="no connection for these addresses"`},
		{"many who begin", []iketest.Option{few}, func(p *iketest.Pair) { begin(p, 3) }, ike.DropCookie, `msg="many negotiations at a time: peers are asked for cookies" end=B local=198.51.100.1:500 remote=192.0.2.3:500 half_open=2`},
		{"one address that begins often", []iketest.Option{func(c *iketest.Config) { c.Limits = ike.Limits{PerSource: 1} }}, func(p *iketest.Pair) {
			begin(p, 1)
			begin(p, 1)
		}, ike.DropSourceLimit, `msg="too many negotiations with one address"`},
		{"a message of the set-up that is not authentic", nil, func(p *iketest.Pair) {
			p.A.Initiate()
			p.Next()
			p.Next()
			f := p.InFlight()[0]
			f.Datagram.Payload[len(f.Datagram.Payload)-1] ^= 1
			p.Next()
		}, ike.DropIntegrity, `level=WARN msg="message of a negotiation was not authentic" end=B`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			p := iketest.New(t, append(tt.options, logged(&log))...)
			tt.does(p)
			p.B.WantDropped(tt.drop)
			wantLogged(t, &log, tt.says)
		})
	}
}

// begin lets n addresses begin to negotiate with B.
func begin(p *iketest.Pair, n int) {
	p.A.Initiate()
	f := p.Hold()[0]
	for i := range n {
		f := copied(f)
		f.Datagram.Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 500)
		p.Release([]iketest.Flight{f})
		p.Next()
		p.DropAll()
	}
}

// TestEveryDropSaysWhatToLookAt: but for those that are no refusal.
func TestEveryDropSaysWhatToLookAt(t *testing.T) { // B7
	silent := map[ike.Drop]bool{ike.DropMessageID: true, ike.DropStandby: true, ike.DropSync: true, ike.DropSyncRate: true}
	seen := make(map[string]ike.Drop)
	for _, d := range ike.Drops() {
		text, check := ike.Complaint(d)
		if (text == "") != silent[d] || (check == "") != silent[d] {
			t.Errorf("drops for the reason %q are logged as %q with the advice %q", d, text, check)
		}
		if o, twice := seen[text]; twice && !silent[d] {
			t.Errorf("%q and %q are logged in the same words", o, d)
		}
		seen[text] = d
	}
}

// TestAFloodDoesNotFillTheLog: of one reason the log hears ten times, and then
// every ten seconds with how many there were; another reason is heard at once.
func TestAFloodDoesNotFillTheLog(t *testing.T) { // B7
	var log bytes.Buffer
	p := iketest.New(t, logged(&log))
	lines := func() int { return strings.Count(log.String(), "another version of ike") }
	for range 1000 {
		stranger(p, 1, 0)
	}
	if n := lines(); n != 10 {
		t.Errorf("1000 refusals in an instant make %d lines, want 10", n)
	}
	stranger(p, 2, 0)
	wantLogged(t, &log, "was not understood") // another reason is heard of in the flood
	p.Now = p.Now.Add(10 * time.Second)
	stranger(p, 1, 0)
	stranger(p, 1, 0)
	if n := lines(); n != 11 {
		t.Errorf("ten seconds later there are %d lines, want 11", n)
	}
	wantLogged(t, &log, "not_logged=990")
	if n := p.B.Stats.Drops[ike.DropVersion]; n != 1002 {
		t.Errorf("%d refusals were counted, want 1002", n)
	}
}
