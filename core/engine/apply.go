package engine

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
)

// step gives an input to a tunnel and carries out what it asks for. A tunnel
// that waits for the dataplane takes its input later, in order.
func (s *Shard) step(now time.Time, t *tunnel, in ike.Input) {
	if t.pending != nil {
		s.enqueue(t, in)
		return
	}
	_, t.heard = in.(ike.Received)
	s.apply(now, t, s.machines.step(now, t.ike, in))
}

func (s *Shard) enqueue(t *tunnel, in ike.Input) {
	switch in.(type) {
	case ike.Timeout, ike.Activity:
		return // both come again
	case ike.Received:
		if len(t.queue) >= maxQueued {
			s.stats.QueueFull++
			return
		}
	}
	t.queue = append(t.queue, in)
}

// apply carries out rd in the only order that keeps its promises: the SA works
// here, then the network routes to it, and only then does the peer hear of it.
func (s *Shard) apply(now time.Time, t *tunnel, rd ike.Ready) {
	if rd.Established != nil {
		s.establish(t, *rd.Established)
	}
	if len(rd.Install) == 0 {
		s.finish(now, t, rd)
		return
	}
	if id, taken := s.taken(t, rd.Install); taken {
		s.apply(now, t, s.machines.step(now, t.ike, ike.Refused{ID: id, Err: errSPITaken}))
		return
	}
	op := Op{ID: s.nextOp(), Install: rd.Install}
	for i := range rd.Install {
		desc := &rd.Install[i]
		desc.Sequence = s.firstLease(t, *desc)
		s.add(now, t, *desc)
		if t.idleOf(desc.ID) != nil {
			s.note(now, t, desc.ID) // it has another lease than the journal knows
		}
	}
	t.pending = &rd
	s.waiting[op.ID] = t
	s.rd.Plane = append(s.rd.Plane, op)
}

var errSPITaken = errors.New("engine: the SPI is in use by another tunnel")

// taken finds an SA that another tunnel has already. Inbound SPIs are ours and
// only meet when two are offered at the same time; outbound ones are up to the
// peers, and two behind one address may well choose the same.
func (s *Shard) taken(t *tunnel, sas []ipsec.SA) (ipsec.SAID, bool) {
	for _, desc := range sas {
		if other := s.bySA[desc.ID]; other != nil && other != t {
			return desc.ID, true
		}
	}
	return ipsec.SAID{}, false
}

// add notes an SA of t that goes into the dataplane.
func (s *Shard) add(now time.Time, t *tunnel, desc ipsec.SA) {
	t.put(&sa{desc: desc, since: now})
	s.bySA[desc.ID] = t
	if desc.Direction == ipsec.Inbound {
		s.inbound[desc.ID.SPI] = true
	}
}

// establish gives the tunnel its name, from the moment that the IKE SA is up
// (C10), and clears away what the same peer left behind.
func (s *Shard) establish(t *tunnel, e ike.Established) {
	c := t.ike.Connection()
	t.conn = s.policy.Connection(c.Name)
	if t.conn == nil {
		t.conn = &Connection{Connection: c}
	}
	t.remote = e.Remote
	t.index, t.serial = s.names.Take(c.Name)
	t.number = t.serial*ipsec.MaxMembers + uint64(s.member)
	t.name = c.Name
	if t.conn.Dialup {
		t.name = fmt.Sprintf("%s_%d", c.Name, t.index)
	}
	s.meet(t)
	s.locate(t)
	if e.InitialContact || c.Unique {
		s.rd.Supersede = append(s.rd.Supersede, Supersede{Connection: c.Name, Remote: e.Remote, Except: t.ike.ID()})
	}
	s.dialed(c.Name)
}

