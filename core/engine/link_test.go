package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/mem"
)

// span is two members and the session between them, in one goroutine and virtual
// time. News and orders wait until the test lets them go.
type span struct {
	t   testing.TB
	now time.Time
	// session is 0 when there is none.
	session, sessions uint64
	ends              [2]*spanEnd
	// used are all keys that anybody has sent with.
	used map[string]bool
}

// spanEnd is one member with its dataplane.
type spanEnd struct {
	*Links
	s      *span
	id     ipsec.MemberID
	addr   netip.Addr
	plane  *mem.Engine
	boot   uint32
	log    bytes.Buffer
	orders []LinkOrder
	news   []LinkTell
	// keys are those of the SAs in the dataplane, out those that send, the newest
	// last.
	keys map[ipsec.SAID]string
	out  []ipsec.SAID
	// lost: the other end may send what cannot arrive, as the dataplane has lost its
	// SAs or the other end seems dead. A new link ends that.
	lost bool
}

func newSpan(t testing.TB) *span {
	s := &span{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), used: make(map[string]bool)}
	for i := range s.ends {
		e := &spanEnd{s: s, id: ipsec.MemberID(i + 1), keys: make(map[ipsec.SAID]string)}
		e.addr = netip.AddrFrom4([4]byte{172, 31, 1, byte(i + 1)})
		e.plane = mem.New(mem.Options{Now: func() time.Time { return s.now }})
		e.Links = NewLinks(e.id, e.addr, uint32(1000*i), slog.New(slog.NewTextHandler(&e.log, nil)))
		e.configure()
		s.ends[i] = e
	}
	return s
}

func (e *spanEnd) other() *spanEnd { return e.s.ends[2-e.id] }

func (e *spanEnd) configure() {
	e.boot++
	if _, err := e.plane.Configure(context.Background(), offload.Config{Member: e.id, Boot: e.boot, Addresses: []netip.Addr{e.addr}}); err != nil {
		e.s.t.Fatal(err)
	}
}

func (e *spanEnd) step(in LinkInput) {
	rd := e.Step(e.s.now, in)
	e.orders = append(e.orders, rd.Orders...)
	e.news = append(e.news, rd.Tell...)
}

// Export derives keys as a session does: from what both ends know.
func (e *spanEnd) Export(_ ipsec.MemberID, label string, about []byte, n int) (ipsec.Key, uint64, error) {
	if e.s.session == 0 {
		return ipsec.Key{}, 0, errors.New("no session")
	}
	h := sha256.Sum256(append(binary.BigEndian.AppendUint64([]byte(label), e.s.session), about...))
	return ipsec.NewKey(slices.Concat(h[:], h[:])[:n]), e.s.session, nil
}

func (e *spanEnd) Tell(ipsec.MemberID, LinkNews) {}

// carry carries out one order.
func (e *spanEnd) carry() bool {
	if len(e.orders) == 0 {
		return false
	}
	o := e.orders[0]
	e.orders = e.orders[1:]
	answer := linkAnswer(context.Background(), e.plane, e, o)
	if done, ok := answer.(LinkDone); ok && done.Err == nil {
		e.installed(o)
	}
	for _, id := range o.Delete {
		delete(e.keys, id)
		e.out = slices.DeleteFunc(e.out, func(x ipsec.SAID) bool { return x == id })
	}
	e.step(answer)
	e.check()
	return true
}

func (e *spanEnd) installed(o LinkOrder) {
	key, _, err := e.Export(o.Member, linkLabel, o.Context, linkKeyLen)
	if err != nil {
		e.s.t.Fatal(err)
	}
	k := string(key.Reveal())
	e.keys[o.Install.ID] = k
	if o.Install.Direction == ipsec.Inbound {
		return
	}
	if e.s.used[k] {
		e.s.t.Fatalf("Member %d sends with a key that was used before (I1).", e.id)
	}
	e.s.used[k] = true
	e.out = append(e.out, o.Install.ID)
	if e.other().keys[o.Install.ID] == k {
		e.other().lost = false
	}
}

