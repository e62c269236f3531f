package sim

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/mem"
)

// plane is a dataplane in a process of its own: the reference engine, and what a
// packet path knows beside it, which SA a packet is for and where peers are.
type plane struct {
	*mem.Engine
	// bound is the way by which the daemon speaks to it, keeps and ceilings what the
	// machines know of it.
	bound    offload.Engine
	keeps    ha.Keeps
	ceilings engine.Ceilings

	c      *Cluster
	of     string
	member *member // nil for a client's
	down   bool    // there is no process
	frozen bool
	boot   uint32
	sas    map[ipsec.SAID]*planeSA
	made   uint64
	// had are the SAs that were ever here in this life of the machine.
	had map[ipsec.SAID]bool
}

// planeSA is what the packet path knows of an SA.
type planeSA struct {
	desc    ipsec.SA
	made    uint64
	next    uint64 // where a standby would start
	ceiling uint64
	standby bool
	remote  netip.AddrPort // where ESP in UDP goes
	moved   netip.AddrPort // the last address that was reported
	nets    []netip.Prefix // behind the peer
}

var _ offload.Engine = (*plane)(nil)

// newPlane makes the dataplane of one life of a machine, not configured yet.
func newPlane(c *Cluster, of string, now func() time.Time, k kind) *plane {
	p := &plane{c: c, of: of, down: true, had: make(map[ipsec.SAID]bool)}
	var about offload.Info
	p.Engine = mem.New(mem.Options{Name: of, Now: now, Overrun: k.overrun, Adjust: func(i *offload.Info) {
		i.HoldsPackets = false // the ledger must see every packet where it leaves
		i.ReportsFirstPacket = !k.blind
		if c.cfg.Fault != Undeclared {
			i.EnforcesCeiling, i.CeilingMargin = k.overrun != everything, k.overrun
		}
		if c.disjoint {
			i.IVSource = offload.IVSequence
		}
		about = *i
	}})
	p.bound, p.keeps, p.ceilings = engine.Bounded(p, about)
	p.forget()
	return p
}

func (p *plane) forget() { p.sas = make(map[ipsec.SAID]*planeSA) }

// kind is what sort of dataplane it is. The zero value keeps to all that it is told.
type kind struct {
	overrun uint64 // packets beyond a ceiling
	blind   bool   // it sees no first packet
}

// everything is the overrun of a dataplane that stops nowhere.
const everything = 1 << 40

// drawKind draws the dataplane that a member has from now on.
func (c *Cluster) drawKind() (k kind) {
	if !c.cfg.Mixed {
		return kind{}
	}
	k.blind = c.planes.IntN(3) == 0
	switch n := c.planes.IntN(4); {
	case n == 0:
		k.overrun = 1 + c.planes.Uint64N(100)
	case n == 1 && !c.disjoint: // engine.Joinable
		k.overrun = everything
	}
	return k
}

// start is the start of its process.
func (p *plane) start(member ipsec.MemberID, boot uint32, addrs ...netip.Addr) {
	p.down, p.boot = false, boot
	config := offload.Config{Member: member, Boot: boot, Addresses: addrs}
	if _, err := p.Configure(context.Background(), config); err != nil {
		p.c.breach("the dataplane of %s does not start: %v", p.of, err)
	}
}

// stop is the end of its process.
func (p *plane) stop() {
	p.down, p.frozen = true, false
	p.Reset()
	p.Drain()
	p.forget()
}

// works tells whether a packet gets an answer.
func (p *plane) works() bool { return !p.down && !p.frozen }

func (p *plane) check(what string) error {
	if p.down {
		return fmt.Errorf("sim: %s: %w", what, offload.ErrDown)
	}
	return nil
}

// stale notes a call that was refused because of its epoch: within a member
// nothing overtakes.
func (p *plane) stale(err error) {
	if errors.Is(err, offload.ErrStaleEpoch) {
		p.c.breach("I5: %s: a call comes with an epoch that is over: %v", p.of, err)
	}
}

// Install implements offload.Engine.
func (p *plane) Install(ctx context.Context, e offload.Epoch, role offload.Role, sas ...ipsec.SA) ([]offload.Placement, error) {
	if err := p.check("install"); err != nil {
		return nil, err
	}
	if p.c.cfg.Fault == StandbySends {
		role = offload.Active
	}
	for i := range sas {
		p.spoil(&sas[i].Sequence)
	}
	placed, err := p.Engine.Install(ctx, e, role, sas...)
	p.stale(err)
	for i, pl := range placed {
		if pl.Err == nil {
			fresh := p.sas[sas[i].ID] == nil
			p.note(sas[i], pl.Role)
			p.offer(sas[i].ID, fresh)
		}
	}
	return placed, err
}

// offer has the ledger check which numbers an SA may send now.
func (p *plane) offer(id ipsec.SAID, fresh bool) {
	if sa := p.sas[id]; p.member != nil && !sa.standby && sa.desc.Direction == ipsec.Outbound {
		p.c.ledger.offered(p.member, sa, fresh)
	}
}

