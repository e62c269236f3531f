package engine

import (
	"net/netip"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
)

// maxQueued bounds what one tunnel may leave waiting while its SAs are being
// installed. A peer has at most one request outstanding, so more than a few
// messages are retransmissions, which it will send again.
const maxQueued = 16

// tunnel is what the engine knows of a tunnel of IKE.
type tunnel struct {
	ike  machine
	conn *Connection

	// name is empty until the IKE SA is up; from then on it is that of the
	// dialup instance, or of the connection (C10).
	name   string
	index  int
	serial uint64
	// number is the tunnel's in the whole group; the serial is ours alone.
	number uint64
	remote ike.Identity

	// pending waits for the dataplane's answer to its Install; queue for
	// pending.
	pending *ike.Ready
	// heard: the input of pending, or the last one, came from the peer.
	heard bool
	queue []ike.Input

	sas map[ipsec.SAID]*sa
	// idle are outbound SAs that were taken over and were not in use then: up to
	// which number others may have sent on each.
	idle   map[ipsec.SAID]uint64
	routes map[netip.Prefix]int // how many children need it

	activity ike.Activity
	timer    timer
}

// sa is one SA of a tunnel, as the dataplane should have it.
type sa struct {
	desc      ipsec.SA
	installed bool
	since     time.Time
	placement offload.Placement
	// counters are the dataplane's last word; earlier are the packets and bytes
	// of dataplanes that are gone.
	counters offload.Counters
	earlier  struct{ packets, bytes uint64 }
}

// peerKey is who a tunnel is with, and by which connection.
type peerKey struct {
	connection string
	remote     ike.Identity
}

func (t *tunnel) peerKey() peerKey { return peerKey{t.conn.Name, t.remote} }

// meet notes a tunnel whose peer is known, from oldest to newest.
func (s *Shard) meet(t *tunnel) {
	if key := t.peerKey(); !slices.Contains(s.byPeer[key], t) {
		s.byPeer[key] = append(s.byPeer[key], t)
	}
}

// part is meet's end.
func (s *Shard) part(t *tunnel) {
	key := t.peerKey()
	rest := slices.DeleteFunc(s.byPeer[key], func(o *tunnel) bool { return o == t })
	if len(rest) == 0 {
		delete(s.byPeer, key)
		return
	}
	s.byPeer[key] = rest
}

// pairOf returns the SA of the other direction, nil when it is not there.
func (t *tunnel) pairOf(s *sa) *sa {
	for id, o := range t.sas {
		if id.SPI == s.desc.Pair && o.desc.Direction != s.desc.Direction && o.desc.Pair == s.desc.ID.SPI {
			return o
		}
	}
	return nil
}

// sends tells whether an SA of t is for packets with these selectors.
func (t *tunnel) sends(want ipsec.Selectors) bool {
	for _, e := range t.sas {
		if e.desc.Direction == ipsec.Outbound && e.desc.Selectors.Contains(want) {
			return true
		}
	}
	return false
}

// routePrefixes are the networks behind the peer that an SA makes reachable:
// outbound SAs name them. In transport mode that is the peer itself, and without
// the route what is for it would leave in plaintext.
func routePrefixes(desc ipsec.SA) []netip.Prefix {
	if desc.Direction != ipsec.Outbound {
		return nil
	}
	var out []netip.Prefix
	for _, ts := range desc.Selectors.Remote {
		out = append(out, ts.Prefixes()...)
	}
	return out
}