// check: whatever leaves by the newest link has an SA with the same key at the
// other end.
func (e *spanEnd) check() {
	for _, from := range e.s.ends {
		to := from.other()
		if len(from.out) == 0 {
			continue
		}
		newest := from.out[len(from.out)-1]
		if !to.lost && to.keys[newest] != from.keys[newest] {
			e.s.t.Fatalf("Member %d sends on %v, which member %d does not have.", from.id, newest.SPI, to.id)
		}
	}
}

// hear delivers one piece of news.
func (e *spanEnd) hear() bool {
	from := e.other()
	if len(from.news) == 0 {
		return false
	}
	n := from.news[0]
	from.news = from.news[1:]
	e.step(LinkHeard{Member: from.id, News: n.News})
	return true
}

// meet says what the dataplane is.
func (e *spanEnd) meet() {
	info, err := e.plane.Info(context.Background())
	if err != nil {
		e.s.t.Fatal(err)
	}
	e.step(LinkPlane{Unable: unableToLink(info)})
}

// reset takes all SAs out of the dataplane.
func (e *spanEnd) reset() {
	e.plane.Reset()
	e.configure()
	clear(e.keys)
	e.out, e.lost = nil, true
	e.meet()
}

// arm says that the other end is dead.
func (e *spanEnd) arm() {
	e.lost = e.lost || e.s.session == 0
	e.step(LinkArmed{Member: e.other().id})
}

func (s *span) connect() {
	s.disconnect()
	s.sessions++
	s.session = s.sessions
	for _, e := range s.ends {
		e.step(LinkPeerUp{Session: LinkSession{Member: e.other().id, ID: s.session, Remote: e.other().addr}})
	}
}

func (s *span) disconnect() {
	for _, e := range s.ends {
		if e.peers[e.other().id] != nil && e.peers[e.other().id].session.ID != 0 {
			e.step(LinkPeerDown{Member: e.other().id})
		}
		e.news = nil
	}
	s.session = 0
}

// rest lets everything happen that can, and time pass, until nothing is due within
// a minute.
func (s *span) rest() {
	s.t.Helper()
	for range 1000 {
		busy := false
		for _, e := range s.ends {
			busy = e.carry() || busy
			busy = e.hear() || busy
		}
		if busy {
			continue
		}
		at := time.Time{}
		for _, e := range s.ends {
			if due := e.NextTimeout(); !due.IsZero() && (at.IsZero() || due.Before(at)) {
				at = due
			}
		}
		if at.IsZero() || at.Sub(s.now) > linkGrace {
			return
		}
		s.pass(at.Sub(s.now))
	}
	s.t.Fatal("The links do not come to rest.")
}

func (s *span) pass(d time.Duration) {
	s.now = s.now.Add(max(0, d))
	for _, e := range s.ends {
		e.step(LinkTimeout{})
	}
}

// wantUp: both ends have one pair, which fits, and nothing else.
func (s *span) wantUp(when string) {
	s.t.Helper()
	for _, e := range s.ends {
		st := e.status()
		if st.State != "up" || st.Err != nil || st.Since.IsZero() {
			s.t.Fatalf("%s, the link of member %d should be up, it is %+v.", when, e.id, st)
		}
		if n := e.installedSAs(); n != 2 || len(e.out) != 1 {
			s.t.Fatalf("%s, member %d should have two SAs of links, one of them outbound; it has %d and %d.", when, e.id, n, len(e.out))
		}
		for id, key := range e.keys {
			if e.other().keys[id] != key {
				s.t.Fatalf("%s, the members differ about %v.", when, id)
			}
		}
	}
}

func (e *spanEnd) status() LinkStatus {
	for _, st := range e.Status() {
		if st.Member == e.other().id {
			return st
		}
	}
	return LinkStatus{}
}

// installedSAs counts what the dataplane has.
func (e *spanEnd) installedSAs() (n int) {
	for range e.plane.Export(context.Background(), offload.AllGroups) {
		n++
	}
	return n
}

