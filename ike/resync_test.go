package ike_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
	"github.com/evergate/evergate/ike/wire"
)

// behind is a pair whose B has had exchanges in both directions that nobody stood
// by for, and is about to be taken over from what was known before them.
func behind(t *testing.T, more ...iketest.Option) (*iketest.Pair, []byte) {
	t.Helper()
	p := iketest.Establish(t, append([]iketest.Option{iketest.Twins(ike.Resume)}, more...)...)
	old := p.B.Snapshot
	for range 3 {
		probe(p, p.A)
		probe(p, p.B)
	}
	probe(p, p.A)
	return p, old
}

// probe is an exchange of e's that leaves nothing behind but Message IDs.
func probe(p *iketest.Pair, e *iketest.End) {
	p.TB.Helper()
	for _, d := range ike.Say(e.Tunnel, p.Now, wire.Informational) {
		to := p.A
		if e == p.A {
			to = p.B
		}
		d.Local, d.Remote = d.Remote, d.Local
		p.Release([]iketest.Flight{{To: to, Datagram: d}})
	}
	p.Deliver()
}

// ask gives B a synchronization request that A's machine would not send.
func ask(p *iketest.Pair, payloads ...wire.Payload) {
	p.TB.Helper()
	sent, err := ike.Ask(p.A.Tunnel, p.Now, payloads...)
	if err != nil || len(sent) != 1 {
		p.TB.Fatalf("A sends %d messages: %v", len(sent), err)
	}
	d := sent[0]
	d.Local, d.Remote = d.Remote, d.Local
	p.B.Do(ike.Received{Datagram: d})
}

// wantTalking checks that requests of both ends are answered.
func wantTalking(p *iketest.Pair) {
	p.TB.Helper()
	p.Deliver()
	p.Pass(time.Minute) // what was put off
	a, b := p.A.Tunnel.Status(p.Now), p.B.Tunnel.Status(p.Now)
	if a.NextRequest != b.NextExpected || b.NextRequest != a.NextExpected {
		p.TB.Errorf("A sends %d and expects %d, B sends %d and expects %d", a.NextRequest, a.NextExpected, b.NextRequest, b.NextExpected)
	}
	for _, e := range []*iketest.End{p.A, p.B} {
		before := e.Stats.ResponsesIn.Child
		rekeyChild(e)
		p.Pass(10 * time.Second)
		if e.Stats.ResponsesIn.Child == before {
			p.TB.Errorf("%s's request is not answered", e.Name)
		}
	}
	p.WantUp()
	p.WantPairs(1)
}

