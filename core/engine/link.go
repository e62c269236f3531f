package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

const (
	// linkRepeat is how often news go to a member that has not confirmed them.
	linkRepeat = time.Second
	// linkLinger is how long an inbound SA stays after the other end has stopped
	// sending on it, for what is still under way.
	linkLinger = time.Second
	// linkGrace is how long a link outlives its session: streams break and come
	// back while members and their networks work.
	linkGrace = time.Minute
	// linkRest follows a refusal by the dataplane.
	linkRest = 10 * time.Second
	// maxOldLinks bounds the pairs that the other end may still send on.
	maxOldLinks = 8

	// linkLabel names the keys of links among those that a session yields.
	linkLabel = "link esp"
)

// linkAlgorithms protect all links: with ESN their numbers outlast the members.
var linkAlgorithms = ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 256, ESN: true}

// linkKeyLen is that of KEYMAT: a salt of four octets follows the key (RFC 4106
// section 8.1).
const linkKeyLen = 32 + 4

// Links are the links of one member to all others: pairs of SAs in the dataplane
// that carry packets to the owner of their tunnel (package offload). It is a pure
// machine; one goroutine owns it.
//
// The member with the lower id offers an SPI, and the other one answers with its
// own, as in CREATE_CHILD_SA (RFC 7296 section 1.3). No SPI is offered twice in a
// session, and the keys of the pair come from the session and both SPIs; so a pair
// that follows another, for whatever reason, has keys of its own (invariant I1). An
// end says when it can receive. Only then does the other one send, and only when
// both do go the SAs that the pair replaces. An end that has to start again (a new
// session, a dataplane that lost its SAs, an arming) makes a new offer, or asks for
// one that is newer than the last.
type Links struct {
	member ipsec.MemberID
	local  netip.Addr
	log    *slog.Logger
	next   uint32 // of the SPIs
	// unable says why the dataplane can hold no links.
	unable error
	peers  [ipsec.MaxMembers]*link
	stats  LinkStats
	rd     LinkReady
}

// link is what we know of the link to one member.
type link struct {
	member  ipsec.MemberID
	session LinkSession // of ID 0 when there is none
	state   linkState
	// mine is our SPI, 0 for none; theirs is the one that goes with it, or the last
	// offer that we had.
	mine, theirs ipsec.SPI
	// They receive on theirs, they send on mine.
	theyReceive, theySend bool
	// armed: we send what is for their tunnels ourselves, theyArmed: they do so for
	// ours.
	armed, theyArmed bool
	since            time.Time // of linkUp
	old              []linkPair
	// at is when something is due, by what it is about.
	repeatAt, retireAt, expireAt, retryAt time.Time
	err                                   error
	// live are the dataplane's last word of the SAs that are there, gone adds up
	// those that were.
	live map[ipsec.SAID]offload.Counters
	gone linkTraffic
}

// linkTraffic is what a link has carried.
type linkTraffic struct {
	sent, received uint64
	drops          offload.Drops
}

// linkState of the pair that an end makes.
type linkState uint8

const (
	linkDown      linkState = iota // no session, or the dataplane refused
	linkOffered                    // we wait for the other end's SPI: offered ours, or asked
	linkInstalls                   // the inbound SA goes into the dataplane
	linkReceives                   // we wait until the other end receives
	linkCompletes                  // the outbound SA goes into the dataplane
	linkUp
)

var linkStates = [...]string{
	linkDown: "down", linkOffered: "offered", linkInstalls: "offered", linkReceives: "receiving", linkCompletes: "receiving", linkUp: "up",
}

// LinkStates are all that a LinkStatus may say.
func LinkStates() []string { return []string{"down", "offered", "receiving", "up"} }

// linkPair names the SAs of a link in the dataplane.
type linkPair struct{ in, out ipsec.SAID }

// LinkSession is an authenticated stream with a member, from which keys come.
type LinkSession struct {
	Member ipsec.MemberID
	// ID is not 0, and the same at both ends.
	ID uint64
	// Remote is the member's own address.
	Remote netip.Addr
}