// count reads the dataplane's counters.
func (e *spanEnd) count(complete bool) {
	in := LinkCounted{Complete: complete}
	for c := range e.plane.Export(context.Background(), offload.AllGroups) {
		in.Counters = append(in.Counters, c)
	}
	e.step(in)
}

// newLinked has a link that is up.
func newLinked(t testing.TB) *span {
	s := newSpan(t)
	for _, e := range s.ends {
		e.meet()
	}
	s.connect()
	s.rest()
	s.wantUp("After the members have met")
	return s
}

func TestLinkComesUpInEveryOrder(t *testing.T) { // F9
	for name, begin := range map[string]func(*span, *spanEnd, *spanEnd){
		"dataplanes first": func(s *span, a, b *spanEnd) { a.meet(); b.meet(); s.connect() },
		"session first":    func(s *span, a, b *spanEnd) { s.connect(); s.rest(); a.meet(); s.rest(); b.meet() },
		"at once":          func(s *span, a, b *spanEnd) { s.connect(); b.meet(); a.meet() },
		"news are lost":    func(s *span, a, b *spanEnd) { a.meet(); b.meet(); s.connect(); a.news, b.news = nil, nil },
		"one hears first": func(s *span, a, b *spanEnd) {
			a.meet()
			b.meet()
			s.connect()
			for b.hear() || b.carry() {
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSpan(t)
			begin(s, s.ends[0], s.ends[1])
			s.rest()
			s.wantUp("After " + name)
			for _, e := range s.ends {
				if e.stats.Made != 1 {
					t.Errorf("Member %d made %d links, want one.", e.id, e.stats.Made)
				}
			}
		})
	}
}

// TestLinkIsReplaced: inbound at both ends, then outbound, then the old ones go;
// the harness checks after every order that what leaves can arrive.
func TestLinkIsReplaced(t *testing.T) { // F9, I1
	for name, begin := range map[string]func(*span){
		"a new session":                      func(s *span) { s.connect() },
		"a session that breaks on its way":   func(s *span) { s.connect(); s.ends[0].carry(); s.ends[1].hear(); s.ends[1].carry(); s.connect() },
		"a session that was away for a time": func(s *span) { s.disconnect(); s.pass(linkGrace / 2); s.connect() },
		"an arming while the member lives":   func(s *span) { s.ends[0].step(LinkArmed{Member: 2}) },
		"armings at both ends":               func(s *span) { s.ends[0].step(LinkArmed{Member: 2}); s.ends[1].step(LinkArmed{Member: 1}) },
		"one dataplane that lost its SAs":    func(s *span) { s.ends[0].reset() },
		"the other one":                      func(s *span) { s.ends[1].reset() },
		"both":                               func(s *span) { s.ends[0].reset(); s.ends[1].reset() },
		"one, twice":                         func(s *span) { s.ends[0].reset(); s.ends[0].carry(); s.ends[1].hear(); s.ends[0].reset() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newLinked(t)
			old := [2]ipsec.SAID{s.ends[0].out[0], s.ends[1].out[0]}
			begin(s)
			s.rest()
			s.wantUp("After " + name)
			if s.ends[0].out[0] == old[0] || s.ends[1].out[0] == old[1] {
				t.Errorf("The members should send on new SAs, they send on %v and %v.", s.ends[0].out, s.ends[1].out)
			}
		})
	}
}

// TestLinkEndsWithItsMember: the dataplane is armed before the link goes, and
// without a session nothing is left of it.
func TestLinkEndsWithItsMember(t *testing.T) { // F9
	s := newLinked(t)
	a := s.ends[0]
	s.disconnect()
	if a.step(LinkTimeout{}); len(a.out) != 1 || a.status().State != "up" {
		t.Errorf("A session that breaks is no death: the link should stay, its state is %q.", a.status().State)
	}
	a.arm()
	s.rest()
	if n := a.installedSAs(); n != 0 {
		t.Errorf("After the arming nothing should be left of the link, got %d SAs.", n)
	}
	if st := a.status(); st.State != "down" || !errors.Is(st.Err, errNoSession) {
		t.Errorf("The link should be down for want of a session, got %+v.", st)
	}
	b := s.ends[1]
	s.pass(linkGrace)
	for b.carry() {
	}
	if n := b.installedSAs(); n != 0 {
		t.Errorf("A minute without a session should end the link, got %d SAs.", n)
	}
}