// onPlaneDone goes on with the tunnels whose SAs are in the dataplane, or tells
// them that they are not.
func (s *Shard) onPlaneDone(now time.Time, results []Result) {
	for _, r := range results {
		t := s.waiting[r.ID]
		if t == nil {
			s.placed(r)
			continue
		}
		delete(s.waiting, r.ID)
		rd := *t.pending
		t.pending = nil
		if refused, err := s.installed(now, t, rd.Install, r); err != nil {
			s.log.Warn("dataplane refused an sa", "tunnel", t.name, "sa", refused.String(), "error", err)
			s.stats.Refused++
			s.apply(now, t, s.machines.step(now, t.ike, ike.Refused{ID: refused, Err: err}))
		} else {
			t.ike.Installed()
			s.finish(now, t, rd)
		}
		s.drain(now, t)
	}
}

// installed notes where the SAs of one Ready went. When one was refused it
// takes back the others and says which one and why.
func (s *Shard) installed(now time.Time, t *tunnel, sas []ipsec.SA, r Result) (ipsec.SAID, error) {
	refused, err := sas[0].ID, r.Err
	for i, p := range r.Placements {
		if i < len(sas) && p.Err != nil && err == nil {
			refused, err = sas[i].ID, p.Err
		}
	}
	if err == nil && len(r.Placements) != len(sas) {
		err = fmt.Errorf("engine: dataplane answered %d placements for %d sas", len(r.Placements), len(sas))
	}
	if err != nil {
		s.remove(t, idsOf(sas))
		return refused, err
	}
	for i, desc := range sas {
		e := t.sa(desc.ID)
		if e == nil {
			continue
		}
		e.installed, e.since = true, now
		e.count.place(r.Placements[i])
	}
	return ipsec.SAID{}, nil
}

// placed notes the answers to operations that nobody waits for.
func (s *Shard) placed(r Result) {
	s.totals.settle(r.Counters)
	if r.Err != nil {
		s.stats.PlaneErrors++
	}
	for _, p := range r.Placements {
		t := s.bySA[p.ID]
		if t == nil {
			continue
		}
		if p.Err != nil {
			s.stats.PlaneErrors++
			s.log.Warn("dataplane did not change an sa", "tunnel", t.name, "sa", p.ID.String(), "error", p.Err)
			continue
		}
		e := t.sa(p.ID)
		e.installed = true
		e.count.place(p)
	}
}

// drain steps what waited for the dataplane.
func (s *Shard) drain(now time.Time, t *tunnel) {
	for len(t.queue) > 0 && t.pending == nil {
		in := t.queue[0]
		t.queue = t.queue[1:]
		if s.tunnels[t.ike.ID()] != t {
			return
		}
		s.step(now, t, in)
	}
}

// finish is the part of a Ready that comes after the dataplane's answer.
func (s *Shard) finish(now time.Time, t *tunnel, rd ike.Ready) {
	for _, desc := range rd.Install {
		s.addRoutes(t, desc)
	}
	if rd.Move != nil {
		s.move(t, *rd.Move)
	}
	if rd.Shift != nil {
		s.shift(now, t, *rd.Shift)
	}
	if s.replicates(t) || s.journals(t) {
		s.publish(now, t, rd)
	} else {
		s.rd.Send = append(s.rd.Send, rd.Send...)
	}
	s.remove(t, rd.Remove)
	if rd.Done {
		s.forget(now, t, rd.Why)
		return
	}
	s.timers.set(&t.timer, t.ike.NextTimeout())
	s.missed(now, t)
}

func (s *Shard) addRoutes(t *tunnel, desc ipsec.SA) {
	if t.conn == nil || !t.conn.AddRoute {
		return
	}
	for _, p := range routePrefixes(desc) {
		if t.need(p) {
			s.rd.AddRoutes = append(s.rd.AddRoutes, s.route(t, p, desc))
		}
	}
}

func (s *Shard) route(t *tunnel, p netip.Prefix, desc ipsec.SA) Route {
	return Route{Prefix: p, Peer: desc.Remote, Tunnel: t.ike.ID(), Name: t.name, Metric: t.conn.Priority}
}

