package offloadtest

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

func configureClauses() []Clause {
	return []Clause{
		{"configure.first", "Until Configure succeeded, all calls but Info, Configure and Events answer ErrNotConfigured.", 0, configureFirst},
		{"configure.again", "A repeated Configure leaves SAs, roles and epochs as they are.", 0, configureAgain},
		{"configure.settings", "An unknown setting is ErrInvalid, and the text names it.", 0, configureSettings},
		{"configure.boot", "A boot counter lower than the one before is ErrInvalid.", 0, configureBoot},
		{"info.stable", "Info answers before Configure, and says the same whenever it is asked.", 0, infoStable},
		{"info.honest", "Info is complete and does not contradict itself.", 0, infoHonest},
		{"boot.fresh", "A new dataplane process has another boot id.", 0, bootFresh},
	}
}

func configureFirst(p *probe) {
	in := p.inbound(1, groupA)
	e := p.Engine
	_, err := e.Install(p.ctx, epoch(1), offload.Active, in)
	p.want("Install before Configure", err, offload.ErrNotConfigured)
	_, err = e.Update(p.ctx, epoch(1), offload.Change{ID: in.ID})
	p.want("Update before Configure", err, offload.ErrNotConfigured)
	_, err = e.Delete(p.ctx, epoch(1), in.ID)
	p.want("Delete before Configure", err, offload.ErrNotConfigured)
	p.want("Arm before Configure", e.Arm(p.ctx, groupA, epoch(1)), offload.ErrNotConfigured)
	p.want("Promote before Configure", e.Promote(p.ctx, groupA, epoch(1)), offload.ErrNotConfigured)
	p.want("Demote before Configure", e.Demote(p.ctx, groupA, epoch(1)), offload.ErrNotConfigured)
	err = nil
	for _, err = range e.Export(p.ctx, offload.AllGroups) {
		break
	}
	p.want("Export before Configure", err, offload.ErrNotConfigured)
	_, err = e.Stats(p.ctx)
	p.want("Stats before Configure", err, offload.ErrNotConfigured)
}

func configureAgain(p *probe) {
	p.configured()
	in, out := p.pair(1, groupA)
	standby := p.inbound(2, groupB)
	p.install(epoch(5), offload.Active, in, out)
	p.install(epoch(5), offload.Standby, standby)
	before := p.export(offload.AllGroups)
	p.configured()
	p.wantInventory("A repeated Configure changed what is installed", before)
	_, err := p.Engine.Delete(p.ctx, epoch(4), in.ID)
	p.want("After a repeated Configure, Delete with an older epoch", err, offload.ErrStaleEpoch)
}

func configureSettings(p *probe) {
	c := p.Config
	c.Settings = map[string]string{"no-such-setting-of-any-plane": "1"}
	_, err := p.Engine.Configure(p.ctx, c)
	p.want("Configure with an unknown setting", err, offload.ErrInvalid)
	if err != nil && !strings.Contains(err.Error(), "no-such-setting-of-any-plane") {
		p.errorf("The error does not name the unknown setting: %v.", err)
	}
}

func configureBoot(p *probe) {
	p.Config.Boot = 7
	p.configured()
	p.configured() // the same one is fine
	c := p.Config
	c.Boot = 6
	_, err := p.Engine.Configure(p.ctx, c)
	p.want("Configure with a lower boot counter", err, offload.ErrInvalid)
}

func infoStable(p *probe) {
	before, err := p.Engine.Info(p.ctx)
	p.must("Info before Configure", err)
	configured := p.configured()
	after, err := p.Engine.Info(p.ctx)
	p.must("Info", err)
	if !reflect.DeepEqual(configured, after) {
		p.errorf("Configure answered %+v, and Info then %+v.", configured, after)
	}
	if before.Name != after.Name || before.Version != after.Version || before.BootID != after.BootID {
		p.errorf("Info said %s %s, boot %q, before Configure and %s %s, boot %q, after it.",
			before.Name, before.Version, before.BootID, after.Name, after.Version, after.BootID)
	}
}

func infoHonest(p *probe) {
	info := p.configured()
	if info.Name == "" || info.BootID == "" {
		p.errorf("Info needs a name and a boot id, got %q and %q.", info.Name, info.BootID)
	}
	if len(info.Transforms) == 0 {
		p.errorf("Info lists no algorithms.")
	}
	seen := make(map[ipsec.Algorithms]bool)
	for _, c := range info.Transforms {
		if seen[c.Algorithms] {
			p.errorf("Info lists %v twice.", c.Algorithms)
		}
		seen[c.Algorithms] = true
		if (c.NPUInbound || c.NPUOutbound) && len(info.NPUs) == 0 {
			p.errorf("Info says that an NPU takes %v, and lists no NPU.", c.Algorithms)
		}
	}
	npus := make(map[offload.NPUID]bool)
	for _, n := range info.NPUs {
		if n.ID == 0 || npus[n.ID] {
			p.errorf("NPUs need numbers of their own from 1 on, got %d.", n.ID)
		}
		npus[n.ID] = true
	}
	if info.MaxReplayWindow == 0 {
		p.errorf("Info says that the largest replay window is 0, but there is no way to turn it off.")
	}
	if info.IVSource > offload.IVSequence {
		p.errorf("Info names an unknown IV source, %d.", info.IVSource)
	}
}

func bootFresh(p *probe) {
	first, err := p.Engine.Info(p.ctx)
	p.must("Info", err)
	second, err := p.openPlane().Engine.Info(p.ctx)
	p.must("Info of a second dataplane", err)
	if first.BootID == second.BootID {
		p.errorf("Two dataplanes have the same boot id %q, so a restart would go unnoticed.", first.BootID)
	}
}

// wantInventory notes what Export says now and did not say before. Idle times
// may grow. A dataplane may look its paths up at any time, and finds none that is
// narrower than the one that it was told (see pathMTU).
func (p *probe) wantInventory(complaint string, before map[ipsec.SAID]offload.Counters) {
	after := p.export(offload.AllGroups)
	for id, b := range before {
		a, there := after[id]
		a.Idle, b.Idle = 0, 0
		was, is := fmt.Sprintf("%+v", b), fmt.Sprintf("%+v", a)
		switch {
		case !there:
			p.errorf("%s: %v is gone.", complaint, id)
		case was != is:
			p.errorf("%s: %v was %s and is %s.", complaint, id, was, is)
		}
	}
	for id := range after {
		if _, there := before[id]; !there {
			p.errorf("%s: %v came.", complaint, id)
		}
	}
}
