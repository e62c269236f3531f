package ha

import (
	"maps"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// Stats counts what happened. They never fall during a life.
type Stats struct {
	Unprotected   uint64 // records that were committed on fewer members than asked for
	Deaths, Armed uint64
	// Promoted are takeovers of another's tunnels at once, Reigns how often we
	// became primary of our unit.
	Promoted, Reigns uint64
	// Handed are tunnels that we gave to successors when we left, Taken those that
	// others gave to us when they did.
	Handed, Taken uint64
	// Claims are tunnels that were taken over, Reclaims those that were taken back
	// from a claim made in another part of the network, Ceded those that were
	// given up to a higher claim, Contested claims of ours that met a lower one, Yielded
	// tunnels that started here although they have an owner.
	Claims, Reclaims, Ceded, Contested, Yielded uint64
	// Resumed are tunnels of our last life that we went on with, Swept SAs of it that
	// nobody knew.
	Resumed, Swept uint64
	Supplied       uint64 // claims that a newer copy completed
	Abandoned      uint64 // orphans of which nobody had all
	Strays         uint64 // traffic of tunnels whose owner lives
	Raised         uint64 // leases
	Worn           uint64 // SAs that needed new keys
	FellOut        uint64 // members that were slower than their queue is long
	Resent         uint64 // records
	Repairs        uint64 // digests that differed though synced
	Unheld         uint64 // tunnels that a member said it does not hold
	Pauses         uint64 // of ourselves
	DisksLost      uint64 // of others
	TombstonesLost uint64 // that went before their time
	// What came and was not taken, by reason.
	ForeignFrames, StaleFrames, BadFrames, BadRecords, UnknownRecords uint64
	ProtocolMismatches                                                uint64
}

// Stats returns the counters.
func (n *Node) Stats() Stats {
	s := n.stats
	s.TombstonesLost = n.tombs.lost
	return s
}

// Role is ours in the group.
func (n *Node) Role() Role { return n.role }

// Epoch is the one that orders to the dataplane carry at the moment. What the
// engine asks of it by itself must carry it too.
func (n *Node) Epoch() Epoch { return NewEpoch(n.hard.Count, n.cfg.Member) }

// PeerStatus is how another member looks from here.
type PeerStatus struct {
	Member                ipsec.MemberID
	Alive, Unfit          bool
	Synced                bool // it has all of ours
	Complete              bool // we have all of its
	Armed                 bool // its tunnels may start here
	Role                  Role
	Life                  Life
	Tunnels, DriftedClass int // tunnels of it that we hold; phase 1s that differ
	// Protocol is the version in which we speak to it.
	Protocol uint16
	// Queued are records, and their octets, that wait for it to carry them out.
	// Lag is how long that takes: of the last one that was timed, or of the present
	// one when it waits for longer.
	Queued, QueuedOctets int
	Lag                  time.Duration
	// FellOut is how often it was slower than its queue is long, and had to sync anew.
	FellOut uint64
}

// Peers describes all other configured members, in order.
func (n *Node) Peers() []PeerStatus {
	var out []PeerStatus
	for _, p := range n.peers {
		if p == nil {
			continue
		}
		s := PeerStatus{
			Member: p.id, Alive: p.alive, Unfit: p.unfit, Synced: p.synced, Complete: p.in.complete,
			Armed: n.armed[p.id] != 0, Role: p.role, Life: p.life,
			Tunnels: n.held(p.id), Protocol: n.protocol(p),
			Queued: len(p.out.queue), QueuedOctets: p.out.octets, Lag: p.out.lag.since(n.last), FellOut: p.fellOut,
		}
		if p.hello != nil {
			for name, hash := range n.classes {
				if theirs, ok := p.hello.Classes[name]; !ok || theirs != hash {
					s.DriftedClass++
				}
			}
		}
		out = append(out, s)
	}
	return out
}

// Kept tells whether another member that lives has all that we own of a phase 1.
func (n *Node) Kept(class string) bool {
	for _, p := range n.peers {
		if p != nil && p.alive && p.synced && n.shares(p, class) {
			return true
		}
	}
	return false
}

// TunnelStatus is our copy of one tunnel.
type TunnelStatus struct {
	Tunnel   ipsec.TunnelID
	Version  Version
	Owner    ipsec.MemberID
	Owned    bool // by us
	Complete bool
	Orphan   bool
	// Lingers: our dataplane sends on it, until all know that it went to our heir.
	Lingers  bool
	Unsynced Unsynced
	IKE      IKE
	Children []Child
	// Unheld are members that say that they do not hold what we own.
	Unheld Members
}

// Tunnel describes one tunnel; false when there is no copy.
func (n *Node) Tunnel(id ipsec.TunnelID) (TunnelStatus, bool) {
	t := n.tunnels[id]
	if t == nil {
		return TunnelStatus{}, false
	}
	s := TunnelStatus{
		Tunnel: id, Version: t.version, Owner: t.owner(), Owned: n.owns(t), Complete: t.complete(),
		Orphan: n.orphan(t), IKE: t.ike, Unheld: t.unheld,
	}
	if t.refused() {
		s.Unsynced = PlaneRefused
	}
	for _, c := range t.pairs() {
		s.Children = append(s.Children, c.Child)
		s.Lingers = t.lingers()
	}
	return s, true
}

// Owner is the member that owns a tunnel; false when there is no copy.
func (n *Node) Owner(id ipsec.TunnelID) (ipsec.MemberID, bool) {
	t := n.tunnels[id]
	if t == nil {
		return 0, false
	}
	return t.owner(), true
}

// EpochOf is under which epoch a tunnel is owned; false when there is no copy.
func (n *Node) EpochOf(id ipsec.TunnelID) (Epoch, bool) {
	t := n.tunnels[id]
	if t == nil {
		return 0, false
	}
	return t.version.Epoch, true
}

// IKE is the IKE SA of a tunnel; false when there is no copy.
func (n *Node) IKE(id ipsec.TunnelID) (IKE, bool) {
	t := n.tunnels[id]
	if t == nil {
		return IKE{}, false
	}
	return t.ike, true
}

// Tunnels returns the names of all copies, in order.
func (n *Node) Tunnels() []ipsec.TunnelID {
	return slices.Sorted(maps.Keys(n.tunnels))
}

// Owned is how many tunnels are ours.
func (n *Node) Owned() int { return n.held(n.cfg.Member) }

// Committed is the highest index that is committed.
func (n *Node) Committed() Index { return n.commit }

// TunnelOf finds the tunnel that an SA is part of.
func (n *Node) TunnelOf(id ipsec.SAID) (ipsec.TunnelID, bool) {
	c := n.bySA[id]
	if c == nil {
		return 0, false
	}
	return c.of.id, true
}