// move tells the dataplane the peer's new outer address.
func (s *Shard) move(t *tunnel, m ike.Move) {
	s.locate(t)
	op := Op{ID: s.nextOp()}
	for _, e := range t.sas {
		e.desc.Local, e.desc.Remote, e.desc.Encap = m.Local.Addr(), m.Remote.Addr(), m.Encap
		op.Update = append(op.Update, offload.Change{ID: e.desc.ID, Endpoint: &offload.Endpoint{
			Local: m.Local.Addr(), Remote: m.Remote.Addr(), Encap: m.Encap,
		}})
	}
	if len(op.Update) > 0 {
		s.rd.Plane = append(s.rd.Plane, op)
	}
}

// remove takes SAs out of the dataplane. Their routes go in the same step,
// before them (C12, C13).
func (s *Shard) remove(t *tunnel, ids []ipsec.SAID) {
	op := Op{ID: s.nextOp()}
	for _, id := range ids {
		e := t.sa(id)
		if e == nil {
			t.forgetIdle(id) // it is of a pair that we do not have
			continue
		}
		if e.installed && t.conn != nil && t.conn.AddRoute {
			s.delRoutes(t, e.desc)
		}
		s.totals.bury(t, e)
		t.drop(id)
		delete(s.bySA, id)
		if e.desc.Direction == ipsec.Inbound {
			delete(s.inbound, id.SPI)
		}
		t.rest(e)
		op.Delete = append(op.Delete, id)
	}
	if len(op.Delete) > 0 {
		s.rd.Plane = append(s.rd.Plane, op)
	}
}

func (s *Shard) delRoutes(t *tunnel, desc ipsec.SA) {
	for _, p := range routePrefixes(desc) {
		if t.spare(p) {
			s.rd.DelRoutes = append(s.rd.DelRoutes, s.route(t, p, desc))
		}
	}
}

// dropRoutes deletes those of a tunnel's routes that it does not need: of children
// that were not restored.
func (s *Shard) dropRoutes(id ipsec.TunnelID, routes []Route) {
	t := s.tunnels[id]
	for _, r := range routes {
		if t == nil || !t.needs(r.Prefix) {
			s.rd.DelRoutes = append(s.rd.DelRoutes, r)
		}
	}
}

// yieldRoutes tells that the routes of one SA are of another member's tunnel now,
// and returns them.
func (s *Shard) yieldRoutes(t *tunnel, desc ipsec.SA) (yielded []Route) {
	for _, p := range routePrefixes(desc) {
		if t.needs(p) {
			t.routes = slices.DeleteFunc(t.routes, func(n needed) bool { return n.prefix == p })
			r := s.route(t, p, desc)
			r.Standby = true
			yielded = append(yielded, r)
		}
	}
	s.rd.YieldRoutes = append(s.rd.YieldRoutes, yielded...)
	return yielded
}

// forget ends a tunnel: whatever it still had in the dataplane goes too.
func (s *Shard) forget(now time.Time, t *tunnel, why error) {
	s.remove(t, t.ids())
	s.timers.set(&t.timer, time.Time{})
	delete(s.tunnels, t.ike.ID())
	s.takeovers.end(now, t.ike.ID())
	s.machines.forget(t.ike)
	t.queue = nil
	if t.name != "" {
		s.names.Release(t.conn.Name, t.index)
		s.part(t)
	}
	if c := t.ike.Connection(); c != nil {
		s.hungUp(now, c.Name, t, why)
	}
}

func (s *Shard) nextOp() OpID {
	s.lastOp++
	return s.lastOp
}

func idsOf(sas []ipsec.SA) []ipsec.SAID {
	ids := make([]ipsec.SAID, len(sas))
	for i := range sas {
		ids[i] = sas[i].ID
	}
	return ids
}

func sortedTunnels(m map[ipsec.TunnelID]*tunnel) []*tunnel {
	out := make([]*tunnel, 0, len(m))
	for _, t := range m {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *tunnel) int { return cmp.Compare(a.ike.ID(), b.ike.ID()) })
	return out
}
