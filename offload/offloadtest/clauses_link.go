package offloadtest

import (
	"slices"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

func linkClauses() []Clause {
	return []Clause{
		{"link.invalid", "An SA of a link that has selectors, protects no whole packets or leads to us is ErrInvalid.", 0, linkInvalid},
		{"link.groups", "An SA of a link is of no group, and always active.", 0, linkGroups},
		{"link.carries", "What a standby SA selects leaves through the link to the owner, and is counted as relayed.", links, linkCarries},
		{"link.newest", "Of two links to a member the newer one carries, and the older one when that is gone.", links, linkNewest},
		{"link.armed", "A packet of an armed tunnel starts it instead of taking the link.", links, linkArmed},
		{"link.arrives", "What arrives over a link leaves by the active SA that selects it, under its own numbers.", links, linkArrives},
		{"link.once", "What arrives over a link for a standby SA, or for none, goes on no link again and is counted.", links, linkOnce},
	}
}

// linkSA makes one SA of link n to the member that owns g.
func (p *probe) linkSA(n uint32, d ipsec.Direction, g offload.Group) ipsec.SA {
	sa := p.makeSA(p.algorithms(), d, 0x8000+n, 0)
	sa.Tunnel, sa.Selectors = 0, ipsec.Selectors{}
	sa.Link = &ipsec.Link{Member: ipsec.MemberID(g)}
	return sa
}

// linked ends the clause where links cannot be installed; what is refused then
// must say so.
func (p *probe) linked() offload.Info {
	info := p.configured()
	if info.Links {
		return info
	}
	placed, err := p.Engine.Install(p.ctx, epoch(1), offload.Active, p.linkSA(1, ipsec.Outbound, groupA))
	p.must("Install", err)
	if len(placed) == 1 {
		p.want("Info lists no links, so an SA of one", placed[0].Err, offload.ErrUnsupported)
	}
	p.notExercised("the dataplane has no links between members")
	return info
}

func linkInvalid(p *probe) {
	p.linked()
	selectors := p.outbound(1).Selectors
	for what, spoil := range map[string]func(*ipsec.SA){
		"with selectors":           func(sa *ipsec.SA) { sa.Selectors = selectors },
		"in transport mode":        func(sa *ipsec.SA) { sa.Mode = ipsec.Transport },
		"to ourselves":             func(sa *ipsec.SA) { sa.Link = &ipsec.Link{Member: sa.Sender} },
		"to a member that is none": func(sa *ipsec.SA) { sa.Link = &ipsec.Link{Member: ipsec.MaxMembers} },
	} {
		sa := p.linkSA(1, ipsec.Outbound, groupA)
		spoil(&sa)
		placed, err := p.Engine.Install(p.ctx, epoch(1), offload.Active, sa)
		p.must("Install", err)
		if len(placed) != 1 {
			p.fatalf("Install of an SA answered with %d placements.", len(placed))
		}
		p.want("An SA of a link "+what, placed[0].Err, offload.ErrInvalid)
	}
	sa := p.linkSA(2, ipsec.Outbound, groupA)
	p.install(epoch(1), offload.Active, sa)
	for what, c := range map[string]offload.Change{
		"a role":  {ID: sa.ID, Role: ptr(offload.Standby)},
		"a group": {ID: sa.ID, Group: ptr(groupB)},
	} {
		placed, err := p.Engine.Update(p.ctx, epoch(1), c)
		p.must("Update", err)
		if len(placed) != 1 {
			p.fatalf("Update of an SA answered with %d placements.", len(placed))
		}
		p.want("A change of an SA of a link to "+what, placed[0].Err, offload.ErrInvalid)
	}
}

func linkGroups(p *probe) {
	info := p.linked()
	for g := range offload.MaxGroups {
		p.must("Demote", p.Engine.Demote(p.ctx, g, epoch(9)))
	}
	in, out := p.linkSA(1, ipsec.Inbound, groupA), p.linkSA(1, ipsec.Outbound, groupA)
	p.install(0, offload.Standby, in, out)
	p.wantRoles("Installed as standby, an SA of a link", offload.Active, in, out)
	if info.ReportsFirstPacket {
		p.must("Arm", p.Engine.Arm(p.ctx, groupA, epoch(10)))
	}
	for _, g := range []offload.Group{0, groupA} {
		p.must("Promote", p.Engine.Promote(p.ctx, g, epoch(11)))
		p.must("Demote", p.Engine.Demote(p.ctx, g, epoch(12)))
		if n := len(p.export(g)); n != 0 {
			p.errorf("Export of group %d should have no SA of a link, got %d.", g, n)
		}
	}
	p.wantRoles("After Demote of every group", offload.Active, in, out)
	for _, sa := range []ipsec.SA{in, out} {
		if got := p.exported(sa.ID).Link; got == nil || *got != *sa.Link {
			p.errorf("Export should tell that %v is of a link to member %d, got %v.", sa.ID, sa.Link.Member, got)
		}
	}
	p.update(0, offload.Change{ID: out.ID, PathMTU: ptr(uint16(1400))})
	last, err := p.Engine.Delete(p.ctx, 0, in.ID, out.ID)
	if err != nil || len(last) != 2 {
		p.errorf("Delete of a link should need no epoch, got %d counters and %v.", len(last), err)
	}
}

// wantSent notes when other packets left than n by sa, from number first on.
func (p *probe) wantSent(when string, sent []Sent, sa ipsec.SA, first uint64, n int) {
	p.wantNumbers(when, sent, counting(first, n))
	if slices.ContainsFunc(sent, func(s Sent) bool { return s.SPI != sa.ID.SPI }) {
		p.errorf("%s, packets should leave by %v, got %+v.", when, sa.ID.SPI, sent)
	}
}

// sendOver plays packets that the outbound sa selects.
func (p *probe) sendOver(sa ipsec.SA, n int, links ...ipsec.SA) []Sent {
	sent, err := p.Links.SendOver(p.ctx, sa, n, links...)
	if err != nil {
		p.fatalf("The harness could not send by %v: %v.", sa.ID, err)
	}
	return sent
}

// deliverOver plays packets that arrive over link and that the outbound sa selects.
func (p *probe) deliverOver(link ipsec.SA, seqs []uint64, sa ipsec.SA, links ...ipsec.SA) []Sent {
	sent, err := p.Links.DeliverOver(p.ctx, link, seqs, sa, links...)
	if err != nil {
		p.fatalf("The harness could not deliver over %v: %v.", link.ID, err)
	}
	return sent
}

func linkCarries(p *probe) {
	p.linked()
	out, elsewhere, link := p.outbound(1), p.linkSA(1, ipsec.Outbound, groupB), p.linkSA(2, ipsec.Outbound, groupA)
	p.install(epoch(1), offload.Standby, out)
	p.install(epoch(1), offload.Active, elsewhere)
	p.wantSent("With a link to another member only", p.sendOver(out, 2, elsewhere, link), out, 1, 0)
	p.install(epoch(1), offload.Active, link)
	p.wantSent("With a link to the owner", p.sendOver(out, 3, elsewhere, link), link, 1, 3)
	got := p.exported(out.ID)
	if got.Relayed != 3 || got.Drops.Standby != 2 || got.Packets != 0 || got.Sequence.Next > 1 {
		p.errorf("Of five packets two should be dropped, three relayed and none sent, got %d, %d and %d.", got.Drops.Standby, got.Relayed, got.Packets)
	}
	if got := p.exported(link.ID).Packets; got != 3 {
		p.errorf("The SA of the link should count the three packets, got %d.", got)
	}
	p.wantRoles("After packets were relayed", offload.Standby, out)
	p.must("Promote", p.Engine.Promote(p.ctx, groupA, epoch(2)))
	p.wantSent("After Promote", p.sendOver(out, 2, elsewhere, link), out, 1, 2)
}

func linkNewest(p *probe) {
	p.linked()
	out, older, newer := p.outbound(1), p.linkSA(1, ipsec.Outbound, groupA), p.linkSA(2, ipsec.Outbound, groupA)
	p.install(epoch(1), offload.Standby, out)
	p.install(epoch(1), offload.Active, older)
	p.install(epoch(1), offload.Active, newer)
	p.wantSent("With two links", p.sendOver(out, 2, older, newer), newer, 1, 2)
	_, err := p.Engine.Delete(p.ctx, epoch(1), newer.ID)
	p.must("Delete", err)
	p.wantSent("Without the newer link", p.sendOver(out, 2, older, newer), older, 1, 2)
}

func linkArmed(p *probe) {
	p.seesFirst(p.linked())
	out, link := p.outbound(1), p.linkSA(1, ipsec.Outbound, groupA)
	out.Sequence.Next = 501
	p.install(epoch(1), offload.Standby, out)
	p.install(epoch(1), offload.Active, link)
	p.must("Arm", p.Engine.Arm(p.ctx, groupA, epoch(2)))
	p.wantSent("After Arm", p.sendOver(out, 3, link), out, 501, 3)
	p.wantRoles("After its first packet", offload.Active, out)
}

func linkArrives(p *probe) {
	p.linked()
	out, in, back := p.outbound(1), p.linkSA(1, ipsec.Inbound, groupB), p.linkSA(1, ipsec.Outbound, groupB)
	out.Sequence = ipsec.Sequence{Next: 7, Ceiling: 100}
	p.install(epoch(1), offload.Active, out, in, back)
	p.wantSent("Of 1, 2, 2 and 3 over the link", p.deliverOver(in, []uint64{1, 2, 2, 3}, out, back), out, 7, 3)
	got := p.exported(in.ID)
	if got.Packets != 3 || got.Drops.Replayed != 1 {
		p.errorf("The SA of the link should count three packets and a replayed one, got %d and %d.", got.Packets, got.Drops.Replayed)
	}
	if got := p.exported(out.ID).Packets; got != 3 {
		p.errorf("The SA that sent them should count three packets, got %d.", got)
	}
}

func linkOnce(p *probe) {
	p.linked()
	out := p.outbound(1)
	in, back := p.linkSA(1, ipsec.Inbound, groupA), p.linkSA(1, ipsec.Outbound, groupA)
	p.install(epoch(1), offload.Standby, out, in, back)
	p.wantSent("For a standby SA, what came over the link", p.deliverOver(in, []uint64{1, 2}, out, back), out, 1, 0)
	if got := p.exported(in.ID).Drops.Standby; got != 2 {
		p.errorf("Two packets for a standby SA should be counted as dropped, got %d.", got)
	}
	_, err := p.Engine.Delete(p.ctx, epoch(1), out.ID)
	p.must("Delete", err)
	p.wantSent("For no SA, what came over the link", p.deliverOver(in, []uint64{3}, out, back), out, 1, 0)
	if got := p.exported(in.ID).Drops.Selector; got != 1 {
		p.errorf("A packet that no SA selects should be counted as dropped, got %d.", got)
	}
	if got := p.exported(back.ID).Packets; got != 0 {
		p.errorf("Nothing should go back, but the link carried %d packets.", got)
	}
}
