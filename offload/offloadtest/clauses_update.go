package offloadtest

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

func updateClauses() []Clause {
	return []Clause{
		{"update.places", "Update answers with one Placement per change, in order, ErrNotFound for SAs that are not there.", 0, updatePlaces},
		{"update.fields", "Update changes group, role and path MTU of the SA that it names, and of no other.", 0, updateFields},
		{"update.idempotent", "The same Update again succeeds and changes nothing.", 0, updateIdempotent},
		{"update.sequence", "Sequence state merges: nothing moves backwards.", 0, updateSequence},
		{"update.endpoint", "An SA keeps its name when its endpoints move.", 0, updateEndpoint},
	}
}

func batchClauses() []Clause {
	return []Clause{
		{"batch.large", "A batch of any length is taken, in order.", 0, batchLarge},
		{"batch.empty", "An empty batch changes nothing and is no error.", 0, batchEmpty},
		{"concurrent.calls", "Concurrent calls do not disturb each other.", 0, concurrentCalls},
	}
}

func ptr[V any](v V) *V { return &v }

func updatePlaces(p *probe) {
	p.configured()
	in, out := p.pair(1, groupA)
	absent := p.inbound(2, groupA)
	p.install(epoch(1), offload.Active, in, out)
	placed, err := p.Engine.Update(p.ctx, epoch(1),
		offload.Change{ID: out.ID, PathMTU: ptr(uint16(1300))},
		offload.Change{ID: absent.ID, PathMTU: ptr(uint16(1300))},
		offload.Change{ID: in.ID, PathMTU: ptr(uint16(1300))})
	p.must("Update", err)
	if len(placed) != 3 {
		p.fatalf("Update of three SAs answered with %d placements.", len(placed))
	}
	for i, id := range []ipsec.SAID{out.ID, absent.ID, in.ID} {
		if placed[i].ID != id {
			p.errorf("Placement %d of Update is of %v instead of %v.", i, placed[i].ID, id)
		}
	}
	p.want("Update of an SA that is not there", placed[1].Err, offload.ErrNotFound)
	if placed[0].Err != nil || placed[2].Err != nil {
		p.errorf("Good changes beside a bad one were refused: %v, %v.", placed[0].Err, placed[2].Err)
	}
}

func updateFields(p *probe) {
	p.configured()
	in, out := p.pair(1, groupA)
	p.install(epoch(1), offload.Active, in, out)
	before := p.exported(in.ID)
	p.update(epoch(1), offload.Change{
		ID: out.ID, PathMTU: ptr(uint16(1234)), Group: ptr(groupB), Role: ptr(offload.Standby),
		Lifetime: &ipsec.Lifetime{Soft: ipsec.Limits{Time: time.Hour}},
	})
	c := p.exported(out.ID)
	if c.PathMTU != 1234 || c.Group != groupB || c.Role != offload.Standby {
		p.errorf("Update to path MTU 1234, group %d, standby left %d, %d, %v.", groupB, c.PathMTU, c.Group, c.Role)
	}
	if other := p.exported(in.ID); other.PathMTU != before.PathMTU || other.Group != groupA || other.Role != offload.Active {
		p.errorf("Update of %v changed %v as well: %+v.", out.ID, in.ID, other)
	}
	_, inA := p.export(groupA)[out.ID]
	_, inB := p.export(groupB)[out.ID]
	if inA || !inB {
		p.errorf("An SA that moved from group %d to %d is exported with them: %v and %v.", groupA, groupB, inA, inB)
	}
}

func updateIdempotent(p *probe) {
	p.configured()
	out := p.outbound(1)
	p.install(epoch(1), offload.Active, out)
	change := offload.Change{
		ID: out.ID, Sequence: &ipsec.Sequence{Next: 10, Ceiling: 20}, PathMTU: ptr(uint16(1400)), Group: ptr(groupB),
	}
	p.update(epoch(1), change)
	before := p.export(offload.AllGroups)
	p.update(epoch(1), change)
	p.wantInventory("The same Update again made a difference", before)
}