// TestMessageIDsAreSynchronized holds both messages against RFC 6311 sections 5.1
// and 6.3, octet by octet.
func TestMessageIDsAreSynchronized(t *testing.T) { // C17, C18
	p, old := behind(t)
	spis := fmt.Sprintf("%016x%016x", uint64(p.A.Tunnel.Status(p.Now).SPIi), uint64(p.A.Tunnel.Status(p.Now).SPIr))
	p.B.Succeed(old, ike.Takeover{Behind: true})
	p.B.Do(ike.Timeout{})

	request := only(t, p)
	header, payloads, err := ike.Plain(p.A.Tunnel, request.Datagram.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(header), spis+"2e202500"+"00000000"; got[:len(want)] != want {
		t.Errorf("the request's header is %s, want INFORMATIONAL with Message ID zero: %s", got, want)
	}
	nonce := payloads[8:12]
	// B sent nothing that the snapshot knows of, and asks to go on at 16; it had
	// answered A's requests 0 and 1.
	want := "2900001400004026" + hex.EncodeToString(nonce) + "00000010" + "00000002" + "0000000c00004027" + "00400000"
	if got := hex.EncodeToString(payloads); got != want {
		t.Errorf("the request says\n%s, want\n%s", got, want)
	}

	p.Next()
	response := only(t, p)
	header, payloads, err = ike.Plain(p.B.Tunnel, response.Datagram.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(header), spis+"2e202528"+"00000000"; got[:len(want)] != want {
		t.Errorf("the response's header is %s, want INFORMATIONAL with Message ID zero: %s", got, want)
	}
	// P2: A's requests 0 to 5 are used. M2: what B said is higher.
	want = "0000001400004026" + hex.EncodeToString(nonce) + "00000006" + "00000010"
	if got := hex.EncodeToString(payloads); got != want {
		t.Errorf("the response says\n%s, want\n%s", got, want)
	}
	p.Deliver()
	b := p.B.Tunnel.Status(p.Now)
	if b.NextRequest != 16 || b.NextExpected != 6 {
		t.Errorf("B sends %d next and expects %d, want 16 and 6", b.NextRequest, b.NextExpected)
	}
	wantTalking(p)
}

// only returns the one message that is on its way, and leaves it there.
func only(t *testing.T, p *iketest.Pair) iketest.Flight {
	t.Helper()
	if n := len(p.InFlight()); n != 1 {
		t.Fatalf("%d messages are on their way, want 1", n)
	}
	return p.InFlight()[0]
}

// TestNothingIsSynchronizedWhatIsExact: the write-ahead knew the Message IDs.
func TestNothingIsSynchronizedWhatIsExact(t *testing.T) { // B2
	p := iketest.Establish(t, iketest.Twins(ike.Resume), withDPD(ike.DPDOnIdle))
	for range 5 {
		p.Pass(time.Minute)
		rekeyChild(p.A)
		p.Next()
		p.B.Crash()
		p.Deliver()
		rekeyChild(p.B)
		p.B.Crash()
		p.Deliver()
		wantTalking(p)
	}
	if n := p.B.Stats.Sync.Sent + p.A.Stats.Sync.Sent; n != 0 {
		t.Errorf("%d synchronizations were sent where all was known, want none", n)
	}
}

// TestPeerShowsThatTheStateIsBehind: nobody has told the new owner.
func TestPeerShowsThatTheStateIsBehind(t *testing.T) { // C17
	t.Run("by a request beyond the window", func(t *testing.T) {
		p, old := behind(t)
		p.B.Succeed(old, ike.Takeover{})
		p.A.Do(ike.RekeyIKE{})
		p.Next()
		if p.B.Stats.Sync.Resyncs != 1 {
			t.Fatalf("B has asked %d times for the Message IDs, want once", p.B.Stats.Sync.Resyncs)
		}
		p.Pass(time.Minute)
		if p.A.Stats.IKERekeys != 1 {
			t.Errorf("A's request is not repeated under its new number: %d rekeyings", p.A.Stats.IKERekeys)
		}
		wantTalking(p)
	})
	t.Run("by silence", func(t *testing.T) {
		p, old := behind(t)
		probe(p, p.B)
		p.B.Succeed(old, ike.Takeover{})
		rekeyChild(p.B)
		p.Pass(time.Minute)
		if p.B.Stats.Sync.Resyncs != 1 {
			t.Errorf("B has asked %d times for the Message IDs, want once", p.B.Stats.Sync.Resyncs)
		}
		wantTalking(p)
	})
	t.Run("but not to who forges it", func(t *testing.T) {
		p, old := behind(t)
		p.B.Succeed(old, ike.Takeover{})
		p.A.Do(ike.RekeyIKE{})
		f := p.Hold()[0]
		f.Datagram.Payload[len(f.Datagram.Payload)-1] ^= 1
		p.Release([]iketest.Flight{f})
		p.Deliver()
		if p.B.Stats.Sync.Sent != 0 {
			t.Error("a forged message makes B ask for the Message IDs")
		}
	})
	t.Run("but not to who has never taken over", func(t *testing.T) {
		p := iketest.Establish(t)
		ike.Say(p.A.Tunnel, p.Now, wire.Informational) // lost
		p.A.Tunnel.Step(p.Now, ike.Timeout{})
		for _, d := range ike.Say(p.A.Tunnel, p.Now, wire.Informational) {
			d.Local, d.Remote = d.Remote, d.Local
			p.Release([]iketest.Flight{{To: p.B, Datagram: d}})
		}
		p.Deliver()
		if p.B.Stats.Sync.Sent != 0 {
			t.Error("a request beyond the window makes B ask for the Message IDs, which are its own")
		}
	})
}

// TestSynchronizationSurvivesLoss: each repetition has a nonce of its own and
// higher numbers, since the peer takes none twice.
func TestSynchronizationSurvivesLoss(t *testing.T) {
	for lost := range 4 {
		p, old := behind(t)
		p.B.Succeed(old, ike.Takeover{Behind: true})
		p.B.Do(ike.Timeout{})
		seen := make(map[string]bool)
		for i := range lost {
			if i%2 == 0 {
				p.Next() // the response is lost, then the request
			}
			p.DropAll()
			p.PassSilently(p.B.Tunnel.NextTimeout().Sub(p.Now) - time.Nanosecond)
			p.Now = p.B.Tunnel.NextTimeout()
			p.B.Do(ike.Timeout{})
			_, payloads, err := ike.Plain(p.A.Tunnel, only(t, p).Datagram.Payload)
			if err != nil {
				t.Fatal(err)
			}
			if id := string(payloads[8:16]); seen[id] {
				t.Errorf("after %d losses the request is not a new one", i+1)
			} else {
				seen[id] = true
			}
		}
		wantTalking(p)
	}
}

// TestPeerThatDoesNotAnswerIsDead as soon as dead peer detection would find it.
func TestPeerThatDoesNotAnswerIsDead(t *testing.T) {
	for _, mode := range []ike.DPDMode{ike.DPDOff, ike.DPDOnIdle} {
		p, old := behind(t, withDPD(mode))
		p.B.Succeed(old, ike.Takeover{Behind: true})
		p.PassSilently(3*dpdInterval - time.Second)
		if p.B.Done != (mode == ike.DPDOff) {
			t.Errorf("mode %d: the tunnel is given up: %t", mode, p.B.Done)
		}
		p.PassSilently(time.Second)
		p.B.WantGone()
		if p.B.Stats.DeadPeers != 1 {
			t.Errorf("mode %d: %d peers were found dead, want 1", mode, p.B.Stats.DeadPeers)
		}
	}
}

// TestSynchronizationsAreTakenOnce: "The peer MUST silently drop any received
// synchronization message if M1 is lower than or equal to the highest value it has
// seen from the cluster." RFC 6311 section 5.1.
func TestSynchronizationsAreTakenOnce(t *testing.T) {
	p, old := behind(t)
	p.B.Succeed(old, ike.Takeover{Behind: true})
	p.B.Do(ike.Timeout{})
	request := copied(only(t, p))
	p.Next()
	first := bytes.Clone(only(t, p).Datagram.Payload)
	p.DropAll()

	p.Release([]iketest.Flight{copied(request)})
	p.Next()
	if again := only(t, p); !bytes.Equal(again.Datagram.Payload, first) {
		t.Error("the repetition of a request whose answer got lost is not answered octet by octet as before")
	}
	p.Deliver()
	probe(p, p.B)
	before := p.A.Tunnel.Status(p.Now)
	p.Release([]iketest.Flight{copied(request)})
	p.Next()
	if n := len(p.InFlight()); n != 0 {
		t.Errorf("an old synchronization is answered by %d messages, want silence", n)
	}
	if after := p.A.Tunnel.Status(p.Now); after.NextExpected != before.NextExpected || after.NextRequest != before.NextRequest {
		t.Error("an old synchronization moves the windows")
	}
	p.A.WantDropped(ike.DropSync)
	wantTalking(p)
}

// TestSuccessiveFailoversAskForMore: "The member SHOULD communicate the sent
// values to the other cluster members, so that if a second failover event takes
// place, the synchronization message is not replayed." RFC 6311 section 5.1.
func TestSuccessiveFailoversAskForMore(t *testing.T) {
	p, old := behind(t)
	p.B.Succeed(old, ike.Takeover{Behind: true})
	p.B.Do(ike.Timeout{})
	highest := uint32(0)
	for i := range 4 {
		_, payloads, err := ike.Plain(p.A.Tunnel, only(t, p).Datagram.Payload)
		if err != nil {
			t.Fatal(err)
		}
		ids, err := wire.ParseMessageIDs(payloads[8:20])
		if err != nil {
			t.Fatal(err)
		}
		if ids.Send <= highest {
			t.Errorf("owner %d asks to go on at %d, the one before it did at %d", i+1, ids.Send, highest)
		}
		highest = ids.Send
		p.Next() // the response finds no owner
		p.DropAll()
		p.Now = p.Now.Add(time.Second)
		p.B.Succeed(p.B.Snapshot, ike.Takeover{}) // exact, but for what the peer made of it
		p.B.Do(ike.Timeout{})
	}
	wantTalking(p)
}

// TestBothEndsAreClusters: they fail over at the same time, and each other's
// request meets their own.
func TestBothEndsAreClusters(t *testing.T) {
	for _, order := range []string{"AB", "BA"} {
		p := iketest.Establish(t, iketest.Twins(ike.Resume))
		oldA, oldB := p.A.Snapshot, p.B.Snapshot
		for range 5 {
			probe(p, p.A)
			probe(p, p.B)
		}
		p.A.Succeed(oldA, ike.Takeover{Behind: true})
		p.B.Succeed(oldB, ike.Takeover{Behind: true})
		p.A.Do(ike.Timeout{})
		p.B.Do(ike.Timeout{})
		if order == "BA" {
			p.NextAt(1)
		}
		p.Deliver()
		wantTalking(p)
		if p.A.Stats.Sync.Resyncs != 1 || p.B.Stats.Sync.Resyncs != 1 {
			t.Errorf("%s: A asked %d times and B %d times, want once each", order, p.A.Stats.Sync.Resyncs, p.B.Stats.Sync.Resyncs)
		}
	}
}

// TestRequestsInFlightAreBegunAgain: neither end waits for an answer that will
// not come (RFC 6311 section 8.1).
func TestRequestsInFlightAreBegunAgain(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(*iketest.End)
	}{
		{"rekey child", rekeyChild},
		{"rekey ike", func(e *iketest.End) { e.Do(ike.RekeyIKE{}) }},
		{"delete child", func(e *iketest.End) { closeChild(e); e.Do(ike.Initiate{Child: "net"}) }},
	} {
		for _, where := range []string{"peer's", "peer's, answered", "owner's, lost", "owner's, answered"} {
			t.Run(tt.name+" "+where, func(t *testing.T) {
				p, old := behind(t)
				switch where {
				case "peer's":
					tt.do(p.A)
					p.DropAll()
					p.B.Succeed(old, ike.Takeover{Behind: true})
				case "peer's, answered": // what the answer gave A has gone with it
					tt.do(p.A)
					p.Next()
					p.DropAll()
					p.B.Succeed(p.B.Snapshot, ike.Takeover{Behind: true})
				default:
					p.B.Succeed(p.B.Tunnel.Snapshot(p.Now), ike.Takeover{})
					tt.do(p.B)
					if where == "owner's, answered" {
						p.Next()
					}
					p.DropAll()
					p.B.Succeed(p.B.Snapshot, ike.Takeover{Behind: true})
				}
				p.Pass(3 * time.Minute)
				wantTalking(p)
			})
		}
	}
}

// TestDeleteOfThePeerIsHeardAfterAll: it closes the tunnel, while the new owner
// finds out where it is.
func TestDeleteOfThePeerIsHeardAfterAll(t *testing.T) {
	p, old := behind(t)
	p.A.Do(ike.Close{})
	p.DropAll()
	p.B.Succeed(old, ike.Takeover{Behind: true})
	p.Pass(10 * time.Second)
	p.A.WantGone()
	p.B.WantGone()
	if p.A.Stats.TimedOut != 0 {
		t.Error("A's Delete was never answered")
	}
}

// TestPeerThatCannotIsNotAsked: it has not announced it in IKE_AUTH.
func TestPeerThatCannotIsNotAsked(t *testing.T) {
	p := iketest.Establish(t)
	ike.Forbid6311(p.A.Tunnel, p.B.Tunnel)
	p.B.Succeed(p.B.Tunnel.Snapshot(p.Now), ike.Takeover{Behind: true})
	p.Pass(time.Minute)
	if n := p.B.Stats.Sync.Sent; n != 0 {
		t.Errorf("%d synchronizations were sent to a peer that does not know them", n)
	}
	ask(p, wire.MessageIDs{Send: 100, Recv: 100}.Notify())
	if n := len(p.InFlight()); n != 0 || p.B.Stats.Drops[ike.DropMessageID] == 0 {
		t.Errorf("a synchronization that was not agreed on is answered by %d messages", n)
	}
}

// TestSynchronizationCanBeTurnedOff: it is not announced then, at either end.
func TestSynchronizationCanBeTurnedOff(t *testing.T) {
	for name, off := range map[string]func(*iketest.Config){
		"at the initiator": func(c *iketest.Config) { c.A.NoMessageIDSync = true },
		"at the responder": func(c *iketest.Config) { c.B.NoMessageIDSync = true },
	} {
		t.Run(name, func(t *testing.T) {
			p := iketest.Establish(t, off)
			p.B.Succeed(p.B.Tunnel.Snapshot(p.Now), ike.Takeover{Behind: true})
			p.Pass(time.Minute)
			ask(p, wire.MessageIDs{Send: 100, Recv: 100}.Notify())
			if sent, answers := p.B.Stats.Sync.Sent, len(p.InFlight()); sent != 0 || answers != 0 {
				t.Errorf("%d synchronizations were sent and %d answered, want none", sent, answers)
			}
		})
	}
}

// TestMessageIDZeroOfARekeyedIKESA is an ordinary one.
func TestMessageIDZeroOfARekeyedIKESA(t *testing.T) {
	p := iketest.Establish(t, iketest.Twins(ike.Resume))
	p.A.Do(ike.RekeyIKE{})
	p.Pass(time.Minute)
	probe(p, p.A)
	probe(p, p.B)
	if p.A.Stats.Sync.Received+p.B.Stats.Sync.Received != 0 {
		t.Error("an ordinary exchange is taken for a synchronization")
	}
	p.A.Do(ike.RekeyIKE{})
	p.Pass(time.Minute)
	// Nothing was said on the new IKE SA yet: a synchronization is the first.
	p.B.Succeed(p.B.Tunnel.Snapshot(p.Now), ike.Takeover{Behind: true})
	wantTalking(p)
	if p.B.Stats.Sync.Synced != 1 {
		t.Errorf("%d IKE SAs were synchronized, want 1", p.B.Stats.Sync.Synced)
	}
}

func TestSynchronizationsThatMakeNoSense(t *testing.T) {
	good := wire.MessageIDs{Send: 100, Recv: 50}
	for _, tt := range []struct {
		name     string
		payloads []wire.Payload
		drop     ike.Drop
		length   uint64
	}{
		{"too short", []wire.Payload{&wire.Notify{Type: wire.MessageIDSync, Data: make([]byte, 11)}}, ike.DropMalformed, 1},
		{"too long", []wire.Payload{&wire.Notify{Type: wire.MessageIDSync, Data: make([]byte, 13)}}, ike.DropMalformed, 1},
		{"a delta of three octets", []wire.Payload{good.Notify(), &wire.Notify{Type: wire.IPsecReplayCounterSync, Data: make([]byte, 3)}}, ike.DropMalformed, 1},
		{"a delta of 64 bits for numbers of 32", []wire.Payload{good.Notify(), wire.ReplayCounters{Delta: 5, Extended: true}.Notify()}, ike.DropMalformed, 1},
		{"two of them", []wire.Payload{good.Notify(), good.Notify()}, ike.DropSync, 0},
		{"with another payload", []wire.Payload{good.Notify(), &wire.Delete{Protocol: wire.ProtocolIKE}}, ike.DropSync, 0},
		{"of numbers that no Message ID has", []wire.Payload{wire.MessageIDs{Send: 1 << 31, Recv: 50}.Notify()}, ike.DropSync, 0},
		{"of numbers that B must not have", []wire.Payload{wire.MessageIDs{Send: 100, Recv: 1<<32 - 1}.Notify()}, ike.DropSync, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := iketest.Establish(t)
			before := p.B.Tunnel.Status(p.Now)
			ask(p, tt.payloads...)
			if n := len(p.InFlight()); n != 0 {
				t.Errorf("it is answered by %d messages, want silence", n)
			}
			if after := p.B.Tunnel.Status(p.Now); after.NextExpected != before.NextExpected || after.NextRequest != before.NextRequest {
				t.Error("it moves the windows")
			}
			p.B.WantDropped(tt.drop)
			if n := p.B.Stats.Sync.BadLength; n != tt.length {
				t.Errorf("%d bad lengths were counted, want %d", n, tt.length)
			}
			wantTalking(p)
		})
	}
}

