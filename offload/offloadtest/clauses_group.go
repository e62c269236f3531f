package offloadtest

import (
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

func epochClauses() []Clause {
	return []Clause{
		{"epoch.stale", "A call with an epoch older than one seen for its group is ErrStaleEpoch and changes nothing.", 0, epochStale},
		{"epoch.batch", "One SA of a stale group makes the whole batch ErrStaleEpoch.", 0, epochBatch},
		{"epoch.equal", "The epoch that was seen last is good enough.", 0, epochEqual},
		{"epoch.groups", "An epoch of one group says nothing of another one.", 0, epochGroups},
	}
}

func groupClauses() []Clause {
	return []Clause{
		{"group.promote", "Promote makes all SAs of the group active, and no other.", 0, groupPromote},
		{"group.demote", "Demote makes all SAs of the group standby, and no other.", 0, groupDemote},
		{"group.idempotent", "The same Arm, Promote or Demote again succeeds.", 0, groupIdempotent},
		{"group.range", "A group that does not exist is ErrInvalid, AllGroups included.", 0, groupRange},
		{"arm.waits", "Arm by itself changes no role.", 0, armWaits},
		{"arm.unsupported", "Arm is ErrUnsupported where first packets are not seen.", 0, armUnsupported},
	}
}

// staleCalls makes every call that takes an epoch, on what concerns group g.
func (p *probe) staleCalls(e offload.Epoch, g offload.Group, installed ipsec.SA) map[string]error {
	fresh := p.inbound(500, g)
	errs := make(map[string]error)
	_, errs["Install of a new SA"] = p.Engine.Install(p.ctx, e, offload.Standby, fresh)
	newer := installed
	newer.Generation, newer.PathMTU = 99, 1300
	_, errs["Install of a newer generation"] = p.Engine.Install(p.ctx, e, offload.Standby, newer)
	away := newer
	away.Group = ipsec.MemberID(groupB)
	_, errs["Install that moves an SA out of the group"] = p.Engine.Install(p.ctx, e, offload.Standby, away)
	_, errs["Update"] = p.Engine.Update(p.ctx, e, offload.Change{ID: installed.ID, PathMTU: ptr(uint16(1300))})
	_, errs["Delete"] = p.Engine.Delete(p.ctx, e, installed.ID)
	errs["Promote"] = p.Engine.Promote(p.ctx, g, e)
	errs["Demote"] = p.Engine.Demote(p.ctx, g, e)
	if info, err := p.Engine.Info(p.ctx); err == nil && info.ReportsFirstPacket {
		errs["Arm"] = p.Engine.Arm(p.ctx, g, e)
	}
	return errs
}

func epochStale(p *probe) {
	p.configured()
	in := p.inbound(1, groupA)
	p.install(epoch(5), offload.Active, in)
	before := p.export(offload.AllGroups)
	for _, stale := range []offload.Epoch{epoch(4), offload.NewEpoch(5, 0), 0} {
		for call, err := range p.staleCalls(stale, groupA, in) {
			p.want(fmt.Sprintf("%s with epoch %d after one with %d", call, stale, epoch(5)), err, offload.ErrStaleEpoch)
		}
	}
	p.wantInventory("A call with a stale epoch made a difference", before)

	p.must("Demote with a higher epoch", p.Engine.Demote(p.ctx, groupA, epoch(7)))
	p.want("Promote with an epoch that was good before Demote",
		p.Engine.Promote(p.ctx, groupA, epoch(6)), offload.ErrStaleEpoch)
}

func epochBatch(p *probe) {
	p.configured()
	a, b := p.inbound(1, groupA), p.inbound(2, groupB)
	p.install(epoch(5), offload.Standby, a)
	p.install(epoch(2), offload.Standby, b)
	before := p.export(offload.AllGroups)
	mtu := ptr(uint16(1300))
	_, err := p.Engine.Install(p.ctx, epoch(3), offload.Active, p.inbound(3, groupB), p.inbound(4, groupA))
	p.want("Install with one SA of a stale group", err, offload.ErrStaleEpoch)
	_, err = p.Engine.Update(p.ctx, epoch(3), offload.Change{ID: b.ID, PathMTU: mtu}, offload.Change{ID: a.ID, PathMTU: mtu})
	p.want("Update with one SA of a stale group", err, offload.ErrStaleEpoch)
	_, err = p.Engine.Update(p.ctx, epoch(3), offload.Change{ID: b.ID, Group: ptr(groupA)})
	p.want("Update that moves an SA into a stale group", err, offload.ErrStaleEpoch)
	_, err = p.Engine.Delete(p.ctx, epoch(3), b.ID, a.ID)
	p.want("Delete with one SA of a stale group", err, offload.ErrStaleEpoch)
	p.wantInventory("A batch with one stale group made a difference", before)
	_, err = p.Engine.Delete(p.ctx, epoch(2), b.ID)
	p.must("Delete with an epoch that only stale batches were above", err)
}

func epochEqual(p *probe) {
	p.configured()
	in, out := p.pair(1, groupA)
	p.install(epoch(5), offload.Standby, in)
	p.install(epoch(5), offload.Standby, out)
	p.must("Promote with the same epoch", p.Engine.Promote(p.ctx, groupA, epoch(5)))
	p.must("Demote with the same epoch", p.Engine.Demote(p.ctx, groupA, epoch(5)))
	p.update(epoch(5), offload.Change{ID: in.ID, PathMTU: ptr(uint16(1400))})
	_, err := p.Engine.Delete(p.ctx, epoch(5), in.ID, out.ID)
	p.must("Delete with the same epoch", err)
}

func epochGroups(p *probe) {
	p.configured()
	a, b := p.inbound(1, groupA), p.inbound(2, groupB)
	p.install(epoch(9), offload.Standby, a)
	p.install(epoch(1), offload.Standby, b)
	p.must("Promote of a group beside one with a higher epoch", p.Engine.Promote(p.ctx, groupB, epoch(1)))
	p.wantRoles("After Promote of its group", offload.Active, b)
}

func groupPromote(p *probe) {
	p.configured()
	in, out := p.pair(1, groupA)
	in2, out2 := p.pair(2, groupA)
	other := p.inbound(3, groupB)
	p.install(epoch(1), offload.Standby, in, out, in2, out2, other)
	p.must("Promote", p.Engine.Promote(p.ctx, groupA, epoch(2)))
	p.wantRoles("After Promote of its group", offload.Active, in, out, in2, out2)
	p.wantRoles("After Promote of another group", offload.Standby, other)
	later := p.inbound(4, groupA)
	p.install(epoch(2), offload.Standby, later)
	p.wantRoles("Installed as standby after Promote", offload.Standby, later)
}

func groupDemote(p *probe) {
	p.configured()
	in, out := p.pair(1, groupA)
	other := p.inbound(3, groupB)
	p.install(epoch(1), offload.Active, in, out, other)
	p.must("Demote", p.Engine.Demote(p.ctx, groupA, epoch(2)))
	p.wantRoles("After Demote of its group", offload.Standby, in, out)
	p.wantRoles("After Demote of another group", offload.Active, other)
}

func groupIdempotent(p *probe) {
	info := p.configured()
	in := p.inbound(1, groupA)
	p.install(epoch(1), offload.Standby, in)
	for range 2 {
		if info.ReportsFirstPacket {
			p.must("Arm", p.Engine.Arm(p.ctx, groupA, epoch(1)))
		}
	}
	for range 2 {
		p.must("Promote", p.Engine.Promote(p.ctx, groupA, epoch(1)))
		p.wantRoles("After Promote", offload.Active, in)
	}
	for range 2 {
		p.must("Demote", p.Engine.Demote(p.ctx, groupA, epoch(1)))
		p.wantRoles("After Demote", offload.Standby, in)
	}
}

func groupRange(p *probe) {
	info := p.configured()
	for _, g := range []offload.Group{offload.MaxGroups, 4096, offload.AllGroups} {
		if info.ReportsFirstPacket {
			p.want(fmt.Sprintf("Arm of group %d", g), p.Engine.Arm(p.ctx, g, epoch(1)), offload.ErrInvalid)
		}
		p.want(fmt.Sprintf("Promote of group %d", g), p.Engine.Promote(p.ctx, g, epoch(1)), offload.ErrInvalid)
		p.want(fmt.Sprintf("Demote of group %d", g), p.Engine.Demote(p.ctx, g, epoch(1)), offload.ErrInvalid)
	}
	in := p.inbound(1, groupA)
	p.install(epoch(1), offload.Active, in)
	placed, err := p.Engine.Update(p.ctx, epoch(1), offload.Change{ID: in.ID, Group: ptr(offload.AllGroups)})
	p.must("Update", err)
	if len(placed) != 1 {
		p.fatalf("Update of one SA answered with %d placements.", len(placed))
	}
	p.want("A change into a group that does not exist", placed[0].Err, offload.ErrInvalid)
}

func armWaits(p *probe) {
	if !p.configured().ReportsFirstPacket {
		p.notExercised("the dataplane does not see first packets")
	}
	in, out := p.pair(1, groupA)
	p.install(epoch(1), offload.Standby, in, out)
	p.must("Arm", p.Engine.Arm(p.ctx, groupA, epoch(2)))
	p.wantRoles("After Arm and before any packet", offload.Standby, in, out)
}

func armUnsupported(p *probe) {
	if p.configured().ReportsFirstPacket {
		p.notExercised("the dataplane sees first packets")
	}
	p.want("Arm where first packets are not seen", p.Engine.Arm(p.ctx, groupA, epoch(1)), offload.ErrUnsupported)
}