// TestWhoLeavesHearsThatOthersHaveArmed: until then it goes on sending what they
// give it.
func TestWhoLeavesHearsThatOthersHaveArmed(t *testing.T) { // F9
	s := newLinked(t)
	a, b := s.ends[0], s.ends[1]
	for _, e := range s.ends {
		if e.status().Armed {
			t.Errorf("Member %d should know of no arming.", e.id)
		}
	}
	b.arm()
	a.hear()
	if !a.status().Armed || b.status().Armed {
		t.Errorf("Member 1 should know that member 2 has armed, and not the other way: %v and %v.", a.status().Armed, b.status().Armed)
	}
	s.rest()
	s.wantUp("After the arming")
	b.step(LinkDisarmed{Member: 1})
	s.rest()
	if a.status().Armed {
		t.Error("Member 1 should know that member 2 is armed no more.")
	}
}

func TestRefusedLinkIsVisibleAndTriedAgain(t *testing.T) { // F9, B7
	for _, before := range []int{0, 1} {
		t.Run(fmt.Sprintf("after %d orders", before), func(t *testing.T) {
			s := newSpan(t)
			a := s.ends[0]
			for _, e := range s.ends {
				e.meet()
			}
			s.connect()
			for range before {
				for !a.carry() {
					s.ends[1].hear()
					s.ends[1].carry()
					a.hear()
				}
			}
			full := errors.New("no room")
			a.plane.Inject(mem.CallInstall, mem.Fail(full))
			for a.stats.Refused == 0 {
				s.ends[1].hear()
				s.ends[1].carry()
				a.hear()
				a.carry()
			}
			if st := a.status(); st.State != "down" || !errors.Is(st.Err, full) || !strings.Contains(a.log.String(), "no room") {
				t.Errorf("The refusal should be seen in state and log, got %+v and %q.", st, a.log.String())
			}
			s.rest()
			s.wantUp("After a refusal that passed")
		})
	}
}

func TestDataplaneWithoutLinks(t *testing.T) { // F9, B7
	s := newSpan(t)
	a, b := s.ends[0], s.ends[1]
	a.meet()
	b.step(LinkPlane{Unable: unableToLink(offload.Info{Name: "plain"})})
	s.connect()
	s.rest()
	if st := a.status(); st.State != "down" || !errors.Is(st.Err, errTheirs) {
		t.Errorf("The other member should know that there are no links, got %+v.", st)
	}
	if st := b.status(); st.State != "down" || st.Err == nil || !strings.Contains(st.Err.Error(), "plain") {
		t.Errorf("The member should say why it has no links, got %+v.", st)
	}
	s.connect()
	s.rest()
	b.step(LinkPlane{Unable: unableToLink(offload.Info{Name: "plain"})})
	if n := strings.Count(b.log.String(), "no links to other members"); n != 1 {
		t.Errorf("The log should say once that there are no links, it says so %d times.", n)
	}
	b.meet() // one that has them
	s.rest()
	s.wantUp("With another dataplane")
	b.reset()
	b.step(LinkPlane{Unable: unableToLink(offload.Info{Name: "plain"})})
	s.rest()
	if n := a.installedSAs(); n != 0 {
		t.Errorf("Nothing should be sent to a dataplane without links, got %d SAs.", n)
	}
}

