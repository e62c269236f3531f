package witness

import (
	"context"
	"net/netip"
	"time"

	"github.com/osrg/gobgp/v4/api"
)

// Status is what an operator sees, and what metrics are made of.
type Status struct {
	// Fit is what Fit was told last, with the reason.
	Fit    bool
	Reason string
	// Draining is set from Drain until Resume.
	Draining bool
	// Gateways are the shared addresses, and Owned and Standby count the prefixes
	// of clients by what this member is for them.
	Gateways       []netip.Addr
	Owned, Standby int
	// Announced counts the routes that were announced or announced anew since
	// New, Withdrawn those taken back, Refused the prefixes that Own and StandBy
	// refused.
	Announced, Withdrawn, Refused uint64
	// Health is where the health endpoint listens, if it does.
	Health netip.AddrPort
	// Neighbors are in the order of the configuration; nil while Run does not.
	Neighbors []NeighborStatus
}

// NeighborStatus is the account of one router.
type NeighborStatus struct {
	Address netip.Addr
	AS      uint32
	// State is that of RFC 4271 section 8.2.2: "Established" is the good one.
	State string
	// Since is when the session was established, zero while it is not.
	Since time.Time
	// Announced is how many routes an established neighbor has from us, or is
	// being sent.
	Announced int
	// Lost counts how often an established session has ended.
	Lost uint64
	// LastError says what went wrong last, also when that is over, and when.
	LastError   string
	LastErrorAt time.Time
}

// Status returns the present state.
func (w *Witness) Status() Status {
	w.mu.Lock()
	s := Status{
		Fit: w.fit, Reason: w.reason, Draining: w.drain != staying,
		Gateways:  w.addresses(),
		Announced: w.counts.announced, Withdrawn: w.counts.withdrawn, Refused: w.counts.refused,
		Health: w.health,
	}
	for p := range w.table.prefixes {
		if w.table.role(p) == owner {
			s.Owned++
		} else {
			s.Standby++
		}
	}
	speaker, routes := w.speaker, w.routes
	w.mu.Unlock()
	if speaker != nil {
		s.Neighbors = speaker.status(routes)
	}
	return s
}

// status asks the library, and adds what it does not keep. It does not ask how
// many routes each neighbor has: the library would go through all of them, and
// keep a withdrawal waiting meanwhile.
func (s *speaker) status(routes routeCount) []NeighborStatus {
	ctx := context.Background() // the library only looks whether it has ended
	out := make([]NeighborStatus, len(s.cfg.Neighbors))
	index := make(map[string]*NeighborStatus, len(out))
	for i, n := range s.cfg.Neighbors {
		out[i] = NeighborStatus{Address: n.Address, AS: n.AS, State: "Idle"}
		index[n.Address.String()] = &out[i]
	}
	// An error means that the library has stopped: then all is idle.
	_ = s.server.ListPeer(ctx, &api.ListPeerRequest{}, func(p *api.Peer) {
		if n := index[p.GetConf().GetNeighborAddress()]; n != nil {
			n.fill(p)
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, n := range s.cfg.Neighbors {
		session := s.sessions[n.Address]
		if session.up && session.ipv4 && n.IPv4 {
			out[i].Announced += routes.ipv4
		}
		if session.up && session.ipv6 && n.IPv6 {
			out[i].Announced += routes.ipv6
		}
		out[i].Lost, out[i].LastError, out[i].LastErrorAt = session.lost, session.trouble, session.at
	}
	return out
}

func (n *NeighborStatus) fill(p *api.Peer) {
	n.State = sessionState(p.GetState().GetSessionState())
	if p.GetState().GetSessionState() != api.PeerState_SESSION_STATE_ESTABLISHED {
		return
	}
	n.Since = p.GetTimers().GetState().GetUptime().AsTime()
}

// sessionState is a state by the name that RFC 4271 gives it.
func sessionState(s api.PeerState_SessionState) string {
	switch s {
	case api.PeerState_SESSION_STATE_CONNECT:
		return "Connect"
	case api.PeerState_SESSION_STATE_ACTIVE:
		return "Active"
	case api.PeerState_SESSION_STATE_OPENSENT:
		return "OpenSent"
	case api.PeerState_SESSION_STATE_OPENCONFIRM:
		return "OpenConfirm"
	case api.PeerState_SESSION_STATE_ESTABLISHED:
		return "Established"
	default:
		return "Idle"
	}
}
