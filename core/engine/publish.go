package engine

import (
	"errors"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
)

// Publication is what one step of a synchronized tunnel means for the members
// that stand by for it. What the peer is told because of it waits in Send until
// they have the rest (invariant I6).
type Publication struct {
	Tunnel ipsec.TunnelID
	// IKE is the new state, nil where it is as before.
	IKE *ha.IKE
	// Heard: the peer caused it.
	Heard bool
	// Stored are pairs that are new or changed, Dropped the inbound names of
	// those that are gone.
	Stored  []Pair
	Dropped []ipsec.SAID
	Moved   *ha.Endpoint
	// Over: the tunnel has ended. Final: the peer knows.
	Over, Final bool
	// Farewell is what it was answered when it asked for that, nil when it did not.
	Farewell *ike.Farewell
	Send     []ike.Datagram
	// Left is set when the shard has lost the tunnel; then nothing else is.
	Left *Left
}

// Left is what a shard leaves behind of a tunnel that is not its own any more: SAs
// in the dataplane, and routes.
type Left struct {
	SAs    []ipsec.SAID
	Routes []Route
}

// Pair is both SAs of a child.
type Pair struct{ In, Out ipsec.SA }

func (t *tunnel) facts(now time.Time) []byte {
	f := facts{Name: t.name, Index: t.index, Number: t.number, Hash: t.conn.Hash}
	f.SPIs = t.ike.LocalSPIs()
	if version(t.ike) == 1 {
		s := t.ike.Status(now)
		f.Version, f.Address, f.Peer, f.Called = 1, s.Internal, s.Remote, t.called
	}
	return f.marshal()
}

// replicates tells whether other members are to know of t: from the moment that
// its IKE SA is up, where its connection says so.
func (s *Shard) replicates(t *tunnel) bool {
	return s.replicated && t.name != "" && t.conn.Sync
}

// publish hands a step of t over for replication.
func (s *Shard) publish(now time.Time, t *tunnel, rd ike.Ready) {
	p := Publication{Tunnel: t.ike.ID(), Heard: t.heard, Send: rd.Send, Over: rd.Done, Farewell: rd.Farewell}
	p.Final = rd.Done && (rd.Why == nil || errors.Is(rd.Why, ike.ErrDeletedByPeer))
	if !rd.Done && (rd.Publish || rd.Established != nil) {
		p.IKE = &ha.IKE{Class: t.conn.Name, State: ipsec.NewKey(t.ike.Snapshot(now)), Facts: t.facts(now)}
	}
	for _, desc := range rd.Install {
		if desc.Direction != ipsec.Inbound {
			continue
		}
		if in, out, ok := t.ike.Pair(now, desc.ID); ok {
			in.Sequence, out.Sequence = s.firstLease(t, in), s.firstLease(t, out)
			p.Stored = append(p.Stored, Pair{In: in, Out: out})
		}
	}
	for _, id := range rd.Remove {
		if e := t.sa(id); e != nil && e.desc.Direction == ipsec.Inbound {
			p.Dropped = append(p.Dropped, id)
		}
	}
	if m := rd.Move; m != nil {
		p.Moved = &ha.Endpoint{Local: m.Local.Addr(), Remote: m.Remote.Addr(), Encap: m.Encap}
		s.note(now, t)
	}
	s.rd.Publish = append(s.rd.Publish, p)
}

// onRestore goes on with a tunnel of another member that is ours now. Its SAs are
// active already.
func (s *Shard) onRestore(now time.Time, in Restore) {
	r := in.Tunnel
	f, err := readFacts(r.IKE.Facts)
	if err != nil {
		s.lostForGood(r, err)
		return
	}
	m, err := restore(f.Version, s.env, s.policy, r.IKE.State.Reveal(), now.Add(-in.Age))
	if err != nil {
		s.lostForGood(r, err)
		return
	}
	s.machines.adopt(m)
	t := s.own(m)
	t.name, t.index, t.number, t.called = f.Name, f.Index, f.Number, f.Called
	t.serial = s.names.Adopt(r.IKE.Class, f.Index)
	t.remote = m.Status(now).RemoteID
	s.meet(t)
	s.inherits(t)
	missing := s.restoreChildren(now, t, r)
	s.addresses.note(r.Tunnel, f)
	s.stats.Restored++
	s.log.Info("tunnel taken over", "tunnel", t.name, "peer", t.remote.String(), "children", len(r.Children))
	s.apply(now, t, s.machines.step(now, m, ike.Takeover{Probe: s.probes.slot(now), Behind: r.Behind}))
	for _, id := range missing {
		s.step(now, t, ike.CloseChild{ID: id})
	}
	if in.Have != nil {
		s.reinstall(now, t, in.Have)
	}
	if s.journaled && f.Hash != t.conn.Hash {
		s.step(now, t, ike.Close{Reason: "its configuration changed"})
	}
}

