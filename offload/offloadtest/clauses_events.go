package offloadtest

import (
	"context"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

func exportClauses() []Clause {
	return []Clause{
		{"export.complete", "Export yields every installed SA once, with what it was installed with.", 0, exportComplete},
		{"export.groups", "Export of a group yields the SAs of that group only.", 0, exportGroups},
		{"export.break", "Export stops when the caller does, and harms nothing.", 0, exportBreak},
	}
}

func eventClauses() []Clause {
	return []Clause{
		{"events.end", "A stream whose context ends, ends without an error.", 0, eventsEnd},
		{"events.single", "A new stream ends the older one without an error.", 0, eventsSingle},
		{"events.overrun", "Events beyond the limit are lost, and Overrun tells how many.", faults, eventsOverrun},
		{"reset.reports", "A Reset is reported with the new boot id, and leaves no SA.", faults, resetReports},
		{"reset.configure", "After a Reset, calls answer ErrNotConfigured until Configure brings a higher boot counter.", faults, resetConfigure},
	}
}

func exportComplete(p *probe) {
	p.configured()
	in, out := p.pair(1, groupA)
	out.Sequence = ipsec.Sequence{Next: 5, Ceiling: 500}
	out.PathMTU = 1400
	p.install(epoch(1), offload.Active, in)
	p.install(epoch(1), offload.Standby, out)
	all := p.export(offload.AllGroups)
	if len(all) != 2 {
		p.fatalf("Two SAs are installed, but Export yields %d.", len(all))
	}
	for _, sa := range []ipsec.SA{in, out} {
		c := all[sa.ID]
		if c.Direction != sa.Direction || c.Tunnel != sa.Tunnel || c.Group != groupA || c.Generation != sa.Generation {
			p.errorf("Export of %v names direction %v, tunnel %v, group %d, generation %d instead of %v, %v, %d, %d.",
				sa.ID, c.Direction, c.Tunnel, c.Group, c.Generation, sa.Direction, sa.Tunnel, groupA, sa.Generation)
		}
		if c.Packets != 0 || c.Bytes != 0 || c.Idle >= 0 {
			p.errorf("Export of %v counts %d packets, %d octets, idle %v, but none came: idle is negative then.",
				sa.ID, c.Packets, c.Bytes, c.Idle)
		}
		if c.Err != nil {
			p.errorf("Export of the installed SA %v has an error in its placement: %v.", sa.ID, c.Err)
		}
	}
	if c := all[out.ID]; c.Sequence.Next != 5 || c.Sequence.Ceiling != 500 || c.PathMTU != 1400 || c.Role != offload.Standby {
		p.errorf("Export of an SA with next 5, ceiling 500, path MTU 1400, standby, names %d, %d, %d, %v.",
			c.Sequence.Next, c.Sequence.Ceiling, c.PathMTU, c.Role)
	}
	if got := all[in.ID].Role; got != offload.Active {
		p.errorf("Export of an active SA names it %v.", got)
	}
}

func exportGroups(p *probe) {
	p.configured()
	a, b := p.inbound(1, groupA), p.inbound(2, groupB)
	p.install(epoch(1), offload.Active, a, b)
	for _, c := range []struct {
		group offload.Group
		want  ipsec.SA
	}{{groupA, a}, {groupB, b}} {
		got := p.export(c.group)
		if _, there := got[c.want.ID]; !there || len(got) != 1 {
			p.errorf("Export of group %d should yield %v alone, got %d SAs.", c.group, c.want.ID, len(got))
		}
	}
	if got := p.export(groupB + 1); len(got) != 0 {
		p.errorf("Export of a group without SAs yields %d.", len(got))
	}
}

func exportBreak(p *probe) {
	p.configured()
	var sas []ipsec.SA
	for n := range uint32(2000) {
		sas = append(sas, p.inbound(n+1, groupA))
	}
	if info, err := p.Engine.Info(p.ctx); err == nil && info.MaxSAs > 0 {
		sas = sas[:min(len(sas), info.MaxSAs)]
	}
	p.install(epoch(1), offload.Standby, sas...)
	for _, err := range p.Engine.Export(p.ctx, offload.AllGroups) {
		p.must("Export", err)
		break
	}
	if got := len(p.export(offload.AllGroups)); got != len(sas) {
		p.errorf("After an Export that was broken off, the next one yields %d of %d SAs.", got, len(sas))
	}
}

func eventsEnd(p *probe) {
	p.configured()
	ctx, cancel := context.WithCancel(p.ctx)
	cancel()
	for ev, err := range p.Engine.Events(ctx) {
		if err != nil {
			p.fatalf("A stream of events whose context ended, ended with an error: %v.", err)
		}
		_ = ev // one that was there already may still come
	}
	s := p.watch()
	s.end()
	if s.err != nil {
		p.errorf("A stream of events that was cancelled while it waited ended with an error: %v.", s.err)
	}
}

func eventsSingle(p *probe) {
	p.configured()
	older := p.watch()
	newer := p.watch()
	// Which of the two reaches the plane first is open, so either may be the one
	// that goes on. Events may come meanwhile: a host has packets of its own, such as
	// those by which it looks for routers, and a plane asks for SAs for them.
	for {
		var ended *stream
		select {
		case _, open := <-older.events:
			if !open {
				ended = older
			}
		case _, open := <-newer.events:
			if !open {
				ended = newer
			}
		case <-p.ctx.Done():
			p.fatalf("Two streams of events are open at the same time.")
		}
		if ended == nil {
			continue
		}
		if ended.err != nil {
			p.errorf("A stream of events that a newer one replaced ended with an error: %v.", ended.err)
		}
		return
	}
}

// flood is more events than a plane can be expected to keep.
const flood = 1 << 17

func eventsOverrun(p *probe) {
	p.configured()
	p.must("Flood", p.Faults.Flood(p.ctx, flood))
	s := p.watch()
	got := 0
	for {
		ev := p.next(s, "an Overrun")
		lost, ok := ev.(offload.Overrun)
		if !ok {
			if got++; got >= flood {
				p.notExercised("the dataplane kept every event of a flood")
			}
			continue
		}
		if lost.Lost == 0 || lost.Lost+uint64(got) < flood {
			p.errorf("Of %d events %d came, then an Overrun of %d.", flood, got, lost.Lost)
		}
		return
	}
}

func resetReports(p *probe) {
	p.configured()
	before, err := p.Engine.Info(p.ctx)
	p.must("Info", err)
	p.install(epoch(9), offload.Active, p.inbound(1, groupA))
	s := p.watch()
	p.must("Reset", p.Faults.Reset(p.ctx))
	_, ev := p.until(s, "a Reset", func(ev offload.Event) bool { _, ok := ev.(offload.Reset); return ok })
	after, err := p.Engine.Info(p.ctx)
	p.must("Info", err)
	if reset, ok := ev.(offload.Reset); !ok || reset.BootID != after.BootID || after.BootID == before.BootID {
		p.errorf("A Reset should name a new boot id that Info has too, got %+v; Info had %q and has %q.", ev, before.BootID, after.BootID)
	}
	p.Config.Boot++
	p.configured()
	p.wantInstalled("After a Reset nothing is installed")
	p.install(epoch(1), offload.Standby, p.inbound(1, groupA)) // epochs are forgotten too
}

func resetConfigure(p *probe) {
	p.configured()
	p.must("Reset", p.Faults.Reset(p.ctx))
	_, err := p.Engine.Install(p.ctx, epoch(1), offload.Active, p.inbound(1, groupA))
	p.want("Install after a Reset", err, offload.ErrNotConfigured)
	_, err = p.Engine.Configure(p.ctx, p.Config)
	p.want("Configure after a Reset with the boot counter from before", err, offload.ErrInvalid)
	p.Config.Boot++
	p.configured()
}