func TestPeerMayNotSynchronizeAllTheTime(t *testing.T) {
	p := iketest.Establish(t, iketest.Twins(ike.Resume))
	answers := func(send uint32) int {
		ask(p, wire.MessageIDs{Send: send, Recv: 10}.Notify())
		return len(p.Hold())
	}
	answered := 0
	for i := range 100 {
		answered += answers(uint32(100 + i))
	}
	if answered != 8 {
		t.Errorf("%d of 100 synchronizations at one instant are answered, want 8", answered)
	}
	p.B.WantDropped(ike.DropSyncRate)
	p.Now = p.Now.Add(10 * time.Second)
	if answers(1000) != 1 {
		t.Error("a synchronization is not answered ten seconds later")
	}
}

// TestReplayCountersAreSynchronized: the peer goes ahead, and the new owner takes
// nothing from before, also where its last checkpoint was old.
func TestReplayCountersAreSynchronized(t *testing.T) { // C17, I9
	p, old := behind(t)
	p.B.Succeed(old, ike.Takeover{Behind: true})
	p.Pass(time.Second)
	if len(p.A.Shifts) != 1 || p.A.Shifts[0].Out != 1<<22 || p.A.Shifts[0].In != 0 {
		t.Errorf("A moves its numbers by %+v, want what it sends by 2^22", p.A.Shifts)
	}
	if len(p.B.Shifts) != 1 || p.B.Shifts[0].In != 1<<22 || p.B.Shifts[0].Out != 0 {
		t.Errorf("B moves its numbers by %+v, want what it expects by 2^22", p.B.Shifts)
	}
	if p.A.Stats.Sync.Shifted != 1 || p.B.Stats.Sync.Shifted != 1 {
		t.Errorf("A counted %d pairs and B %d, want 1 each", p.A.Stats.Sync.Shifted, p.B.Stats.Sync.Shifted)
	}
}

