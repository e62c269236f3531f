package transport

import (
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// Traffic counts frames and their octets, framing included, TLS and below not.
type Traffic struct{ Frames, Octets uint64 }

// PeerStatus is a peer as it is now. Counters run since the Mesh was made and
// over all sessions; a frame counts as sent when the kernel has taken it, as
// received when it is about to be delivered.
type PeerStatus struct {
	Addr netip.AddrPort
	// Member is the member that is there, or was last; nil when none was yet.
	Member *ipsec.MemberID
	// Session is set while there is one.
	Session *Session
	// Expires is when the peer's certificate does. A session outlives it; the
	// next one is refused.
	Expires time.Time
	// RTT of the stream, smoothed, queues of the kernel included; 0 when not
	// measured yet.
	RTT    time.Duration
	Queued [Classes]Depth

	Sent, Received [Classes]Traffic
	// Full counts frames that Send dropped.
	Full [Classes]uint64
	// Unknown counts received frames of classes that this version does not
	// know, Ignored those of the transport's own that it does not.
	Unknown Traffic
	Ignored uint64

	Heartbeats HeartbeatStatus
	// Links are the ways to it, that of Addr first.
	Links []LinkStatus

	// Refused counts connections that became no session, by reason.
	Refused map[Reason]uint64
	// LastError says why the last session ended, or the last attempt failed,
	// whichever is later; nil when there was neither.
	LastError   error
	LastErrorAt time.Time
}

// HeartbeatStatus counts datagrams.
type HeartbeatStatus struct {
	Sent, Received uint64
	// Unsent is what the kernel did not take.
	Unsent uint64
	// Lost is how many the peer numbered and we never saw: the loss of the path
	// towards us. The other direction is in the peer's own status.
	Lost uint64
	// RTT is of the last one, 0 when none was measured.
	RTT time.Duration
	// Last is when the last one came, zero for never.
	Last time.Time
	// Dropped: not a heartbeat, of a session that we do not have (any more),
	// not sealed by the peer, or seen before.
	Malformed, Outdated, Forged, Replayed uint64
}

// SessionType returns the counters that the operator's view of standalone peers
// calls session-type: frames of all classes but Packet.
func (s PeerStatus) SessionType() (sent, received uint64) {
	for c := range Classes {
		if Class(c) != Packet {
			sent += s.Sent[c].Frames
			received += s.Received[c].Frames
		}
	}
	return sent, received + s.Unknown.Frames
}

// PacketType returns those that it calls packet-type: clients' packets that
// were sent on to the member whom they are for.
func (s PeerStatus) PacketType() (sent, received uint64) {
	return s.Sent[Packet].Frames, s.Received[Packet].Frames
}

// Stats are what belongs to no peer.
type Stats struct {
	// Strangers are connections, and StrangeHeartbeats datagrams, from
	// addresses that are no peer's.
	Strangers, StrangeHeartbeats uint64
	// AcceptErrors and ReceiveErrors came from the kernel.
	AcceptErrors, ReceiveErrors uint64
}

// Stats counts since the Mesh was made.
func (m *Mesh) Stats() Stats {
	return Stats{
		Strangers: m.n.strangers.Load(), StrangeHeartbeats: m.n.strangeBeats.Load(),
		AcceptErrors: m.n.acceptErrors.Load(), ReceiveErrors: m.n.receiveErrors.Load(),
	}
}

// Peers lists the configured peers by address.
func (m *Mesh) Peers() []PeerStatus {
	m.mu.Lock()
	peers := slices.Collect(maps.Values(m.peers))
	m.mu.Unlock()
	slices.SortFunc(peers, func(a, b *peer) int { return a.addr.Compare(b.addr) })
	out := make([]PeerStatus, 0, len(peers))
	for _, p := range peers {
		out = append(out, p.status())
	}
	return out
}

func (p *peer) status() PeerStatus {
	s := p.n.status(p.mesh.started)
	s.Addr = p.addr
	p.mu.Lock()
	s.LastError, s.LastErrorAt = p.lastErr, p.lastErrAt
	if p.last != nil {
		member := p.last.peer
		s.Member = &member
	}
	p.mu.Unlock()
	p.mesh.mu.Lock()
	now := p.current
	if now != nil && !now.begun {
		now = nil
	}
	p.mesh.mu.Unlock()
	var via netip.Addr
	if now != nil && !now.ended() {
		info := now.info
		via = info.Via
		s.Session = &info
		s.Expires = now.chain[0].NotAfter
		s.RTT = time.Duration(now.rtt.Load())
		s.Queued = now.out.depth()
	}
	s.Links = p.links(via)
	return s
}

type meshCounters struct {
	strangers, strangeBeats, acceptErrors, receiveErrors atomic.Uint64
}

// peerCounters is PeerStatus in the making.
type peerCounters struct {
	sent, received traffic
	full           [Classes]atomic.Uint64
	ignored        atomic.Uint64
	refused        [reasons]atomic.Uint64

	beatsSent, beatsUnsent, beatsReceived                     atomic.Uint64
	beatsMalformed, beatsOutdated, beatsForged, beatsReplayed atomic.Uint64
	ways                                                      [MaxLinks + 1]wayCounters
	beatsLost, beatRTT                                        atomic.Int64
	beatAt                                                    atomic.Int64 // since mesh.started, 0 for never
}

// traffic counts by class; the last one is for unknown classes.
type traffic [Classes + 1]struct{ frames, octets atomic.Uint64 }

func (t *traffic) count(f Frame) {
	c := min(f.Class, Classes)
	t[c].frames.Add(1)
	t[c].octets.Add(uint64(headerLen + len(f.Body)))
}

func (t *traffic) add(b *batch) {
	for c, n := range b.frames {
		if n > 0 {
			t[c].frames.Add(n)
			t[c].octets.Add(b.octets[c])
		}
	}
}

func (t *traffic) load(c int) Traffic { return Traffic{t[c].frames.Load(), t[c].octets.Load()} }

func (n *peerCounters) status(started time.Time) PeerStatus {
	s := PeerStatus{
		Unknown: n.received.load(Classes),
		Ignored: n.ignored.Load(),
		Refused: make(map[Reason]uint64),
		Heartbeats: HeartbeatStatus{
			Sent: n.beatsSent.Load(), Unsent: n.beatsUnsent.Load(), Received: n.beatsReceived.Load(),
			Lost: uint64(max(0, n.beatsLost.Load())), RTT: time.Duration(n.beatRTT.Load()),
			Malformed: n.beatsMalformed.Load(), Outdated: n.beatsOutdated.Load(),
			Forged: n.beatsForged.Load(), Replayed: n.beatsReplayed.Load(),
		},
	}
	for c := range Classes {
		s.Sent[c], s.Received[c] = n.sent.load(c), n.received.load(c)
		s.Full[c] = n.full[c].Load()
	}
	for r := range n.refused {
		if count := n.refused[r].Load(); count > 0 {
			s.Refused[Reason(r)] = count
		}
	}
	if at := n.beatAt.Load(); at != 0 {
		s.Heartbeats.Last = started.Add(time.Duration(at))
	}
	return s
}
