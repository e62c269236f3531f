package offloadtest

import (
	"slices"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

func standbyClauses() []Clause {
	return []Clause{
		{"standby.accepts", "A standby SA decrypts and forwards what arrives, and checks replay.", traffic, standbyAccepts},
		{"standby.silent", "A standby SA sends nothing; its outbound packets are counted as dropped.", traffic, standbySilent},
		{"standby.reports", "The first packet of a standby SA is reported once until its role changes.", traffic, standbyReports},
		{"demote.silent", "Nothing is sent after Demote returned.", traffic, demoteSilent},
		{"promote.above", "A promoted SA goes on from its own Next, up to its own Ceiling.", traffic, promoteAbove},
	}
}

func armClauses() []Clause {
	return []Clause{
		{"arm.inbound", "While armed, the first inbound packet makes all SAs of its tunnel active, and no other.", traffic, armInbound},
		{"arm.outbound", "While armed, the first outbound packet makes its tunnel active, and is sent.", traffic, armOutbound},
		{"arm.later", "Arming covers SAs that are installed while it lasts.", traffic, armLater},
		{"demote.disarms", "After Demote a packet reports and does not activate.", traffic, demoteDisarms},
		{"promote.disarms", "After Promote the arming has ended.", traffic, promoteDisarms},
	}
}

// seesFirst ends the clause where first packets are not seen.
func (p *probe) seesFirst(info offload.Info) {
	if !info.ReportsFirstPacket {
		p.notExercised("the dataplane does not see first packets")
	}
}

// wantEvents notes when the events of a tunnel are others.
func (p *probe) wantEvents(when string, got, want []offload.Event) {
	if !slices.Equal(got, want) {
		p.errorf("%s, the events should be %+v, got %+v.", when, want, got)
	}
}

func firstPacket(sa ipsec.SA) offload.Event {
	return offload.FirstPacket{ID: sa.ID, Tunnel: sa.Tunnel, Group: offload.Group(sa.Group)}
}

func activated(sa ipsec.SA, e offload.Epoch) offload.Event {
	return offload.Activated{Tunnel: sa.Tunnel, Group: offload.Group(sa.Group), Epoch: e}
}

func standbyAccepts(p *probe) {
	p.configured()
	in, out := p.pair(1, groupA)
	p.install(epoch(1), offload.Standby, in, out)
	p.wantForwarded("1, 2, 2, 3 at a standby", in, 3, 1, 2, 2, 3)
	p.wantRoles("After inbound packets without arming", offload.Standby, in, out)
	if got := p.exported(in.ID).Sequence.Highest; got != 3 {
		p.errorf("The window of a standby SA should have moved to 3, got %d.", got)
	}
}

func standbySilent(p *probe) {
	p.configured()
	in, out := p.pair(1, groupA)
	p.install(epoch(1), offload.Standby, in, out)
	p.wantNumbers("From a standby SA", p.send(out, 5), nil)
	if got := p.exported(out.ID).Drops.Standby; got != 5 {
		p.errorf("Five packets for a standby SA should be counted as dropped, got %d.", got)
	}
	p.wantRoles("After outbound packets without arming", offload.Standby, in, out)
}

func standbyReports(p *probe) {
	p.seesFirst(p.configured())
	s := p.watch()
	in := p.inbound(1, groupA)
	p.install(epoch(1), offload.Standby, in)
	p.deliver(in, 1, 2)
	p.deliver(in, 3)
	p.wantEvents("After three packets for a standby SA", eventsOf(in, p.barrier(s, 1)), []offload.Event{firstPacket(in)})

	p.must("Promote", p.Engine.Promote(p.ctx, groupA, epoch(2)))
	p.deliver(in, 4)
	p.wantEvents("After a packet for a promoted SA", eventsOf(in, p.barrier(s, 2)), nil)
	p.must("Demote", p.Engine.Demote(p.ctx, groupA, epoch(3)))
	p.deliver(in, 5, 6)
	p.wantEvents("After two packets for an SA that is standby again", eventsOf(in, p.barrier(s, 3)), []offload.Event{firstPacket(in)})
}

func demoteSilent(p *probe) {
	p.configured()
	out := p.outbound(1)
	p.install(epoch(1), offload.Active, out)
	p.wantNumbers("Before Demote", p.send(out, 3), counting(1, 3))
	p.must("Demote", p.Engine.Demote(p.ctx, groupA, epoch(2)))
	next := p.exported(out.ID).Sequence.Next
	p.wantNumbers("After Demote", p.send(out, 10), nil)
	if got := p.exported(out.ID).Sequence.Next; got != next {
		p.errorf("After Demote next moved from %d to %d.", next, got)
	}
}

func promoteAbove(p *probe) {
	info := p.configured()
	out := p.outbound(1)
	p.install(epoch(1), offload.Standby, out)
	// The owner leased up to 1000, so we start above.
	p.update(epoch(1), offload.Change{ID: out.ID, Sequence: &ipsec.Sequence{Next: 1001, Ceiling: 1004}})
	p.must("Promote", p.Engine.Promote(p.ctx, groupA, epoch(2)))
	sent := p.send(out, 6)
	if info.EnforcesCeiling && info.CeilingMargin == 0 {
		p.wantNumbers("Promoted with next 1001 and ceiling 1004", sent, counting(1001, 4))
		return
	}
	p.wantNumbers("Promoted with next 1001", sent, counting(1001, len(sent)))
}

func armInbound(p *probe) {
	p.seesFirst(p.configured())
	s := p.watch()
	in, out := p.pair(1, groupA)
	in2, out2 := p.pair(2, groupA)
	in3, out3 := p.pair(3, groupB)
	p.install(epoch(1), offload.Standby, in, out, in2, out2, in3, out3)
	p.must("Arm", p.Engine.Arm(p.ctx, groupA, epoch(2)))
	p.wantForwarded("the first packet after Arm", in, 1, 1)
	p.deliver(in, 2)
	p.deliver(in3, 1)
	p.wantRoles("After the first inbound packet of its armed tunnel", offload.Active, in, out)
	p.wantRoles("Without a packet of its tunnel", offload.Standby, in2, out2)
	p.wantRoles("In a group that is not armed", offload.Standby, in3, out3)
	events := p.barrier(s, 1)
	p.wantEvents("Of the tunnel that started", eventsOf(in, events), []offload.Event{activated(in, epoch(2))})
	p.wantEvents("Of the tunnel that waits", eventsOf(in2, events), nil)
	p.wantEvents("Of the tunnel of another group", eventsOf(in3, events), []offload.Event{firstPacket(in3)})
	p.wantNumbers("After it started", p.send(out, 2), counting(1, 2))
}

func armOutbound(p *probe) {
	p.seesFirst(p.configured())
	s := p.watch()
	in, out := p.pair(1, groupA)
	in.Sequence.Highest = 40
	out.Sequence.Next = 501
	p.install(epoch(1), offload.Standby, in, out)
	p.must("Arm", p.Engine.Arm(p.ctx, groupA, epoch(2)))
	p.wantNumbers("The first packets after Arm", p.send(out, 3), counting(501, 3))
	p.wantRoles("After the first outbound packet of its armed tunnel", offload.Active, in, out)
	p.wantEvents("Of the tunnel that started", eventsOf(out, p.barrier(s, 1)), []offload.Event{activated(out, epoch(2))})
}

func armLater(p *probe) {
	p.seesFirst(p.configured())
	p.must("Arm", p.Engine.Arm(p.ctx, groupA, epoch(2)))
	in, out := p.pair(1, groupA)
	p.install(epoch(2), offload.Standby, in, out)
	p.wantRoles("Installed as standby into an armed group", offload.Standby, in, out)
	p.deliver(in, 1)
	p.wantRoles("After its first packet", offload.Active, in, out)
}

func demoteDisarms(p *probe) {
	p.seesFirst(p.configured())
	s := p.watch()
	in, out := p.pair(1, groupA)
	p.install(epoch(1), offload.Standby, in, out)
	p.must("Arm", p.Engine.Arm(p.ctx, groupA, epoch(2)))
	p.must("Demote", p.Engine.Demote(p.ctx, groupA, epoch(3)))
	p.deliver(in, 1)
	p.wantRoles("After a packet behind Arm and Demote", offload.Standby, in, out)
	p.wantEvents("After a packet behind Arm and Demote", eventsOf(in, p.barrier(s, 1)), []offload.Event{firstPacket(in)})
}

func promoteDisarms(p *probe) {
	p.seesFirst(p.configured())
	p.must("Arm", p.Engine.Arm(p.ctx, groupA, epoch(2)))
	p.must("Promote", p.Engine.Promote(p.ctx, groupA, epoch(2)))
	in, out := p.pair(1, groupA)
	p.install(epoch(2), offload.Standby, in, out)
	p.deliver(in, 1)
	p.wantRoles("After a packet behind Arm and Promote", offload.Standby, in, out)
}