// LinkNews is what one end of a link tells the other.
type LinkNews struct {
	// SPI is the sender's, 0 for none.
	SPI ipsec.SPI
	// Seen is the receiver's, 0 when the sender has not heard one.
	Seen ipsec.SPI
	// Receives and Sends: the sender's inbound and outbound SAs of the two are in
	// its dataplane. Settled: it knows the same of the receiver.
	Receives, Sends, Settled bool
	// Armed: the sender sends what is for the receiver's tunnels itself.
	Armed bool
	// Ask for an offer that is newer than Seen.
	Ask bool
	// Unable: the sender's dataplane has no links.
	Unable bool
}

const (
	linkNewsLen  = 9
	flagReceives = 1 << 0
	flagSends    = 1 << 1
	flagSettled  = 1 << 2
	flagAsk      = 1 << 3
	flagUnable   = 1 << 4
	flagArmed    = 1 << 5
)

// AppendTo encodes n behind b: SPIs first, in network byte order.
func (n LinkNews) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(n.SPI))
	b = binary.BigEndian.AppendUint32(b, uint32(n.Seen))
	var flags byte
	for flag, set := range map[byte]bool{
		flagReceives: n.Receives, flagSends: n.Sends, flagSettled: n.Settled, flagAsk: n.Ask, flagUnable: n.Unable, flagArmed: n.Armed,
	} {
		if set {
			flags |= flag
		}
	}
	return append(b, flags)
}

// ParseLinkNews decodes what a member has sent. A later version may say more
// behind it.
func ParseLinkNews(b []byte) (LinkNews, error) {
	if len(b) < linkNewsLen {
		return LinkNews{}, fmt.Errorf("engine: news of a link have %d octets, want %d", len(b), linkNewsLen)
	}
	flags := b[8]
	return LinkNews{
		SPI: ipsec.SPI(binary.BigEndian.Uint32(b)), Seen: ipsec.SPI(binary.BigEndian.Uint32(b[4:])),
		Receives: flags&flagReceives != 0, Sends: flags&flagSends != 0, Settled: flags&flagSettled != 0,
		Ask: flags&flagAsk != 0, Unable: flags&flagUnable != 0, Armed: flags&flagArmed != 0,
	}, nil
}

// LinkInput is what may happen to Links.
type LinkInput interface{ linkInput() }

type (
	// LinkPlane begins the life of a dataplane, in which nothing is installed. Unable
	// says why it can hold no links, nil when it can.
	LinkPlane struct{ Unable error }

	// LinkPeerUp begins a session.
	LinkPeerUp struct{ Session LinkSession }

	// LinkPeerDown ends that of a member.
	LinkPeerDown struct{ Member ipsec.MemberID }

	// LinkHeard is what a member tells in the present session.
	LinkHeard struct {
		Member ipsec.MemberID
		News   LinkNews
	}

	// LinkArmed says that the dataplane sends what belongs to this member's tunnels
	// itself.
	LinkArmed struct{ Member ipsec.MemberID }

	// LinkDisarmed says that it does so no more.
	LinkDisarmed struct{ Member ipsec.MemberID }

	// LinkDone answers a LinkOrder with an Install.
	LinkDone struct {
		Member ipsec.MemberID
		ID     ipsec.SAID
		Err    error
	}

	// LinkDeleted answers a LinkOrder with a Delete, with the last counters.
	LinkDeleted struct {
		Member   ipsec.MemberID
		Counters []offload.Counters
	}

	// LinkCounted are the counters of all SAs of links in the dataplane. Complete:
	// events were lost, so what is not among them is to be missed.
	LinkCounted struct {
		Counters []offload.Counters
		Complete bool
	}

	// LinkTimeout says that the time is NextTimeout.
	LinkTimeout struct{}
)

func (LinkPlane) linkInput()    {}
func (LinkPeerUp) linkInput()   {}
func (LinkPeerDown) linkInput() {}
func (LinkHeard) linkInput()    {}
func (LinkArmed) linkInput()    {}
func (LinkDisarmed) linkInput() {}
func (LinkDone) linkInput()     {}
func (LinkDeleted) linkInput()  {}
func (LinkCounted) linkInput()  {}
func (LinkTimeout) linkInput()  {}

// LinkReady is the work of one step.
type LinkReady struct {
	// Orders are for the dataplane, in this order.
	Orders []LinkOrder
	Tell   []LinkTell
}

