package offloadtest

import (
	"github.com/evergate/evergate/offload"
)

func statsClauses() []Clause {
	return []Clause{
		{"stats.names", "Stats has the same well-formed names in the same order whenever it is asked.", 0, statsNames},
		{"stats.counts", "No value of Stats falls.", 0, statsCounts},
	}
}

// stats returns what the plane counted outside of SAs.
func (p *probe) stats() []offload.Stat {
	all, err := p.Engine.Stats(p.ctx)
	p.must("Stats", err)
	if err := offload.CheckStats(all); err != nil {
		p.fatalf("The stats are not as they should be: %v.", err)
	}
	return all
}

// useOnce takes SAs through their whole life.
func (p *probe) useOnce() {
	in, out := p.pair(1, groupA)
	p.install(epoch(1), offload.Active, in, out)
	if p.Traffic != nil {
		p.send(out, 1)
		p.deliver(in, 1)
	}
	p.must("Demote", p.Engine.Demote(p.ctx, groupA, epoch(1)))
	_, err := p.Engine.Delete(p.ctx, epoch(1), in.ID, out.ID)
	p.must("Delete", err)
}

func statsNames(p *probe) {
	p.configured()
	before := p.stats()
	p.useOnce()
	p.configured()
	after := p.stats()
	if len(after) != len(before) {
		p.fatalf("Stats had %d names and has %d.", len(before), len(after))
	}
	for i := range after {
		if after[i].Name != before[i].Name {
			p.errorf("Stats called place %d %s, and then %s.", i, before[i].Name, after[i].Name)
		}
	}
}

func statsCounts(p *probe) {
	p.configured()
	highest := make(map[string]uint64)
	look := func(when string) {
		for _, s := range p.stats() {
			if s.Value < highest[s.Name] {
				p.errorf("%s, %s fell from %d to %d.", when, s.Name, highest[s.Name], s.Value)
			}
			highest[s.Name] = s.Value
		}
	}
	look("At first")
	p.useOnce()
	look("After SAs came and went")
	p.configured()
	look("After another Configure")
	p.useOnce()
	look("After the SAs came again")
}
