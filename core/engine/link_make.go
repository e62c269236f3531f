package engine

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// onHeard goes on with what the other end says.
func (l *Links) onHeard(now time.Time, m ipsec.MemberID, n LinkNews) {
	p := l.peer(m)
	if p.session.ID != 0 {
		p.theyArmed = n.Armed
	}
	switch {
	case p.session.ID == 0:
		l.stats.Ignored++
	case n.Unable:
		l.clear(p)
		p.err = errTheirs
	case l.unable != nil:
		l.decline(p)
	case n.Ask && l.leads(p):
		l.onAsked(now, p, n)
	case n.SPI == 0 || n.SPI.Member() != m:
		l.stats.Ignored++
	case l.leads(p):
		l.onAnswer(now, p, n)
	default:
		l.onOffer(now, p, n)
	}
}

// onAsked makes an offer that is newer than the one that the other end has seen.
func (l *Links) onAsked(now time.Time, p *link, n LinkNews) {
	if p.state == linkDown || p.mine == n.Seen {
		l.begin(now, p)
		return
	}
	l.tell(now, p)
}

// onAnswer takes the SPI that goes with our offer.
func (l *Links) onAnswer(now time.Time, p *link, n LinkNews) {
	switch {
	case p.mine == 0 || n.Seen != p.mine:
		l.stats.Ignored++ // of an offer that is over; the present one is on its way
		return
	case p.theirs == 0:
		p.theirs, p.state = n.SPI, linkInstalls
		l.install(p, ipsec.Inbound)
	case p.theirs != n.SPI:
		l.stats.Ignored++ // an offer is answered once
		return
	}
	l.note(now, p, n)
}

// onOffer answers a new offer with a new SPI of ours.
func (l *Links) onOffer(now time.Time, p *link, n LinkNews) {
	if n.SPI != p.theirs {
		l.retire(p)
		p.repeatAt, p.retryAt, p.retireAt = time.Time{}, time.Time{}, time.Time{}
		p.mine, p.theirs, p.state, p.err = l.newSPI(), n.SPI, linkInstalls, errNoAnswer
		l.install(p, ipsec.Inbound)
	}
	if p.mine == 0 || n.Seen != p.mine {
		return
	}
	l.note(now, p, n)
}

// note takes what the other end says of its SAs of the present pair.
func (l *Links) note(now time.Time, p *link, n LinkNews) {
	known := p.state == linkUp && p.theySend
	p.theyReceive = p.theyReceive || n.Receives
	p.theySend = p.theySend || n.Sends
	l.proceed(now, p)
	if known && !n.Settled {
		l.tell(now, p) // what we told last was lost
	}
}

// proceed does what the state of both ends allows.
func (l *Links) proceed(now time.Time, p *link) {
	if p.state == linkReceives && p.theyReceive {
		p.state = linkCompletes
		l.install(p, ipsec.Outbound)
	}
	if p.state == linkUp && p.theySend && !p.repeatAt.IsZero() {
		l.tell(now, p)
		p.retireAt = now.Add(linkLinger)
	}
}

// install orders one SA of the present pair. Its key belongs to the session, the
// direction and this pair alone.
func (l *Links) install(p *link, d ipsec.Direction) {
	pair := p.pair(l.local)
	sa := ipsec.SA{
		ID: pair.in, Direction: d, Mode: ipsec.Tunnel, Pair: p.theirs, Sender: l.member, Generation: 1,
		Algorithms: linkAlgorithms, Local: l.local, Remote: p.session.Remote,
		Link: &ipsec.Link{Member: p.member},
		// The path of the tunnel is what senders must learn, from its owner.
		Header: ipsec.HeaderPolicy{DF: ipsec.DFClear},
	}
	if d == ipsec.Outbound {
		sa.ID, sa.Pair = pair.out, p.mine
	}
	context := binary.BigEndian.AppendUint32(nil, uint32(sa.ID.SPI))
	context = binary.BigEndian.AppendUint32(context, uint32(sa.Pair))
	l.rd.Orders = append(l.rd.Orders, LinkOrder{Member: p.member, Install: &sa, Session: p.session.ID, Context: context})
}

// onDone goes on with an SA that is in the dataplane, or is not.
func (l *Links) onDone(now time.Time, in LinkDone) {
	p := l.peer(in.Member)
	pair := p.pair(l.local)
	inbound, outbound := p.state == linkInstalls && in.ID == pair.in, p.state == linkCompletes && in.ID == pair.out
	switch {
	case !inbound && !outbound: // of an offer that is over
	case in.Err != nil:
		l.refused(now, p, in)
	case inbound:
		p.state = linkReceives
		l.tell(now, p)
		l.proceed(now, p)
	default:
		l.up(now, p)
	}
}