// TestDeltaIsAsWideAsTheNumbers: "if the ESN bit is 1, the field's size is 64 bits".
func TestDeltaIsAsWideAsTheNumbers(t *testing.T) { // RFC 6311 section 6.4
	p, old := behind(t, iketest.Both(func(c *ike.Connection) {
		offer := &c.Children[0].Proposals[0]
		offer.Transforms = append(offer.Transforms, ipsec.Transform{Type: ipsec.TypeESN, ID: ipsec.UseESN})
	}))
	p.B.Succeed(old, ike.Takeover{Behind: true})
	p.B.Do(ike.Timeout{})
	_, payloads, err := ike.Plain(p.A.Tunnel, only(t, p).Datagram.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(payloads[20:]), "0000001000004027"+"0000000000400000"; got != want {
		t.Errorf("the replay counters are %s, want %s", got, want)
	}
	p.Pass(time.Second)
	if len(p.A.Shifts) != 1 {
		t.Errorf("A moves its numbers %d times, want once", len(p.A.Shifts))
	}
}

// TestChildEndsDuringASynchronization: what is repeated asks for no numbers of a pair
// that is gone meanwhile.
func TestChildEndsDuringASynchronization(t *testing.T) { // C17
	p := iketest.Establish(t, iketest.Twins(ike.Resume))
	p.B.Succeed(p.B.Snapshot, ike.Takeover{Behind: true}) // it is not, as it turns out
	p.B.Do(ike.Timeout{})
	p.DropAll()
	in, _ := p.A.Child()
	p.A.Do(ike.Expired{ID: in.ID, Hard: true})
	p.Deliver()
	p.WantPairs(0)
	p.Pass(30 * time.Second)
	if p.B.Stats.Sync.Synced != 1 || len(p.A.Shifts) != 0 {
		t.Errorf("B synchronized %d times and A moved its numbers by %+v, want once and not at all", p.B.Stats.Sync.Synced, p.A.Shifts)
	}
}

// TestALargeDeltaMakesNewKeys: more than a lease of numbers at once would soon use
// them up.
func TestALargeDeltaMakesNewKeys(t *testing.T) {
	p := iketest.Establish(t)
	in, _ := p.B.Child()
	ike.SetMessageIDs(p.A.Tunnel, 100, 10)
	ask(p, wire.MessageIDs{Send: 100, Recv: 10}.Notify(), wire.ReplayCounters{Delta: 1<<32 - 1}.Notify())
	p.Pass(time.Minute)
	if now, _ := p.B.Child(); now.ID == in.ID || len(p.B.Shifts) != 0 {
		t.Errorf("B moves its numbers by %+v, want new keys", p.B.Shifts)
	}
}
