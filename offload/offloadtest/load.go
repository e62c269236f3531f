package offloadtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// Load says how hard Measure works a dataplane.
type Load struct {
	// SAs to install, in pairs; fewer where Info.MaxSAs is less.
	SAs int
	// Batch is how many SAs go into one call.
	Batch int
	// Callers is how many callers call at the same time, each in a group of its own.
	Callers int
}

// MaxCallers bounds Load.Callers, as each needs a group.
const MaxCallers = int(offload.MaxGroups)

// A Phase is what one kind of call cost.
type Phase struct {
	Call string `json:"call"`
	// SAs that the calls were about, and Calls that it took.
	SAs   int `json:"sas"`
	Calls int `json:"calls"`
	// Elapsed is from the first call to the end of the last one.
	Elapsed time.Duration `json:"elapsed_nanos"`
	// Rate is SAs per second.
	Rate float64 `json:"sas_per_second"`
	// Latency is of single calls.
	Latency Latency `json:"latency"`
}

// Latency has percentiles: of 100 calls, 50, 90 and 99 took no longer.
type Latency struct {
	P50 time.Duration `json:"p50_nanos"`
	P90 time.Duration `json:"p90_nanos"`
	P99 time.Duration `json:"p99_nanos"`
	Max time.Duration `json:"max_nanos"`
}

// Measure configures a fresh dataplane and takes SAs through what a member does
// with them: installed as standby, given leases, exported as checkpoints, promoted
// group by group, and deleted. It measures; it does not judge. The error is that
// of the first call that failed, or an SA that was refused.
func Measure(ctx context.Context, open Open, l Load) (offload.Info, []Phase, error) {
	if l.SAs < 2 || l.Batch < 1 || l.Callers < 1 || l.Callers > MaxCallers {
		return offload.Info{}, nil, fmt.Errorf("offloadtest: a load of %d SAs in batches of %d by %d callers: want at least 2, 1, and 1 to %d",
			l.SAs, l.Batch, l.Callers, MaxCallers)
	}
	var info offload.Info
	var phases []Phase
	err := withPlane(ctx, open, func(h *Harness) (err error) {
		if info, err = h.Engine.Configure(ctx, h.Config); err != nil {
			return err
		}
		if len(info.Transforms) == 0 {
			return fmt.Errorf("offloadtest: the dataplane lists no algorithms")
		}
		if info.MaxSAs > 0 {
			l.SAs = min(l.SAs, info.MaxSAs)
		}
		phases, err = l.run(ctx, h, info.Transforms[0].Algorithms)
		return err
	})
	return info, phases, err
}

// worker is one caller with its SAs.
type worker struct {
	engine  offload.Engine
	group   offload.Group
	sas     []ipsec.SA
	batch   int
	latency []time.Duration
}

func (l Load) run(ctx context.Context, h *Harness, a ipsec.Algorithms) ([]Phase, error) {
	workers := make([]*worker, l.Callers)
	for i := range workers {
		workers[i] = &worker{engine: h.Engine, group: offload.Group(i), batch: l.Batch}
	}
	for n := range l.SAs / 2 {
		w := workers[n%l.Callers]
		in, out := h.Pair(a, uint32(n+1), w.group)
		w.sas = append(w.sas, in, out)
	}
	var phases []Phase
	for _, p := range []struct {
		call string
		do   func(*worker, context.Context) error
	}{
		{"install", (*worker).install},
		{"update", (*worker).update},
		{"export", (*worker).export},
		{"promote", (*worker).promote},
		{"delete", (*worker).delete},
	} {
		phase, err := measure(ctx, p.call, workers, p.do)
		if err != nil {
			return phases, fmt.Errorf("offloadtest: %s: %w", p.call, err)
		}
		phases = append(phases, phase)
	}
	return phases, nil
}

// measure has all workers do their part of a phase at the same time.
func measure(ctx context.Context, call string, workers []*worker, do func(*worker, context.Context) error) (Phase, error) {
	p := Phase{Call: call}
	errs := make([]error, len(workers))
	var done sync.WaitGroup
	start := time.Now()
	for i, w := range workers {
		w.latency = nil
		done.Go(func() { errs[i] = do(w, ctx) })
	}
	done.Wait()
	p.Elapsed = time.Since(start)
	var all []time.Duration
	for i, w := range workers {
		if errs[i] != nil {
			return p, errs[i]
		}
		p.SAs += len(w.sas)
		all = append(all, w.latency...)
	}
	p.Calls, p.Latency = len(all), percentiles(all)
	p.Rate = float64(p.SAs) / p.Elapsed.Seconds()
	return p, nil
}

// percentiles sorts all, which has no fewer than one.
func percentiles(all []time.Duration) Latency {
	slices.Sort(all)
	at := func(percent int) time.Duration { return all[(len(all)*percent+99)/100-1] }
	return Latency{P50: at(50), P90: at(90), P99: at(99), Max: all[len(all)-1]}
}

// timed notes how long one call takes.
func (w *worker) timed(call func() error) error {
	start := time.Now()
	err := call()
	w.latency = append(w.latency, time.Since(start))
	return err
}

// batches calls with the worker's SAs, some at a time.
func (w *worker) batches(call func([]ipsec.SA) error) error {
	for part := range slices.Chunk(w.sas, w.batch) {
		if err := w.timed(func() error { return call(part) }); err != nil {
			return err
		}
	}
	return nil
}

// refused returns the error of the first placement that has one.
func refused(placed []offload.Placement, err error) error {
	for _, p := range placed {
		if err == nil {
			err = p.Err
		}
	}
	return err
}

func (w *worker) install(ctx context.Context) error {
	return w.batches(func(sas []ipsec.SA) error {
		return refused(w.engine.Install(ctx, epoch(1), offload.Standby, sas...))
	})
}

func (w *worker) update(ctx context.Context) error {
	return w.batches(func(sas []ipsec.SA) error {
		changes := make([]offload.Change, len(sas))
		for i, sa := range sas {
			changes[i] = offload.Change{ID: sa.ID, Sequence: &ipsec.Sequence{Next: ipsec.LeaseSize, Ceiling: 2 * ipsec.LeaseSize}}
		}
		return refused(w.engine.Update(ctx, epoch(1), changes...))
	})
}

func (w *worker) export(ctx context.Context) error {
	return w.timed(func() error {
		n := 0
		for _, err := range w.engine.Export(ctx, w.group) {
			if err != nil {
				return err
			}
			n++
		}
		if n != len(w.sas) {
			return fmt.Errorf("group %d has %d SAs, and %d were exported", w.group, len(w.sas), n)
		}
		return nil
	})
}

func (w *worker) promote(ctx context.Context) error {
	return w.timed(func() error { return w.engine.Promote(ctx, w.group, epoch(2)) })
}

func (w *worker) delete(ctx context.Context) error {
	return w.batches(func(sas []ipsec.SA) error {
		_, err := w.engine.Delete(ctx, epoch(2), ids(sas...)...)
		return err
	})
}
