package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/mem"
)

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
	if _, err := a.plane.Install(t.Context(), 0, offload.Active, stray); err != nil {
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
	if _, err := a.plane.Delete(t.Context(), 0, a.out...); err != nil {
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
