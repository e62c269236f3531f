package engine

import (
	"net/netip"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
)

// TunnelStatus is a tunnel as an operator sees it: a copy that does not change.
type TunnelStatus struct {
	Name   string // empty until the IKE SA is up
	Phase1 string
	Dialup bool
	Index  int
	Serial uint64
	// Number is the tunnel's in the whole group, where Serial is ours alone.
	Number uint64
	ID     ipsec.TunnelID
	// Version is of IKE: 1 or 2.
	Version int
	Member  ipsec.MemberID
	Sync    bool
	// Standby: another member owns the tunnel. Synced: at least one other member
	// holds all of it.
	Standby, Synced bool
	// Interface is that of the configuration.
	Interface string
	AddRoute  bool
	Routes    []netip.Prefix
	// DPD and Keepalive are those of the configuration.
	DPD       ike.DPD
	Keepalive time.Duration

	IKE      ike.Status
	Activity ike.Activity
	Children []ChildStatus
}

// ChildStatus is one pair of SAs with what the dataplane says of them.
type ChildStatus struct {
	Name    string
	In, Out SAStatus
}

// SAStatus is one SA.
type SAStatus struct {
	SA        ipsec.SA // keys inside
	Installed time.Time
	Placement offload.Placement
	Counters  offload.Counters // of the present dataplane
	// Packets and Bytes over the SA's whole life.
	Packets, Bytes uint64
}

// Tunnels describes the shard's tunnels as of now.
func (s *Shard) Tunnels(now time.Time) []TunnelStatus {
	out := make([]TunnelStatus, 0, len(s.tunnels))
	for _, t := range s.each() {
		out = append(out, s.describe(now, t))
	}
	return out
}

func (s *Shard) describe(now time.Time, t *tunnel) TunnelStatus {
	st := TunnelStatus{
		Name: t.name, Index: t.index, Serial: t.serial, Number: t.number, ID: t.ike.ID(), Version: version(t.ike), Member: s.member,
		IKE: t.ike.Status(now), Activity: t.activity,
	}
	if t.conn != nil {
		st.Phase1, st.Dialup, st.Sync = t.conn.Name, t.conn.Dialup, t.conn.Sync
		st.Interface, st.AddRoute = t.conn.Interface, t.conn.AddRoute
		st.DPD, st.Keepalive = t.conn.DPD, t.conn.Keepalive
	}
	for _, n := range t.routes {
		st.Routes = append(st.Routes, n.prefix)
	}
	slices.SortFunc(st.Routes, netip.Prefix.Compare)
	names := make(map[ipsec.SAID]string)
	for _, c := range st.IKE.Children {
		names[c.In] = c.Name
	}
	for _, in := range t.sas {
		if in.desc.Direction != ipsec.Inbound || t.pending != nil && !in.installed {
			continue // what is on its way into the dataplane does not work yet
		}
		c := ChildStatus{Name: names[in.desc.ID], In: in.status()}
		if out := t.pairOf(in); out != nil {
			c.Out = out.status()
		}
		st.Children = append(st.Children, c)
	}
	return st
}

func (e *sa) status() SAStatus {
	st := SAStatus{SA: e.desc, Installed: e.since, Placement: e.count.placement(e.desc.ID), Counters: e.count.counters(e.desc)}
	st.Packets, st.Bytes = e.total()
	return st
}
