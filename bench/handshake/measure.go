package handshake

import (
	"context"
	"slices"
	"time"

	"github.com/evergate/evergate/bench/rig"
	"github.com/evergate/evergate/core/netlab"
)

// warmUp are the handshakes of each responder that are not counted.
const warmUp = 50

// calm is given to a responder after a round, to do what it put off.
const calm = 200 * time.Millisecond

// compare has all responders take turns with one key exchange method.
func (r *Result) compare(tb netlab.TB, o Options, m Method) error {
	ctx := tb.Context()
	responders, err := r.start(tb, o, m)
	if err != nil {
		return err
	}
	figures := make(map[string]*Figures)
	waits := make(map[string][]time.Duration)
	for _, p := range responders {
		figures[p.name] = &Figures{Method: m.Name, Responder: p.name}
		if _, err := p.dial(ctx, min(warmUp, o.Handshakes), o.AtOnce); err != nil {
			return err
		}
	}
	turns := slices.Clone(responders)
	for round := range o.Rounds {
		o.Logf("%s: round %d of %d", m.Name, round+1, o.Rounds)
		for _, p := range turns {
			one, took, err := p.round(ctx, o)
			if err != nil {
				return err
			}
			figures[p.name].Rounds = append(figures[p.name].Rounds, one)
			waits[p.name] = append(waits[p.name], took...)
		}
		slices.Reverse(turns)
	}
	for _, p := range responders {
		f := figures[p.name]
		f.Round, f.Wait = middle(f.Rounds), rig.SpreadOf(waits[p.name])
		r.Figures = append(r.Figures, *f)
	}
	return nil
}

// round is one turn.
func (p *responder) round(ctx context.Context, o Options) (Round, []time.Duration, error) {
	all, daemon, err := p.usage()
	if err != nil {
		return Round{}, nil, err
	}
	began := time.Now()
	waits, err := p.dial(ctx, o.Handshakes, o.AtOnce)
	if err != nil {
		return Round{}, nil, err
	}
	took := time.Since(began)
	if err := rig.Rest(ctx, calm); err != nil {
		return Round{}, nil, err
	}
	allAfter, daemonAfter, err := p.usage()
	if err != nil {
		return Round{}, nil, err
	}
	n := time.Duration(o.Handshakes)
	return Round{
		PerSecond: float64(o.Handshakes) / took.Seconds(),
		CPU:       (allAfter.CPU - all.CPU) / n, Daemon: (daemonAfter.CPU - daemon.CPU) / n,
	}, waits, nil
}

// middle has the median of each figure.
func middle(rounds []Round) Round {
	return Round{
		PerSecond: median(rounds, func(r Round) float64 { return r.PerSecond }),
		CPU:       median(rounds, func(r Round) time.Duration { return r.CPU }),
		Daemon:    median(rounds, func(r Round) time.Duration { return r.Daemon }),
	}
}

func median[T time.Duration | float64](rounds []Round, figure func(Round) T) T {
	all := make([]T, len(rounds))
	for i, r := range rounds {
		all[i] = figure(r)
	}
	slices.Sort(all)
	return (all[len(all)/2] + all[(len(all)-1)/2]) / 2
}

// fill looks at the memory of responders that have n tunnels.
func (r *Result) fill(tb netlab.TB, o Options, n int) error {
	ctx := tb.Context()
	responders, err := r.start(tb, o, Methods()[0])
	if err != nil {
		return err
	}
	for _, p := range responders {
		o.Logf("%d tunnels at %s", n, p.name)
		if _, err := p.dial(ctx, min(warmUp, n), o.AtOnce); err != nil {
			return err
		}
		if err := rig.Rest(ctx, o.Settle); err != nil {
			return err
		}
		all, daemon, err := p.usage()
		if err != nil {
			return err
		}
		if err := p.fill(ctx, o, n); err != nil {
			return err
		}
		if err := rig.Rest(ctx, o.Settle); err != nil {
			return err
		}
		allAfter, daemonAfter, err := p.usage()
		if err != nil {
			return err
		}
		r.Memory = append(r.Memory, Memory{
			Responder: p.name, Tunnels: n,
			PerTunnel: float64(allAfter.Resident-all.Resident) / float64(n),
			Daemon:    float64(daemonAfter.Resident-daemon.Resident) / float64(n),
		})
	}
	return nil
}

// stretch is after how many tunnels something is said.
const stretch = 2500

// fill has n clients dial in, and says how it goes.
func (p *responder) fill(ctx context.Context, o Options, n int) error {
	for done := 0; done < n; {
		part, began := min(stretch, n-done), time.Now()
		if _, err := p.dial(ctx, part, o.AtOnce); err != nil {
			return err
		}
		done += part
		o.Logf("%s has %d of %d tunnels, %.0f more per second", p.name, done, n, float64(part)/time.Since(began).Seconds())
	}
	return nil
}