// spoil does to the numbers of an SA what the run's fault says.
func (p *plane) spoil(s *ipsec.Sequence) {
	switch {
	case p.c.cfg.Fault == NoLease:
		s.Ceiling = 0
	case p.c.cfg.Fault == NoMaximum && s.Next == last:
		s.Next = 1
	}
}

// last is the last sequence number of an SA without extended ones.
const last = 1<<32 - 1

func (p *plane) note(desc ipsec.SA, role offload.Role) {
	p.had[desc.ID] = true
	sa := p.sas[desc.ID]
	if sa == nil {
		p.made++
		sa = &planeSA{made: p.made, next: 1}
		p.sas[desc.ID] = sa
	} else if sa.desc.Generation >= desc.Generation {
		return
	}
	sa.desc, sa.standby, sa.nets = desc, role == offload.Standby, nil
	sa.next, sa.ceiling = max(sa.next, desc.Sequence.Next), max(sa.ceiling, desc.Sequence.Ceiling)
	sa.locate(desc.Remote, desc.Encap)
	for _, ts := range desc.Selectors.Remote {
		sa.nets = append(sa.nets, ts.Prefixes()...)
	}
}

func (sa *planeSA) locate(remote netip.Addr, encap *ipsec.Encap) {
	sa.remote = netip.AddrPortFrom(remote, 0)
	if encap != nil {
		sa.remote = netip.AddrPortFrom(remote, encap.RemotePort)
	}
}

// Update implements offload.Engine.
func (p *plane) Update(ctx context.Context, e offload.Epoch, changes ...offload.Change) ([]offload.Placement, error) {
	if err := p.check("update"); err != nil {
		return nil, err
	}
	for i, ch := range changes {
		if p.c.cfg.Fault == StandbySends {
			changes[i].Role = nil
		}
		if ch.Sequence != nil {
			s := *ch.Sequence
			p.spoil(&s)
			changes[i].Sequence = &s
		}
	}
	placed, err := p.Engine.Update(ctx, e, changes...)
	p.stale(err)
	for i, pl := range placed {
		if sa := p.sas[pl.ID]; sa != nil && pl.Err == nil {
			sa.change(changes[i])
			p.offer(pl.ID, false)
		}
	}
	return placed, err
}

func (sa *planeSA) change(ch offload.Change) {
	if ch.Sequence != nil {
		sa.next, sa.ceiling = max(sa.next, ch.Sequence.Next), max(sa.ceiling, ch.Sequence.Ceiling)
	}
	if ch.Endpoint != nil {
		sa.locate(ch.Endpoint.Remote, ch.Endpoint.Encap)
	}
	if ch.Group != nil {
		sa.desc.Group = ipsec.MemberID(*ch.Group)
	}
	if ch.Role != nil {
		sa.standby = *ch.Role == offload.Standby
	}
}

// Delete implements offload.Engine.
func (p *plane) Delete(ctx context.Context, e offload.Epoch, ids ...ipsec.SAID) ([]offload.Counters, error) {
	if err := p.check("delete"); err != nil {
		return nil, err
	}
	last, err := p.Engine.Delete(ctx, e, ids...)
	p.stale(err)
	if err == nil {
		for _, id := range ids {
			delete(p.sas, id)
		}
	}
	return last, err
}

// Arm implements offload.Engine.
func (p *plane) Arm(ctx context.Context, g offload.Group, e offload.Epoch) error {
	if err := p.check("arm"); err != nil {
		return err
	}
	err := p.Engine.Arm(ctx, g, e)
	p.stale(err)
	return err
}

// Demote implements offload.Engine.
func (p *plane) Demote(ctx context.Context, g offload.Group, e offload.Epoch) error {
	if err := p.check("demote"); err != nil || p.c.cfg.Fault == StandbySends {
		return err
	}
	err := p.Engine.Demote(ctx, g, e)
	p.stale(err)
	for _, sa := range p.sas {
		if offload.Group(sa.desc.Group) == g {
			sa.standby = true
		}
	}
	return err
}

// inventory is all that the plane holds, false while it does not answer.
func (p *plane) inventory() ([]offload.Counters, bool) {
	if !p.works() {
		return nil, false
	}
	var all []offload.Counters
	for c, err := range p.bound.Export(context.Background(), offload.AllGroups) {
		if err != nil {
			p.c.breach("the dataplane of %s does not tell what it holds: %v", p.of, err)
			return nil, false
		}
		all = append(all, c)
	}
	return all, true
}

// outbound is the SA that a packet for a host leaves through: the newest that
// selects it, nil for none.
func (p *plane) outbound(host netip.Addr) *planeSA {
	var newest *planeSA
	for _, sa := range p.sas {
		if sa.desc.Direction == ipsec.Outbound && (newest == nil || sa.made > newest.made) && sa.selects(host) {
			newest = sa
		}
	}
	return newest
}

func (sa *planeSA) selects(host netip.Addr) bool {
	for _, n := range sa.nets {
		if n.Contains(host) {
			return true
		}
	}
	return false
}
