package engine

import (
	"net/netip"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
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
	// called is where a peer of IKEv1 was when it began phase 1, zero where we did.
	called netip.AddrPort

	// pending waits for the dataplane's answer to its Install; queue for
	// pending.
	pending *ike.Ready
	// heard: the input of pending, or the last one, came from the peer.
	heard bool
	queue []ike.Input

	// sas are those that are to be in the dataplane, in the order of their names.
	// They are few, as are the others: two for each pair of Child SAs.
	sas    []*sa
	idle   []idleSA
	routes []needed

	activity ike.Activity
	timer    timer
}

// sa is one SA of a tunnel, as the dataplane should have it.
type sa struct {
	desc      ipsec.SA
	installed bool
	// inherited: an earlier life of ours had it installed; the dataplane has not
	// shown it yet.
	inherited bool
	since     time.Time
	// count is the dataplane's last word; earlier are the packets and bytes of
	// dataplanes that are gone.
	count   count
	earlier struct{ packets, bytes uint64 }
}

// total is what passed through e in all dataplanes.
func (e *sa) total() (packets, bytes uint64) {
	return e.earlier.packets + e.count.packets, e.earlier.bytes + e.count.bytes
}

// needed is a route, and how many children need it.
type needed struct {
	prefix   netip.Prefix
	children int
}

// find returns where the SA is among those of t, or would be.
func (t *tunnel) find(id ipsec.SAID) (int, bool) {
	return slices.BinarySearchFunc(t.sas, id, func(e *sa, id ipsec.SAID) int { return e.desc.ID.Compare(id) })
}

// sa returns the SA of that name, nil when there is none.
func (t *tunnel) sa(id ipsec.SAID) *sa {
	if i, ok := t.find(id); ok {
		return t.sas[i]
	}
	return nil
}

// put adds e, in the place of one of the same name.
func (t *tunnel) put(e *sa) {
	i, ok := t.find(e.desc.ID)
	if !ok {
		t.sas = slices.Insert(t.sas, i, nil)
	}
	t.sas[i] = e
}

// drop takes an SA out. The slice is replaced: whoever goes through it goes on.
func (t *tunnel) drop(id ipsec.SAID) {
	if i, ok := t.find(id); ok {
		t.sas = slices.Delete(slices.Clone(t.sas), i, i+1)
	}
}

// ids are the names of the SAs.
func (t *tunnel) ids() []ipsec.SAID {
	out := make([]ipsec.SAID, len(t.sas))
	for i, e := range t.sas {
		out[i] = e.desc.ID
	}
	return out
}

// need notes that another child needs a route, and tells whether it is the first.
func (t *tunnel) need(p netip.Prefix) bool {
	for i := range t.routes {
		if t.routes[i].prefix == p {
			t.routes[i].children++
			return false
		}
	}
	t.routes = append(t.routes, needed{p, 1})
	return true
}

// spare notes that one child less needs a route, and tells whether it was the
// last.
func (t *tunnel) spare(p netip.Prefix) bool {
	for i := range t.routes {
		if t.routes[i].prefix != p {
			continue
		}
		if t.routes[i].children--; t.routes[i].children > 0 {
			return false
		}
		t.routes = slices.Delete(t.routes, i, i+1)
		return true
	}
	return false
}

// needs tells whether a child needs a route.
func (t *tunnel) needs(p netip.Prefix) bool {
	return slices.ContainsFunc(t.routes, func(n needed) bool { return n.prefix == p })
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
	for _, o := range t.sas {
		if o.desc.ID.SPI == s.desc.Pair && o.desc.Direction != s.desc.Direction && o.desc.Pair == s.desc.ID.SPI {
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
