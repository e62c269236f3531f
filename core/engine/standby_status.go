package engine

import (
	"cmp"
	"log/slog"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
)

// Tunnels describes the tunnels that stand by, as of now. Each is brought to life
// for a look and forgotten: a standby keeps nothing but what it was given.
func (r *Replica) Tunnels(now time.Time) []TunnelStatus {
	env := ike.Env{Member: r.member, Log: slog.New(slog.DiscardHandler), Stats: &ike.Stats{}}
	var out []TunnelStatus
	for id, t := range r.standby {
		copied, ok := r.node.Tunnel(id)
		if !ok || copied.Owned {
			continue
		}
		st := TunnelStatus{
			Name: t.facts.Name, Phase1: t.class, Index: t.facts.Index, Number: t.facts.Number,
			ID: id, Member: copied.Owner, Sync: true, Standby: true, Synced: true,
		}
		st.Version = cmp.Or(t.facts.Version, 2)
		if c := r.policy.Connection(t.class); c != nil {
			st.Dialup, st.Interface, st.AddRoute = c.Dialup, c.Interface, c.AddRoute
			st.DPD, st.Keepalive = c.DPD, c.Keepalive
		}
		if m, err := restore(t.facts.Version, env, r.policy, copied.IKE.State.Reveal(), now); err == nil {
			st.IKE = m.Status(now)
		} else {
			r.log.Debug("standby tunnel was not understood", "tunnel", t.facts.Name, "error", err)
		}
		for _, c := range copied.Children {
			st.Children = append(st.Children, r.childStatus(st.IKE, c))
		}
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b TunnelStatus) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func (r *Replica) childStatus(s ike.Status, c ha.Child) ChildStatus {
	cs := ChildStatus{In: r.saStatus(c.In), Out: r.saStatus(c.Out)}
	for _, ch := range s.Children {
		if ch.In == c.In.ID {
			cs.Name = ch.Name
		}
	}
	return cs
}

func (r *Replica) saStatus(sa ipsec.SA) SAStatus {
	var c offload.Counters
	if stands := r.bySA[sa.ID]; stands != nil {
		c = stands.count.counters(sa)
	}
	return SAStatus{SA: sa, Placement: c.Placement, Counters: c, Packets: c.Packets, Bytes: c.Bytes}
}

// Members describes the other members.
func (r *Replica) Members() []ha.PeerStatus { return r.node.Peers() }

// Kept tells whether another member that lives has our tunnels of a phase 1.
func (r *Replica) Kept(phase1 string) bool { return r.node.Kept(phase1) }

// Handing is how many tunnels wait for a successor, or for all to know of it.
func (r *Replica) Handing() int { return r.node.Handing() }

// Owned is how many tunnels are this member's.
func (r *Replica) Owned() int { return r.node.Owned() }

// Role is that of this member.
func (r *Replica) Role() ha.Role { return r.node.Role() }
