package ha

import (
	"math"
	"time"
)

// A stream carries records to one other member, in order and each once, over
// frames that may do what they like. It goes back to the first record that is
// not acknowledged when an answer is late. It ends with the life of either
// member, when the other is declared dead, and when it is too slow; the next
// one begins with a Hello and a comparison of digests.

type outgoing struct {
	stream uint64
	base   uint64 // sequence number of queue[0]
	queue  []item
	sent   int // how many of queue are under way
	octets int

	// arrived is the last record that is known to have arrived, as have all before,
	// whether or not it is carried out.
	arrived  uint64
	resendAt time.Time // zero while nothing is under way
	backoff  int
	sync     syncing
	lag      lag
}

type item struct {
	rec   Record
	index Index // what waits for it, 0 for nothing
	note  bool
}

// lag is how long records wait until the other member has carried them out. One of
// them is timed at a time, as TCP does with its round trips.
type lag struct {
	seq  uint64 // of the record that is timed, 0 for none
	at   time.Time
	last time.Duration
}

// begin times a record that was queued, if none is timed.
func (l *lag) begin(now time.Time, seq uint64) {
	if l.seq == 0 {
		l.seq, l.at = seq, now
	}
}

// end notes that all records up to one are carried out.
func (l *lag) end(now time.Time, seq uint64) {
	if l.seq != 0 && l.seq <= seq {
		l.seq, l.last = 0, now.Sub(l.at)
	}
}

// since is the lag as of now: that of the record which is timed, when it waits for
// longer already than the one before.
func (l *lag) since(now time.Time) time.Duration {
	if l.seq == 0 {
		return l.last
	}
	return max(l.last, now.Sub(l.at))
}

// end is the sequence number of the last record that was queued.
func (o *outgoing) end() uint64 { return o.base + uint64(len(o.queue)) - 1 }

type incoming struct {
	stream   uint64
	recv     uint64 // the last record that was taken
	complete bool   // a Synced was received
	// waiting are records whose orders are not carried out yet.
	waiting []waitingAck
	// notes and after are what our acknowledgement presupposes.
	notes, after uint64
	// untold are notes that went down with our stream.
	untold []Record
	owed   bool // an acknowledgement
}

type waitingAck struct{ seq, serial uint64 }

// position is a place in the streams of a member's life.
type position struct{ stream, seq uint64 }

// noteEnd learns from any frame how far the sender's stream goes.
func (p *peer) noteEnd(f Frame) {
	end := position{f.Stream, f.First + uint64(len(f.Records))}
	if end.stream > p.told.stream || end.stream == p.told.stream && end.seq > p.told.seq {
		p.told = end
	}
}

// missed tells whether p has told more, or may have, than we have got of it: it
// was telling everything anew, or its last records were on their way, or we were
// away ourselves while it did not wait for us.
func (n *Node) missed(p *peer) bool {
	in := position{p.in.stream, p.in.recv + 1}
	return !p.in.complete || p.told.stream > in.stream || p.told.stream == in.stream && p.told.seq > in.seq || n.woke.After(p.spoke)
}

// Limits of one frame.
const (
	frameRecords = 64
	frameOctets  = 128 << 10
)

// open starts a stream to p, which has just been heard.
func (n *Node) open(p *peer) {
	n.drop(p)
	n.restart(p)
	if p.hello != nil {
		n.tellUnheld(p)
		n.compare(p)
	}
}

// restart begins a new stream, with the notes of the last one.
func (n *Node) restart(p *peer) {
	n.enqueue(p, n.hello(), 0)
	untold := p.in.untold
	p.in.untold = nil
	for _, r := range untold {
		n.note(p, r)
	}
}

// drop ends the stream to p. What was not acknowledged is told again when it
// syncs the next time.
func (n *Node) drop(p *peer) {
	n.keepNotes(p)
	p.out = outgoing{stream: p.out.stream + 1, base: 1, sync: syncing{round: p.out.sync.round}}
	p.synced, p.mark = false, 0
	n.marked = false
	n.ungive(p)
}

// keepNotes saves the notes that p has not had. What they qualify is not
// acknowledged before p has them on the next stream; where they are too many,
// never, so that p begins anew.
func (n *Node) keepNotes(p *peer) {
	o := &p.out
	if p.in.notes != o.stream || p.in.after < o.base {
		if p.in.notes == o.stream {
			p.in.notes, p.in.after = 0, 0
		}
		return
	}
	for _, it := range o.queue {
		if it.note {
			p.in.untold = append(p.in.untold, it.rec)
		}
	}
	if len(p.in.untold) > n.cfg.Limits.Queue/4 {
		p.in.untold, p.in.notes, p.in.after = nil, o.stream+1, math.MaxUint64
	}
}

// ungive forgets that p has been given anything.
func (n *Node) ungive(p *peer) {
	for _, t := range n.ownedBy(n.cfg.Member) {
		t.given, t.told = t.given.Without(p.id), t.told.Without(p.id)
	}
}

// enqueue appends a record to the stream to p. A member that is slower than its
// queue is long falls out, so that it never holds up the others.
func (n *Node) enqueue(p *peer, r Record, index Index) {
	n.push(p, item{rec: r, index: index})
}

func (n *Node) push(p *peer, it item) {
	if !p.alive {
		return
	}
	o := &p.out
	o.queue = append(o.queue, it)
	o.octets += it.rec.octets()
	o.lag.begin(n.last, o.end())
	if len(o.queue) > n.cfg.Limits.Queue || o.octets > n.cfg.Limits.QueueOctets {
		n.stats.FellOut++
		p.fellOut++
		n.drop(p)
		n.restart(p)
		if p.hello != nil {
			n.compare(p)
		}
	}
}

