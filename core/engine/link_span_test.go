package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
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

// newStray is an SA of a link that an earlier life left behind.
func newStray(e *spanEnd) *ipsec.SA {
	key := ipsec.NewKey(make([]byte, linkKeyLen))
	return &ipsec.SA{
		ID: ipsec.SAID{SPI: ipsec.NewSPI(e.id, 77777), Dst: e.addr, Proto: ipsec.ESP}, Direction: ipsec.Inbound, Sender: e.id,
		Algorithms: linkAlgorithms, Encryption: key, Local: e.addr, Remote: e.other().addr, Link: &ipsec.Link{Member: e.other().id},
	}
}