func updateSequence(p *probe) {
	p.configured()
	in, out := p.pair(1, groupA)
	p.install(epoch(1), offload.Active, in, out)
	p.update(epoch(1),
		offload.Change{ID: out.ID, Sequence: &ipsec.Sequence{Next: 1000, Ceiling: 2000}},
		offload.Change{ID: in.ID, Sequence: &ipsec.Sequence{Highest: 300, Bitmap: []byte{0b0000_0101}}})
	steps := []struct{ give, want ipsec.Sequence }{
		{ipsec.Sequence{Next: 10, Ceiling: 20}, ipsec.Sequence{Next: 1000, Ceiling: 2000}},
		{ipsec.Sequence{}, ipsec.Sequence{Next: 1000, Ceiling: 2000}},
		{ipsec.Sequence{Next: 1500}, ipsec.Sequence{Next: 1500, Ceiling: 2000}},
		{ipsec.Sequence{Ceiling: 3000}, ipsec.Sequence{Next: 1500, Ceiling: 3000}},
	}
	for _, s := range steps {
		p.update(epoch(1), offload.Change{ID: out.ID, Sequence: &s.give})
		if got := p.exported(out.ID).Sequence; got.Next != s.want.Next || got.Ceiling != s.want.Ceiling {
			p.errorf("After Update with next %d and ceiling %d, they should be %d and %d, got %d and %d.",
				s.give.Next, s.give.Ceiling, s.want.Next, s.want.Ceiling, got.Next, got.Ceiling)
		}
	}
	p.update(epoch(1), offload.Change{ID: in.ID, Sequence: &ipsec.Sequence{Highest: 299, Bitmap: []byte{0b0000_0001}}})
	got := p.exported(in.ID).Sequence
	if got.Highest != 300 || len(got.Bitmap) == 0 || got.Bitmap[0] != 0b0000_0111 {
		p.errorf("Windows with 300 and 298, and with 299, should merge into highest 300 and a bitmap of 07..., got %d and %x.", got.Highest, got.Bitmap)
	}
}

func updateEndpoint(p *probe) {
	p.configured()
	out := p.outbound(1)
	p.install(epoch(1), offload.Active, out)
	p.update(epoch(1), offload.Change{ID: out.ID, Endpoint: &offload.Endpoint{
		Local: p.Local, Remote: out.Remote.Next(), Encap: &ipsec.Encap{LocalPort: 4500, RemotePort: 40000},
	}})
	p.wantInstalled("An SA whose peer moved keeps its name", out.ID)
	placed, err := p.Engine.Update(p.ctx, epoch(1), offload.Change{ID: out.ID, Endpoint: &offload.Endpoint{
		Local: p.Local, Remote: netip.MustParseAddr("2001:db8::9"),
	}})
	p.must("Update", err)
	if len(placed) != 1 {
		p.fatalf("Update of one SA answered with %d placements.", len(placed))
	}
	p.want("An endpoint of two address families", placed[0].Err, offload.ErrInvalid)
}

// largeBatch is more than two messages hold.
const largeBatch = 9000