// flush sends what the window allows, and an acknowledgement that is owed.
func (n *Node) flush(now time.Time, p *peer) {
	if !p.alive || p.life == 0 {
		return
	}
	o := &p.out
	limit := min(len(o.queue), n.cfg.Limits.Window)
	for o.sent < limit {
		first, size := o.sent, 0
		records := make([]Record, 0, min(frameRecords, limit-o.sent))
		for o.sent < limit && len(records) < frameRecords && size < frameOctets {
			r := o.queue[o.sent].rec
			size += r.octets()
			records = append(records, r)
			o.sent++
		}
		n.send(p, o.base+uint64(first), records)
		if o.resendAt.IsZero() {
			o.resendAt = now.Add(n.resendAfter(o))
		}
	}
	if p.in.owed {
		n.send(p, 0, nil)
	}
}

// maxBackoff limits the doubling of the time until a retransmission.
const maxBackoff = 4

func (n *Node) resendAfter(o *outgoing) time.Duration {
	return 2 * n.cfg.Heartbeat << min(o.backoff, maxBackoff)
}

// retransmit goes back when the answer is late: to what has not arrived, as a slow
// member would only get slower if it had to read again what it is at work on.
func (n *Node) retransmit(now time.Time, p *peer) {
	o := &p.out
	if o.resendAt.IsZero() || now.Before(o.resendAt) {
		return
	}
	there := 0
	if o.arrived >= o.base {
		there = min(o.sent, int(o.arrived-o.base)+1)
	}
	n.stats.Resent += uint64(o.sent - there)
	o.sent, o.resendAt = there, time.Time{}
	o.backoff++
}

// onSegment takes the records that come next.
func (n *Node) onSegment(now time.Time, p *peer, f Frame) {
	in := &p.in
	if f.Stream < in.stream {
		n.stats.StaleFrames++
		return
	}
	if f.Stream > in.stream {
		if _, begins := f.Records[0].(Hello); f.First != 1 || !begins {
			return // its beginning comes again
		}
		p.in = incoming{stream: f.Stream}
		if n.ordered() > n.carried {
			// What p knows us to have of earlier streams is not all in the dataplane yet.
			p.in.waiting = []waitingAck{{seq: 1, serial: n.ordered()}}
		}
		p.hello = nil
	}
	in.owed = true
	for i, r := range f.Records {
		seq := f.First + uint64(i)
		if seq <= in.recv {
			continue
		}
		if seq != in.recv+1 || p.in.stream != f.Stream {
			return
		}
		before := len(n.rd.Orders)
		n.onRecord(now, p, r)
		if p.in.stream != f.Stream {
			return
		}
		in.recv = seq
		if len(n.rd.Orders) > before {
			in.waiting = append(in.waiting, waitingAck{seq, n.ordered()})
		}
	}
}

// ack tells p how far its records are carried out.
func (n *Node) ack(p *peer) Ack {
	in := &p.in
	seq := in.recv
	if len(in.waiting) > 0 {
		seq = in.waiting[0].seq - 1
	}
	return Ack{Stream: in.stream, Seq: seq, Notes: in.notes, After: in.after, Arrived: in.recv}
}

// note queues a record that qualifies what we acknowledge to p.
func (n *Node) note(p *peer, r Record) {
	if !p.alive {
		return
	}
	p.in.notes, p.in.after = p.out.stream, p.out.end()+1
	n.push(p, item{rec: r, note: true})
}

// onAck takes acknowledged records off the queue.
func (n *Node) onAck(now time.Time, p *peer, a Ack) {
	o := &p.out
	if a.Stream == o.stream && o.sent > 0 && (a.Arrived > o.arrived || a.Arrived == o.base+uint64(o.sent)-1) {
		o.resendAt = now.Add(n.resendAfter(o)) // nothing is known to be lost: p is at work
	}
	if a.Stream == o.stream {
		o.arrived = max(o.arrived, min(a.Arrived, o.base+uint64(o.sent)-1))
	}
	if a.Stream != o.stream || a.Seq < o.base || a.Seq > o.end() {
		return
	}
	if a.Notes != 0 && (a.Notes != p.in.stream || a.After > p.in.recv) {
		return // a note on its way says that not all of it is so
	}
	count := int(a.Seq - o.base + 1)
	done := o.queue[:count:count]
	o.queue = o.queue[count:]
	o.lag.end(now, a.Seq)
	o.base, o.sent, o.backoff = a.Seq+1, max(0, o.sent-count), 0
	o.resendAt = time.Time{}
	if o.sent > 0 {
		o.resendAt = now.Add(n.resendAfter(o))
	}
	for _, it := range done {
		o.octets -= it.rec.octets()
		if it.index != 0 {
			n.acknowledged(p, it.index)
		}
		switch r := it.rec.(type) {
		case Claim:
			n.claimKnown(p, r)
		case Synced:
			n.syncedBy(p, r)
		}
	}
}

// onCarried continues what waited for the dataplane.
func (n *Node) onCarried(in Carried) {
	for _, id := range in.Refused {
		if c := n.bySA[id]; c != nil {
			n.refuse(c)
		}
	}
	n.carried = max(n.carried, min(in.Serial, n.serial))
	for _, p := range n.peers {
		if p == nil {
			continue
		}
		for len(p.in.waiting) > 0 && p.in.waiting[0].serial <= n.carried {
			p.in.waiting = p.in.waiting[1:]
			p.in.owed = true
		}
	}
	n.keepPromises()
}