// LinkOrder installs one SA or deletes some.
type LinkOrder struct {
	Member ipsec.MemberID
	// Install has all but its key: linkKeyLen octets that Session yields for
	// linkLabel and Context.
	Install *ipsec.SA
	Session uint64
	Context []byte
	Delete  []ipsec.SAID
}

// LinkTell is news for a member.
type LinkTell struct {
	To   ipsec.MemberID
	News LinkNews
}

// LinkStats counts what Links did.
type LinkStats struct {
	Made    uint64 // pairs that came into use
	Refused uint64 // SAs that the dataplane did not take
	Ignored uint64 // news that were of no use
}

// LinkStatus describes the link to one member.
type LinkStatus struct {
	Member ipsec.MemberID
	// State is down, offered, receiving or up.
	State string
	Since time.Time // it is up; zero otherwise
	// Armed: the member sends what is for our tunnels itself.
	Armed bool
	Err   error // why it is not
	// Sent and Received count packets, Drops those that came over the link and
	// went no further.
	Sent, Received uint64
	Drops          offload.Drops
}

// NewLinks makes the machine of a member with this address on the members' own
// network. It offers SPIs from first on, which no earlier life may have used for
// SAs that the dataplane still has.
func NewLinks(m ipsec.MemberID, local netip.Addr, first uint32, log *slog.Logger) *Links {
	return &Links{member: m, local: local, next: first, log: log, unable: errNoPlane}
}

var (
	errNoPlane   = errors.New("engine: there is no dataplane yet")
	errNoSession = errors.New("engine: there is no session with the member")
	errNoAnswer  = errors.New("engine: the member has not answered yet")
	errTheirs    = errors.New("engine: the member's dataplane has no links")
)

// Step takes one input. The Ready belongs to the caller.
func (l *Links) Step(now time.Time, in LinkInput) LinkReady {
	l.rd = LinkReady{}
	switch in := in.(type) {
	case LinkPlane:
		l.onPlane(now, in.Unable)
	case LinkPeerUp:
		l.onPeerUp(now, in.Session)
	case LinkPeerDown:
		l.onPeerDown(now, in.Member)
	case LinkHeard:
		l.onHeard(now, in.Member, in.News)
	case LinkArmed:
		l.onArmed(now, in.Member)
	case LinkDisarmed:
		l.onDisarmed(now, in.Member)
	case LinkDone:
		l.onDone(now, in)
	case LinkDeleted:
		l.peer(in.Member).bury(in.Counters...)
	case LinkCounted:
		l.onCounted(now, in)
	case LinkTimeout:
		for _, p := range l.each() {
			l.onTime(now, p)
		}
	}
	return l.rd
}

func (l *Links) each() []*link {
	return slices.DeleteFunc(slices.Clone(l.peers[:]), func(p *link) bool { return p == nil })
}

func (l *Links) peer(m ipsec.MemberID) *link {
	if l.peers[m] == nil {
		l.peers[m] = &link{member: m, err: errNoSession, live: make(map[ipsec.SAID]offload.Counters)}
	}
	return l.peers[m]
}

// NextTimeout is when a LinkTimeout is due, zero for never.
func (l *Links) NextTimeout() time.Time {
	var at time.Time
	for _, p := range l.each() {
		for _, t := range []time.Time{p.repeatAt, p.retireAt, p.expireAt, p.retryAt} {
			if !t.IsZero() && (at.IsZero() || t.Before(at)) {
				at = t
			}
		}
	}
	return at
}

// onPlane starts again: what the last dataplane had is gone.
func (l *Links) onPlane(now time.Time, unable error) {
	if unable != nil && (l.unable == nil || l.unable.Error() != unable.Error()) {
		l.log.Warn("no links to other members: packets for their tunnels are dropped here while they live", "reason", unable)
	}
	l.unable = unable
	for _, p := range l.each() {
		p.bury(slices.Collect(maps.Values(p.live))...)
		// An Install that waited for a dataplane may have reached this one.
		l.clear(p)
		if p.session.ID != 0 {
			l.begin(now, p)
		}
	}
}