func TestInventoryOfLinks(t *testing.T) { // F9
	s := newLinked(t)
	a := s.ends[0]
	stray := *newStray(a)
	if _, err := a.plane.Install(context.Background(), 0, offload.Active, stray); err != nil {
		t.Fatal(err)
	}
	a.count(false)
	if a.carry() {
		t.Error("Counters alone should change nothing.")
	}
	a.count(true)
	s.rest()
	s.wantUp("After an inventory with a stray SA")
	made := a.stats.Made
	if _, err := a.plane.Delete(context.Background(), 0, a.out...); err != nil {
		t.Fatal(err)
	}
	a.out = nil
	a.count(true)
	s.rest()
	s.wantUp("After an inventory without our SA")
	if a.stats.Made != made+1 {
		t.Errorf("The link should have been made again once, it was made %d times.", a.stats.Made-made)
	}
}

// newStray is an SA of a link that an earlier life left behind.
func newStray(e *spanEnd) *ipsec.SA {
	key := ipsec.NewKey(make([]byte, linkKeyLen))
	return &ipsec.SA{
		ID: ipsec.SAID{SPI: ipsec.NewSPI(e.id, 77777), Dst: e.addr, Proto: ipsec.ESP}, Direction: ipsec.Inbound, Sender: e.id,
		Algorithms: linkAlgorithms, Encryption: key, Local: e.addr, Remote: e.other().addr, Link: &ipsec.Link{Member: e.other().id},
	}
}

func TestLinkCountsOnWhenItIsReplaced(t *testing.T) {
	s := newLinked(t)
	a, b := s.ends[0], s.ends[1]
	send := func(n int) {
		for range n {
			p, err := a.plane.Outbound(a.out[len(a.out)-1])
			if err != nil {
				t.Fatal(err)
			}
			if err := b.plane.Inbound(a.out[len(a.out)-1], p.Seq); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(3)
	s.connect()
	s.rest()
	send(2)
	a.count(false)
	b.count(false)
	if st := a.status(); st.Sent != 5 || st.Received != 0 {
		t.Errorf("The link should have sent 5 packets and received none, got %d and %d.", st.Sent, st.Received)
	}
	if st := b.status(); st.Received != 5 || st.Sent != 0 {
		t.Errorf("The other end should have received 5 packets and sent none, got %d and %d.", st.Received, st.Sent)
	}
}

func TestLinkNewsOnTheWire(t *testing.T) {
	want := LinkNews{SPI: 0x10203040, Seen: 0x20304050, Receives: true, Settled: true, Armed: true}
	b := want.AppendTo(nil)
	for n := range b {
		if _, err := ParseLinkNews(b[:n]); err == nil {
			t.Errorf("A prefix of %d octets should be refused.", n)
		}
	}
	if got, err := ParseLinkNews(append(b, "more, of a later version"...)); err != nil || got != want {
		t.Errorf("What arrives is %+v (%v), it should be %+v.", got, err, want)
	}
}

// TestLinksThroughAnything plays random troubles from seeds. At rest both ends have
// one pair that fits; on the way no key sends twice, and nothing is sent that
// cannot arrive.
func TestLinksThroughAnything(t *testing.T) { // F9, I1
	for seed := range uint64(500) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { playLinks(newLinked(t), rand.New(rand.NewPCG(seed, 0))) })
	}
}

func playLinks(s *span, r *rand.Rand) {
	for range 60 {
		e := s.ends[r.IntN(2)]
		switch r.IntN(16) {
		case 0:
			s.connect()
		case 1:
			s.disconnect()
		case 2:
			e.reset()
		case 3:
			e.arm()
		case 4:
			e.news = nil
		case 5:
			s.pass(time.Duration(r.IntN(3000)) * time.Millisecond)
		case 6:
			e.plane.Inject(mem.CallInstall, mem.Fail(offload.ErrExhausted))
		case 7:
			e.count(r.IntN(4) == 0)
		case 8, 9, 10, 11:
			e.carry()
		default:
			e.hear()
		}
	}
	s.connect()
	s.rest()
	s.pass(2 * linkRest)
	s.rest()
	s.wantUp("After all troubles")
}