// refused starts again after a while. A dataplane that is down, or a session that
// is over, comes back before that.
func (l *Links) refused(now time.Time, p *link, in LinkDone) {
	passing := func(err error) bool { return errors.Is(in.Err, err) }
	if !slices.ContainsFunc([]error{offload.ErrDown, offload.ErrNotConfigured, errNoKey}, passing) {
		l.stats.Refused++
		l.log.Warn("dataplane refused a link to a member", "member", p.member, "sa", in.ID.String(), "error", in.Err)
	}
	l.retire(p) // the other end may use the inbound SA already
	p.state, p.err, p.repeatAt, p.retryAt = linkDown, in.Err, time.Time{}, now.Add(linkRest)
}

// up: from now on packets leave by the new pair, so those that left before do no
// more. What still comes in by them does so until the other end says the same.
func (l *Links) up(now time.Time, p *link) {
	p.state, p.since, p.err = linkUp, now, nil
	l.stats.Made++
	l.log.Info("link to a member is up", "member", p.member, "remote", p.session.Remote)
	l.deleteOldOutbound(p)
	l.tell(now, p)
	if p.theySend {
		p.retireAt = now.Add(linkLinger)
	}
}

func (l *Links) deleteOldOutbound(p *link) {
	for i := range p.old {
		l.deleteIDs(p.member, p.old[i].out)
		p.old[i].out = ipsec.SAID{}
	}
}

// onArmed: nothing goes to that member any more, which is dead or has no
// dataplane. Where it lives, the link is made again; until then what it still
// sends arrives.
func (l *Links) onArmed(now time.Time, m ipsec.MemberID) {
	p := l.peer(m)
	p.armed = true
	l.retire(p)
	l.deleteOldOutbound(p)
	if p.session.ID != 0 {
		l.begin(now, p)
		return
	}
	l.clear(p)
	p.err = errNoSession
}

func (l *Links) onDisarmed(now time.Time, m ipsec.MemberID) {
	if m >= ipsec.MaxMembers || m == l.member {
		return
	}
	p := l.peer(m)
	if p.armed = false; p.session.ID != 0 && p.state != linkDown {
		l.tell(now, p)
	}
}

// onTime does what is due.
func (l *Links) onTime(now time.Time, p *link) {
	due := func(at *time.Time) bool {
		if at.IsZero() || now.Before(*at) {
			return false
		}
		*at = time.Time{}
		return true
	}
	if due(&p.retireAt) {
		l.delete(p, p.old...)
		p.old = nil
	}
	if due(&p.expireAt) {
		l.clear(p)
		p.err = errNoSession
	}
	if due(&p.retryAt) {
		l.begin(now, p)
	}
	if due(&p.repeatAt) {
		l.tell(now, p)
	}
}

// onCounted notes what links have carried. Where events were lost, it deletes SAs
// of links that nobody knows and makes links again that are missing.
func (l *Links) onCounted(now time.Time, in LinkCounted) {
	known, have := make(map[ipsec.SAID]*link), make(map[ipsec.SAID]bool)
	for _, p := range l.each() {
		for _, pair := range append(p.old, p.pair(l.local)) {
			known[pair.in], known[pair.out] = p, p
		}
	}
	for _, c := range in.Counters {
		have[c.ID] = true
		if p := known[c.ID]; p != nil {
			p.live[c.ID] = c
		} else if in.Complete && c.Link != nil {
			l.deleteIDs(c.Link.Member, c.ID)
		}
	}
	if !in.Complete {
		return
	}
	for _, p := range l.each() {
		if pair := p.pair(l.local); p.state == linkUp && p.session.ID != 0 && !(have[pair.in] && have[pair.out]) {
			l.begin(now, p)
		}
	}
}

// bury notes the last counters of SAs.
func (p *link) bury(counters ...offload.Counters) {
	for _, c := range counters {
		delete(p.live, c.ID)
		p.gone.add(c)
	}
}

func (t *linkTraffic) add(c offload.Counters) {
	if c.Direction == ipsec.Inbound {
		t.received += c.Packets
	} else {
		t.sent += c.Packets
	}
	t.drops = sumDrops(t.drops, c.Drops)
}

// Status describes the links to members that have had a session with us, in order.
func (l *Links) Status() []LinkStatus {
	var out []LinkStatus
	for _, p := range l.each() {
		all := p.gone
		for _, c := range p.live {
			all.add(c)
		}
		st := LinkStatus{
			Member: p.member, State: linkStates[p.state], Err: p.err,
			Armed: p.theyArmed, Sent: all.sent, Received: all.received, Drops: all.drops,
		}
		if p.state == linkUp {
			st.Since = p.since
		}
		out = append(out, st)
	}
	return out
}

// Stats returns the counters.
func (l *Links) Stats() LinkStats { return l.stats }
