package engine

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/mem"
)

// planeOps are operations as a word each: the shard's letter, what is to be done, and
// the number of the operation.
func planeOps(shards map[byte]*runner, words ...string) []planeOp {
	var out []planeOp
	for i, w := range words {
		r := shards[w[0]]
		if r == nil {
			r = &runner{}
			shards[w[0]] = r
		}
		op := planeOp{Op: Op{ID: OpID(i)}, r: r}
		switch w[1:] {
		case "install":
			op.Install = []ipsec.SA{{ID: saidOf(i)}}
		case "update":
			op.Update = []offload.Change{{ID: saidOf(i)}}
		case "delete":
			op.Delete = []ipsec.SAID{saidOf(i)}
		}
		out = append(out, op)
	}
	return out
}

func saidOf(i int) ipsec.SAID { return ipsec.SAID{SPI: ipsec.SPI(1000 + i), Proto: ipsec.ESP} }

// TestShardsShareCalls: what different shards want at one time goes in few calls, and
// no operation of a shard passes another one of it.
func TestShardsShareCalls(t *testing.T) {
	shards := make(map[byte]*runner)
	ops := planeOps(shards, "ainstall", "binstall", "adelete", "cinstall", "ainstall", "bdelete", "cinstall", "aupdate")
	want := [][]OpID{{0, 1, 3, 6}, {2, 5}, {4}, {7}}
	var got [][]OpID
	for batch := range batches(ops) {
		var ids []OpID
		for _, op := range batch {
			ids = append(ids, op.ID)
		}
		got = append(got, ids)
	}
	if !slices.EqualFunc(got, want, slices.Equal[[]OpID]) {
		t.Errorf("The calls carry %v, want %v.", got, want)
	}
}

// TestVeryManyOperationsAreCutIntoTurns: to look for company takes time with the square
// of how many wait, so not all are looked at.
func TestVeryManyOperationsAreCutIntoTurns(t *testing.T) {
	ops := make([]planeOp, 2*maxTurn+1)
	for i := range ops {
		ops[i] = planeOp{Op: Op{ID: OpID(i), Delete: []ipsec.SAID{saidOf(i)}}, r: &runner{}}
	}
	var sizes []int
	for batch := range batches(ops) {
		sizes = append(sizes, len(batch))
	}
	if want := []int{maxTurn, maxTurn, 1}; !slices.Equal(sizes, want) {
		t.Errorf("The calls carry %v operations, want %v.", sizes, want)
	}
}

// TestAnswersFindTheirShard: of a call for several shards each gets what it asked for,
// the last word on an SA too, which it counts (B7).
func TestAnswersFindTheirShard(t *testing.T) {
	shards := make(map[byte]*runner)
	ops := planeOps(shards, "adelete", "bdelete", "adelete")
	gone := []offload.Counters{
		{Placement: offload.Placement{ID: saidOf(2)}, Packets: 2},
		{Placement: offload.Placement{ID: saidOf(1)}, Packets: 1},
	}
	results := dealOut(ops, nil, gone, nil)
	a, b := results[shards['a']], results[shards['b']]
	switch {
	case len(a) != 2 || a[0].ID != 0 || a[1].ID != 2 || len(b) != 1 || b[0].ID != 1:
		t.Errorf("The answers went to the wrong operations: %+v and %+v.", a, b)
	case len(a[0].Counters) != 0 || len(a[1].Counters) != 1 || a[1].Counters[0].Packets != 2:
		t.Errorf("Shard a was told %+v, want the counters of its second SA; the first was not there.", a)
	case len(b[0].Counters) != 1 || b[0].Counters[0].Packets != 1:
		t.Errorf("Shard b was told %+v, want the counters of its own SA.", b)
	}

	installs := planeOps(shards, "ainstall", "binstall")
	placed := []offload.Placement{{ID: saidOf(0)}, {ID: saidOf(1)}}
	results = dealOut(installs, placed, nil, nil)
	if b := results[shards['b']]; len(b) != 1 || len(b[0].Placements) != 1 || b[0].Placements[0].ID != saidOf(1) {
		t.Errorf("Shard b was told %+v, want where its own SA is.", b)
	}
}

