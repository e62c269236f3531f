package throughput

import (
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/evergate/evergate/bench/report"
	"github.com/evergate/evergate/core/netlab"
)

// stepStreams are the TCP connections of a Step, which are spread over its SAs.
const stepStreams = 8

// Step is how fast the plugin is with one of several settings, of which the first is
// what the others are compared with.
type Step struct {
	Name   string    `json:"name"`
	Rounds []Figures `json:"rounds"`
	// Figures are the medians.
	Figures
	// Speed is how many times as much arrives as with the first.
	Speed report.Span `json:"speed"`
}

// setting is one of them, before it is measured.
type setting struct {
	name string
	sas  int
	raw  bool
	o    Options
}

// queues are settings of as many queues as SAs.
func (o Options) queues() (out []setting) {
	for _, n := range o.Queues {
		with := o
		with.Settings = maps.Clone(o.Settings)
		if with.Settings == nil {
			with.Settings = make(map[string]string)
		}
		with.Settings["queues"] = strconv.Itoa(n)
		out = append(out, setting{name: fmt.Sprintf("queues=%d", n), sas: n, o: with})
	}
	return out
}

// ciphers are settings of algorithms.
func (o Options) ciphers() (out []setting) {
	for _, proposal := range o.Ciphers {
		with := o
		with.Proposal = proposal
		out = append(out, setting{name: proposal, sas: 1, o: with})
	}
	return out
}

// framings are settings of what carries ESP: UDP, or IP itself.
func (o Options) framings() []setting {
	return []setting{{name: "in UDP", sas: 1, o: o}, {name: "protocol 50", sas: 1, raw: true, o: o}}
}

// steps measures the plugin with several settings, by turns.
func (r *Result) steps(tb netlab.TB, o Options, settings []setting) ([]Step, error) {
	var pairs []*pair
	var steps []Step
	for _, s := range settings {
		open := opener(func(mtu int) (*pair, error) {
			return openPlugin(tb, s.o, variant{path: o.Plugin, sas: s.sas, encap: !s.raw}, mtu)
		})
		p, err := open.ready(tb.Context(), 0)
		var cannot unable
		if errors.As(err, &cannot) {
			r.Missing = append(r.Missing, fmt.Sprintf("%s: %v", s.name, cannot.reason))
			continue
		}
		if err != nil {
			return nil, err
		}
		pairs, steps = append(pairs, p), append(steps, Step{Name: s.name})
	}
	for round := range o.Rounds {
		for i, p := range pairs {
			f, err := p.tcp(tb.Context(), stepStreams, o.Time)
			if err != nil {
				return nil, fmt.Errorf("throughput: %s: %w", steps[i].Name, err)
			}
			steps[i].Rounds = append(steps[i].Rounds, f)
			o.Logf("round %d of %d: %s: %v", round+1, o.Rounds, steps[i].Name, f)
		}
	}
	for i := range steps {
		s := &steps[i]
		s.Figures = medians(s.Rounds)
		var speed []float64
		for round, f := range s.Rounds {
			speed = append(speed, f.Bits/steps[0].Rounds[round].Bits)
		}
		s.Speed = report.SpanOf(speed)
	}
	return steps, nil
}

// samplesOf are those of steps.
func samplesOf(name string, steps []Step) (out []report.Sample) {
	for _, s := range steps {
		for _, f := range s.Rounds {
			out = append(out, report.Sample{Name: name + "/" + s.Name, Values: f.values()})
		}
	}
	return out
}