func batchLarge(p *probe) {
	info := p.configured()
	n := largeBatch
	if info.MaxSAs > 0 {
		n = min(n, info.MaxSAs)
	}
	sas := make([]ipsec.SA, n)
	changes := make([]offload.Change, n)
	for i := range sas {
		sas[i] = p.makeSA(info.Transforms[0].Algorithms, ipsec.Inbound, uint32(i+1), groupA)
		changes[i] = offload.Change{ID: sas[i].ID, PathMTU: ptr(uint16(1300))}
	}
	inOrder := func(what string, placed []offload.Placement) {
		for i, pl := range placed {
			if pl.ID != sas[i].ID {
				p.fatalf("Placement %d of %d of %s is of %v instead of %v.", i, n, what, pl.ID, sas[i].ID)
			}
		}
	}
	inOrder("Install", p.install(epoch(1), offload.Standby, sas...))
	inOrder("Update", p.update(epoch(1), changes...))
	if got := len(p.export(groupA)); got != n {
		p.errorf("%d SAs are installed, but Export yields %d.", n, got)
	}
	last, err := p.Engine.Delete(p.ctx, epoch(1), ids(sas...)...)
	p.must("Delete", err)
	if !slices.EqualFunc(last, sas, func(c offload.Counters, sa ipsec.SA) bool { return c.ID == sa.ID }) {
		p.errorf("Delete of %d SAs returned %d counters, or not in order.", n, len(last))
	}
	p.wantInstalled("After Delete of all, nothing is left")
}

func batchEmpty(p *probe) {
	p.configured()
	in := p.inbound(1, groupA)
	p.install(epoch(1), offload.Active, in)
	before := p.export(offload.AllGroups)
	placed, err := p.Engine.Install(p.ctx, epoch(9), offload.Active)
	p.must("Install of nothing", err)
	changed, err := p.Engine.Update(p.ctx, epoch(9))
	p.must("Update of nothing", err)
	last, err := p.Engine.Delete(p.ctx, epoch(9))
	p.must("Delete of nothing", err)
	if len(placed)+len(changed)+len(last) != 0 {
		p.errorf("Empty batches were answered with something: %v, %v, %v.", placed, changed, last)
	}
	p.wantInventory("An empty batch made a difference", before)
	_, err = p.Engine.Delete(p.ctx, epoch(1), in.ID)
	p.must("Delete with an epoch that only empty batches were above", err)
}

func concurrentCalls(p *probe) {
	info := p.configured()
	callers, rounds := 8, 20
	if info.MaxSAs > 0 {
		callers = min(callers, max(1, info.MaxSAs/2))
		rounds = min(rounds, max(1, info.MaxSAs/(2*callers)))
	}
	var wg, begun sync.WaitGroup
	begun.Add(callers)
	for c := range callers {
		pairs := make([]ipsec.SA, 0, 2*rounds)
		for r := range rounds {
			in, out := p.pair(uint32(c*rounds+r+1), offload.Group(c))
			pairs = append(pairs, in, out)
		}
		wg.Go(func() {
			if err := p.busy(offload.Group(c), pairs, &begun); err != nil {
				p.errorf("Caller %d of %d: %v.", c, callers, err)
			}
		})
	}
	wg.Wait()
	p.wantInstalled("After every caller deleted what it had installed, nothing is left")
}

// busy uses a group that nobody else uses. It goes on from its first SA when all
// others have theirs, so that every caller has something to confuse with.
func (p *probe) busy(g offload.Group, sas []ipsec.SA, begun *sync.WaitGroup) error {
	for i, sa := range sas {
		placed, err := p.Engine.Install(p.ctx, epoch(1), offload.Standby, sa)
		if i == 0 {
			begun.Done()
			begun.Wait()
		}
		if err == nil && len(placed) == 1 {
			err = placed[0].Err
		}
		if err != nil {
			return err
		}
		if err := p.Engine.Promote(p.ctx, g, epoch(1)); err != nil {
			return err
		}
		n := 0
		for c, err := range p.Engine.Export(p.ctx, g) {
			if err != nil {
				return err
			}
			if c.Role != offload.Active || c.Group != g {
				return fmt.Errorf("%v is %v in group %d, want active in %d", c.ID, c.Role, c.Group, g)
			}
			n++
		}
		if n != i+1 {
			return fmt.Errorf("group %d has %d SAs, want %d", g, n, i+1)
		}
	}
	last, err := p.Engine.Delete(p.ctx, epoch(1), ids(sas...)...)
	if err == nil && len(last) != len(sas) {
		err = fmt.Errorf("delete of %d SAs of group %d found %d", len(sas), g, len(last))
	}
	return err
}