func (l *Links) onPeerUp(now time.Time, s LinkSession) {
	if s.Member >= ipsec.MaxMembers || s.Member == l.member {
		return
	}
	p := l.peer(s.Member)
	l.retire(p)
	p.session, p.theirs, p.theyArmed, p.expireAt = s, 0, false, time.Time{}
	l.begin(now, p)
}

// onPeerDown leaves a link in place that is up. One that is being made needs the
// session.
func (l *Links) onPeerDown(now time.Time, m ipsec.MemberID) {
	p := l.peer(m)
	p.session.ID, p.repeatAt, p.retryAt, p.expireAt = 0, time.Time{}, time.Time{}, now.Add(linkGrace)
	if p.state != linkUp {
		l.retire(p)
		p.state, p.err = linkDown, errNoSession
	}
}

// clear ends a link, with all that it has in the dataplane.
func (l *Links) clear(p *link) {
	l.delete(p, append(p.old, p.pair(l.local))...)
	p.old, p.mine, p.state = nil, 0, linkDown
	p.repeatAt, p.retireAt, p.expireAt, p.retryAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
}

// leads tells whether we make the offers.
func (l *Links) leads(p *link) bool { return l.member < p.member }

// begin starts again: with a new offer, or by asking for one.
func (l *Links) begin(now time.Time, p *link) {
	l.retire(p)
	p.repeatAt, p.retryAt, p.retireAt = time.Time{}, time.Time{}, time.Time{}
	if l.unable != nil {
		p.state, p.err = linkDown, l.unable
		l.decline(p)
		return
	}
	if l.leads(p) {
		p.mine, p.theirs = l.newSPI(), 0
	}
	p.state, p.err = linkOffered, errNoAnswer
	l.tell(now, p)
}

func (l *Links) newSPI() ipsec.SPI {
	l.next++
	return ipsec.NewSPI(l.member, l.next)
}

// decline tells the other end that it need not wait for us.
func (l *Links) decline(p *link) {
	l.rd.Tell = append(l.rd.Tell, LinkTell{To: p.member, News: LinkNews{Unable: true}})
}

// retire makes the present pair an old one. It carries until another does, if the
// other end may use it.
func (l *Links) retire(p *link) {
	pair, used := p.pair(l.local), p.state >= linkReceives
	p.theyReceive, p.theySend = false, false
	if p.mine == 0 {
		return
	}
	p.mine = 0
	if !used {
		l.delete(p, pair)
		return
	}
	p.old = append(p.old, pair)
	if n := len(p.old) - maxOldLinks; n > 0 {
		l.delete(p, p.old[:n]...)
		p.old = slices.Delete(p.old, 0, n)
	}
}

// pair names the SAs of the present pair.
func (p *link) pair(local netip.Addr) linkPair {
	return linkPair{
		in:  ipsec.SAID{SPI: p.mine, Dst: local, Proto: ipsec.ESP},
		out: ipsec.SAID{SPI: p.theirs, Dst: p.session.Remote, Proto: ipsec.ESP},
	}
}

// delete takes SAs out of the dataplane.
func (l *Links) delete(p *link, pairs ...linkPair) {
	var ids []ipsec.SAID
	for _, pair := range pairs {
		ids = append(ids, pair.in, pair.out)
	}
	l.deleteIDs(p.member, ids...)
}

func (l *Links) deleteIDs(m ipsec.MemberID, ids ...ipsec.SAID) {
	ids = slices.DeleteFunc(ids, func(id ipsec.SAID) bool { return id.SPI == 0 })
	if len(ids) > 0 {
		l.rd.Orders = append(l.rd.Orders, LinkOrder{Member: m, Delete: ids})
	}
}

// tell says where we are, and says it again until the other end has confirmed.
func (l *Links) tell(now time.Time, p *link) {
	settled := p.state == linkUp && p.theySend
	l.rd.Tell = append(l.rd.Tell, LinkTell{To: p.member, News: LinkNews{
		SPI: p.mine, Seen: p.theirs, Receives: p.state >= linkReceives, Sends: p.state == linkUp, Settled: settled,
		Ask: p.mine == 0, Armed: p.armed,
	}})
	p.repeatAt = time.Time{}
	if !settled {
		p.repeatAt = now.Add(linkRepeat)
	}
}
