package ha

import (
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// peer is what we know of another member.
type peer struct {
	id    ipsec.MemberID
	heard time.Time
	// spoke is when it was really heard: heard has allowances for us.
	spoke time.Time
	alive bool
	unfit bool
	life  Life
	disk  DiskID
	// retired are disks that it had before.
	retired []DiskID
	// judged is the life whose Hello has told of those before it.
	judged Life
	role   Role
	// highest is the highest version of the protocol that it reads, 0 when it is not
	// known.
	highest uint16
	goes    bool // it has said goodbye, and where its stream ends
	// whole: we have had everything of this life of it, once. What came later may
	// be missing while its stream begins anew; a copy of the time before is better
	// than none.
	whole bool
	// standing is what it says of itself as part of a unit, nil outside of one.
	standing *Standing

	// hello is what its present stream began with, nil until then: nothing is
	// given to a member that has not said what became of its earlier lives.
	hello *Hello
	out   outgoing
	in    incoming
	// told is how far its streams to us are known to go.
	told position
	// lacked: we may not have had all that its last life told.
	lacked bool
	// synced: it has acknowledged all that we own.
	synced bool
	// adoptAt is when its unclaimed tunnels are looked at, adoptRank how often
	// that has been done already.
	// Those that are still to be looked at are adopting; spared have been, and
	// were left to others.
	adoptAt   time.Time
	adoptRank int
	adopting  []*tunnel
	spared    int
	// fellOut is how often it was slower than its queue is long.
	fellOut uint64
	// mark is the position in our stream that it must reach before
	// HardState.Armed can be cleared.
	mark uint64
}

// present tells whether p can be given tunnels.
func (p *peer) present() bool { return p.alive && p.hello != nil }

// lives tells whether p can own tunnels that traffic may go to.
func (p *peer) lives() bool {
	return p.alive && !p.unfit && (p.standing == nil || p.standing.Primary)
}

// maxRetired bounds the memory of disks that a member has lost.
const maxRetired = 8

// onFrame takes what another member says.
func (n *Node) onFrame(now time.Time, f Frame) {
	p := n.sender(f)
	if p == nil {
		return
	}
	n.seen = max(n.seen, min(f.Count, maxCount))
	if !n.meet(now, p, f) {
		n.stats.StaleFrames++
		return
	}
	p.highest = max(f.Protocol, f.Highest)
	p.heard, p.spoke, p.role = now, now, f.Role
	n.noteStanding(p, f.Standing)
	if f.Leaving {
		n.onGoodbye(now, p, f)
		return
	}
	if !p.alive {
		p.alive = true
		n.open(p)
	}
	n.noteFitness(now, p, f.Unfit)
	if f.ToLife != n.hard.Life || f.ToDisk != n.hard.Disk {
		return // what it says is for an earlier life of ours
	}
	p.noteEnd(f)
	if len(f.Records) > 0 {
		n.onSegment(now, p, f)
	}
	n.onAck(now, p, f.Ack)
}

// onGoodbye takes leave of p once its last news are here: they travel on another
// way than the goodbye, and may come after it. A frame without records says where
// they end.
func (n *Node) onGoodbye(now time.Time, p *peer, f Frame) {
	if !p.alive {
		return
	}
	ours := f.ToLife == n.hard.Life && f.ToDisk == n.hard.Disk
	if ours {
		p.noteEnd(f)
		if len(f.Records) > 0 {
			n.onSegment(now, p, f)
		}
	}
	p.goes = p.goes || len(f.Records) == 0
	if ours && (!p.goes || p.told.stream == p.in.stream && p.told.seq > p.in.recv+1) {
		return
	}
	n.bury(now, p)
}

// sender finds out who a frame is from, nil when it is not for us.
func (n *Node) sender(f Frame) *peer {
	switch {
	case f.Group != n.cfg.Group, f.To != n.cfg.Member, f.From >= ipsec.MaxMembers, n.peers[f.From] == nil:
		n.stats.ForeignFrames++
		return nil
	case f.Protocol < n.cfg.MinProtocol, f.Protocol > n.cfg.MaxProtocol:
		n.stats.ProtocolMismatches++
		return nil
	case f.Life == 0 || f.Disk == 0:
		n.stats.BadFrames++
		return nil
	}
	return n.peers[f.From]
}

// meet tells whether a frame is of the life of p that we know, or of a newer
// one, which ends the one that we know.
func (n *Node) meet(now time.Time, p *peer, f Frame) bool {
	if f.Disk == p.disk {
		if f.Life < p.life {
			return false
		}
	} else if slices.Contains(p.retired, f.Disk) {
		return false
	}
	if f.Disk == p.disk && f.Life == p.life {
		return true
	}
	if p.alive {
		n.bury(now, p)
	}
	if p.disk != 0 && p.disk != f.Disk {
		n.replaced(p)
	}
	p.lacked = n.missed(p)
	p.life, p.disk, p.judged, p.hello, p.in, p.whole, p.told = f.Life, f.Disk, 0, nil, incoming{}, false, position{}
	return true
}

// bury declares p dead. What it owned may start here with its first packet.
func (n *Node) bury(now time.Time, p *peer) {
	n.stats.Deaths++
	p.alive, p.goes = false, false
	n.drop(p)
	n.succeed(now, p)
	if len(n.claims) > 0 {
		n.restoreUnwaited() // some may have waited for p only
	}
}

// noteFitness treats a member without a dataplane as dead, but for its word.
func (n *Node) noteFitness(now time.Time, p *peer, unfit bool) {
	if unfit && !p.unfit {
		p.unfit = true
		n.succeed(now, p)
	}
	p.unfit = unfit
}

// succeed does what the loss of p asks for. Where units are, that is for
// succession to find out.
func (n *Node) succeed(now time.Time, p *peer) {
	if n.unit == nil && p.standing == nil {
		n.arm(now, p)
		return
	}
	n.elect(now)
	n.inherit(now, p)
}

// heartbeat makes sure that every member hears from us.
func (n *Node) heartbeat() {
	for _, p := range n.peers {
		if p != nil {
			n.send(p, 0, nil)
		}
	}
}

// protocol is the version in which we speak to p: the highest one that both of us
// know. Who has not said which it knows may be a release behind, or one ahead.
func (n *Node) protocol(p *peer) uint16 {
	return max(n.cfg.MinProtocol, min(n.cfg.MaxProtocol, p.highest))
}

func (n *Node) send(p *peer, first uint64, records []Record) {
	f := Frame{
		Protocol: n.protocol(p), Highest: n.cfg.MaxProtocol, Group: n.cfg.Group, From: n.cfg.Member, To: p.id,
		Life: n.hard.Life, ToLife: p.life, Disk: n.hard.Disk, ToDisk: p.disk, Count: n.seen,
		Unfit: !n.planeUp, Leaving: n.gone, Role: n.role,
		Ack: n.ack(p), Standing: n.standing(n.last),
	}
	f.Stream, f.First = p.out.stream, p.out.end()+1
	if len(records) > 0 {
		f.First, f.Records = first, records
	}
	p.in.owed = false
	n.rd.Send = append(n.rd.Send, f)
}

// onHello begins a stream of p.
func (n *Node) onHello(p *peer, h Hello) {
	if len(h.Classes) > n.cfg.Limits.Classes {
		n.stats.BadFrames++
		return
	}
	for id, disk := range h.Disks {
		if o := n.peers[id]; o != nil && o != p && o.disk == 0 {
			o.disk = disk // its old lives are known to somebody
		}
	}
	if p.judged != p.life {
		n.judge(p, h)
		p.judged = p.life
	}
	p.hello = &h
	// What it holds of ours may be another set than before.
	p.synced = false
	n.ungive(p)
	n.tellUnheld(p)
	n.compare(p)
}

// hello is what our streams begin with.
func (n *Node) hello() Hello {
	h := Hello{Armed: n.unsure, Classes: n.classes, Adopts: n.adopts}
	for id, p := range n.peers {
		if p != nil {
			h.Disks[id] = p.disk
		}
	}
	h.Disks[n.cfg.Member] = n.hard.Disk
	return h
}

// eligible tells whether p should hold t: it has the same phase 1, in sync.
func (n *Node) eligible(p *peer, t *tunnel) bool { return n.shares(p, t.ike.Class) }

// shares tells whether p has a phase 1 as we have it, both in sync.
func (n *Node) shares(p *peer, class string) bool {
	if p.hello == nil {
		return false
	}
	theirs, ok := p.hello.Classes[class]
	ours, mine := n.classes[class]
	return ok && mine && theirs == ours
}