// restoreChildren goes on with the pairs of a tunnel. The snapshot of the IKE SA
// and the pairs are published one after the other, so a death in between leaves
// pairs that the IKE SA does not know, of which the peer was not told; or, where
// the tunnel was new or the dataplane refused a pair, it returns those that the
// IKE SA knows and that are not there.
func (s *Shard) restoreChildren(now time.Time, t *tunnel, r ha.Restored) (missing []ipsec.SAID) {
	known := make(map[ipsec.SAID]ike.ChildStatus)
	for _, c := range t.ike.Status(now).Children {
		known[c.In] = c
		if !slices.ContainsFunc(r.Children, func(have ha.Child) bool { return have.In.ID == c.In }) {
			missing = append(missing, c.In)
			t.setIdle(unheldSA(c.In, c.Out, c.Algorithms))
		}
	}
	idle, unknown := Op{ID: s.nextOp()}, Publication{Tunnel: r.Tunnel}
	for _, c := range r.Children {
		k, ok := known[c.In.ID]
		switch {
		case !ok:
			idle.Delete = append(idle.Delete, c.In.ID, c.Out.ID)
			unknown.Dropped = append(unknown.Dropped, c.In.ID)
			continue
		case k.Sending:
			s.restoreSA(now, t, c.In)
			s.restoreSA(now, t, c.Out)
		default:
			// It has a successor, and its owner had taken it out already: the peer
			// may have done so too.
			s.restoreSA(now, t, c.In)
			idle.Delete = append(idle.Delete, c.Out.ID)
			t.setIdle(restingSA(c.In.ID, c.Out))
		}
	}
	if len(idle.Delete) > 0 {
		s.rd.Plane = append(s.rd.Plane, idle)
	}
	if len(unknown.Dropped) > 0 {
		s.rd.Publish = append(s.rd.Publish, unknown)
	}
	return missing
}

// restoreSA notes an SA that is in the dataplane already.
func (s *Shard) restoreSA(now time.Time, t *tunnel, desc ipsec.SA) {
	s.add(now, t, desc)
	e := t.sa(desc.ID)
	e.installed, e.inherited = true, s.journaled
	e.count.begin(desc.Sequence)
	s.addRoutes(t, desc)
}

// lostForGood ends a tunnel that cannot be brought to life: its SAs go, and the
// peer will dial again.
func (s *Shard) lostForGood(r ha.Restored, err error) {
	s.stats.RestoreFailed++
	s.log.Error("tunnel could not be taken over", "tunnel", r.Tunnel.String(), "phase1", r.IKE.Class, "error", err)
	op := Op{ID: s.nextOp()}
	for _, c := range r.Children {
		op.Delete = append(op.Delete, c.In.ID, c.Out.ID)
	}
	s.rd.Plane = append(s.rd.Plane, op)
	s.rd.Publish = append(s.rd.Publish, Publication{Tunnel: r.Tunnel, Over: true})
}

// onLose forgets a tunnel that another member owns now, without a word to the
// peer. Its SAs stay in the dataplane, to stand by, and so do their routes, as
// those of a standby; what is not to stand by the replica puts away.
func (s *Shard) onLose(id ipsec.TunnelID) {
	t := s.tunnels[id]
	if t == nil {
		return
	}
	var left Left
	for _, e := range t.sas {
		said := e.desc.ID
		left.SAs = append(left.SAs, said)
		left.Routes = append(left.Routes, s.yieldRoutes(t, e.desc)...)
		s.totals.bury(t, e)
		delete(s.bySA, said)
		delete(s.inbound, said.SPI)
	}
	t.sas = nil
	if t.pending != nil && len(t.pending.Install) > 0 {
		// These were never published: nobody stands by for them.
		s.rd.Plane = append(s.rd.Plane, Op{ID: s.nextOp(), Delete: idsOf(t.pending.Install)})
	}
	s.rd.Publish = append(s.rd.Publish, Publication{Tunnel: id, Left: &left})
	s.timers.set(&t.timer, time.Time{})
	delete(s.tunnels, id)
	for op, waiting := range s.waiting {
		if waiting == t {
			delete(s.waiting, op)
		}
	}
	s.machines.forget(t.ike)
	t.pending, t.queue = nil, nil
	s.names.Release(t.conn.Name, t.index)
	s.part(t)
	s.bequeaths(t)
	s.stats.Lost++
	s.log.Warn("tunnel belongs to another member now", "tunnel", t.name)
}

// onRaised notes a lease that the other members have agreed to. The dataplane may not
// have had the SA when it was told where that begins.
func (s *Shard) onRaised(in Raised) {
	t := s.tunnels[in.Tunnel]
	if t == nil {
		return
	}
	e := t.sa(in.SA)
	if e == nil {
		t.raiseIdle(in.SA, in.Sequence)
		return
	}
	seq := &e.desc.Sequence
	if in.Sequence.Ceiling > seq.Ceiling {
		seq.Ceiling = in.Sequence.Ceiling
		s.stats.LeasesRaised++
	}
	if in.Sequence.Next > seq.Next {
		seq.Next = in.Sequence.Next
		s.rd.Plane = append(s.rd.Plane, Op{ID: s.nextOp(), Update: []offload.Change{{ID: in.SA, Sequence: &in.Sequence}}})
	}
}