// hangs is a dataplane that does not answer.
type hangs struct{ offload.Engine }

func (hangs) Delete(ctx context.Context, _ offload.Epoch, _ ...ipsec.SAID) ([]offload.Counters, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestDataplaneThatDoesNotAnswerIsLogged: whoever waits is told in the end, and the log
// tells why.
func TestDataplaneThatDoesNotAnswerIsLogged(t *testing.T) { // B7
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		e := &Engine{o: Options{Plane: hangs{}, Log: slog.New(slog.NewTextHandler(&log, nil))}}
		shards := make(map[byte]*runner)
		results := e.call(t.Context(), planeOps(shards, "adelete"))
		if r := results[shards['a']]; len(r) != 1 || r[0].Err == nil {
			t.Errorf("The shard was told %+v, want an error.", r)
		}
		if !strings.Contains(log.String(), "dataplane call failed") {
			t.Errorf("The log says %q, want that the call failed.", log.String())
		}
	})
}

// TestOrderWithoutAnswerIsRepeated: the replication machine must not take for done, or
// tell other members, what the dataplane has perhaps not carried out (I2).
func TestOrderWithoutAnswerIsRepeated(t *testing.T) { // B7
	synctest.Test(t, func(t *testing.T) {
		e := &Engine{o: Options{Log: slog.New(slog.DiscardHandler)}}
		calls := 0
		e.insist(t.Context(), func(ctx context.Context) error {
			if calls++; calls == 1 {
				<-ctx.Done()
			}
			return ctx.Err()
		})
		if calls != 2 {
			t.Errorf("The dataplane was asked %d times, want a second time after the first had no answer.", calls)
		}
	})
}

// overtaken is a dataplane that hears something else before the first Update.
type overtaken struct {
	offload.Engine
	first func()
	calls int
}

func (o *overtaken) Update(ctx context.Context, at offload.Epoch, changes ...offload.Change) ([]offload.Placement, error) {
	if o.calls++; o.calls == 1 {
		o.first()
	}
	return o.Engine.Update(ctx, at, changes...)
}

// TestCallThatWasOvertakenIsMadeAgain: a member's own newer call must not make its older
// one look like that of a former owner (I5).
func TestCallThatWasOvertakenIsMadeAgain(t *testing.T) {
	for _, c := range []struct {
		by    string
		own   bool
		calls int
		want  error
	}{
		{"our newer epoch", true, 2, nil},
		{"another owner's", false, 1, offload.ErrStaleEpoch},
	} {
		t.Run(c.by, func(t *testing.T) {
			plane := &overtaken{Engine: mem.New(mem.Options{})}
			e := &Engine{o: Options{Plane: plane, Log: slog.New(slog.DiscardHandler)}}
			e.epoch.Store(2)
			sa := leased(10)
			if _, err := plane.Configure(t.Context(), offload.Config{Boot: 1}); err != nil {
				t.Fatalf("The dataplane cannot be configured: %v.", err)
			}
			if _, err := plane.Install(t.Context(), 2, offload.Active, sa); err != nil {
				t.Fatalf("The SA cannot be installed: %v.", err)
			}
			raise := offload.Change{ID: sa.ID, Sequence: &ipsec.Sequence{Ceiling: 20}}
			plane.first = func() {
				if c.own {
					e.epoch.Store(3)
				}
				if _, err := plane.Engine.Update(t.Context(), 3, offload.Change{ID: sa.ID}); err != nil {
					t.Errorf("The newer call failed: %v.", err)
				}
			}
			r := new(runner)
			got := e.call(t.Context(), []planeOp{{Op: Op{Update: []offload.Change{raise}}, r: r}})[r]
			if len(got) != 1 || !errors.Is(got[0].Err, c.want) || plane.calls != c.calls {
				t.Errorf("After %d calls the shard was told %+v, want %d calls and the error %v.", plane.calls, got, c.calls, c.want)
			}
		})
	}
}
