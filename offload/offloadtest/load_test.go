package offloadtest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/mem"
	"github.com/evergate/evergate/offload/offloadtest"
)

func TestMeasureTakesSAsThroughTheirLife(t *testing.T) {
	_, phases, err := offloadtest.Measure(t.Context(), memory(mem.Options{}), offloadtest.Load{SAs: 100, Batch: 7, Callers: 3})
	if err != nil {
		t.Fatalf("A plane in memory should bear it, got %v.", err)
	}
	calls := map[string]int{"install": 15, "update": 15, "export": 3, "promote": 3, "delete": 15}
	for _, p := range phases {
		if p.SAs != 100 || p.Calls != calls[p.Call] {
			t.Errorf("%s should be %d calls for 100 SAs, got %d for %d.", p.Call, calls[p.Call], p.Calls, p.SAs)
		}
		if l := p.Latency; p.Rate <= 0 || l.P50 > l.P90 || l.P90 > l.P99 || l.P99 > l.Max || l.Max > p.Elapsed {
			t.Errorf("%s has a rate of %v and percentiles that do not rise: %+v of %v.", p.Call, p.Rate, l, p.Elapsed)
		}
		delete(calls, p.Call)
	}
	if len(calls) > 0 {
		t.Errorf("Not measured: %v.", calls)
	}
}

func TestMeasureFillsASmallPlane(t *testing.T) {
	_, phases, err := offloadtest.Measure(t.Context(), memory(mem.Options{Capacity: 10}), offloadtest.Load{SAs: 100, Batch: 100, Callers: 1})
	if err != nil || len(phases) == 0 || phases[0].SAs != 10 {
		t.Errorf("A plane of ten SAs should get ten, got %+v (%v).", phases, err)
	}
}

// full says nothing of its limit.
type full struct{ *mem.Engine }

func (f full) Install(ctx context.Context, e offload.Epoch, r offload.Role, sas ...ipsec.SA) ([]offload.Placement, error) {
	placed, err := f.Engine.Install(ctx, e, r, sas...)
	placed[len(placed)-1].Err = offload.ErrExhausted
	return placed, err
}

func TestMeasureSaysWhyItStopped(t *testing.T) {
	open := func(context.Context) (*offloadtest.Harness, error) {
		return &offloadtest.Harness{Engine: full{mem.New(mem.Options{})}}, nil
	}
	if _, _, err := offloadtest.Measure(t.Context(), open, offloadtest.Load{SAs: 4, Batch: 4, Callers: 1}); !errors.Is(err, offload.ErrExhausted) {
		t.Errorf("A refused SA should end it, got %v.", err)
	}
	for _, bad := range []offloadtest.Load{{SAs: 1, Batch: 1, Callers: 1}, {SAs: 2, Callers: 1}, {SAs: 2, Batch: 1}, {SAs: 2, Batch: 1, Callers: 17}} {
		if _, _, err := offloadtest.Measure(t.Context(), open, bad); err == nil {
			t.Errorf("A load of %+v should be refused.", bad)
		}
	}
}
