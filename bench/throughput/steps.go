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
	Speed Span `json:"speed"`
}

// setting is one of them, before it is measured.
type setting struct {
	name string
	sas  int
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
		out = append(out, setting{fmt.Sprintf("queues=%d", n), n, with})
	}
	return out
}

// ciphers are settings of algorithms.
func (o Options) ciphers() (out []setting) {
	for _, proposal := range o.Ciphers {
		with := o
		with.Proposal = proposal
		out = append(out, setting{proposal, 1, with})
	}
	return out
}

// steps measures the plugin with several settings, by turns.
func (r *Result) steps(tb netlab.TB, o Options, settings []setting) ([]Step, error) {
	var pairs []*pair
	var steps []Step
	for _, s := range settings {
		open := opener(func(mtu int) (*pair, error) {
			return openPlugin(tb, s.o, variant{path: o.Plugin, sas: s.sas, encap: true}, mtu)
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
		s.Speed = spanOf(speed)
	}
	return steps, nil
}

// tableOf shows steps; what says in which they differ.
func tableOf(what string, steps []Step) report.Table {
	table := report.Table{Header: []string{what, "Gbit/s", "to the first", "CPU s/GB: gateway", "client"}}
	for _, s := range steps {
		table.Add(s.Name, fmt.Sprintf("%.2f", s.Bits/1e9), s.Speed, fmt.Sprintf("%.2f", s.Gateway), fmt.Sprintf("%.2f", s.Client))
	}
	return table
}

// samplesOf are those of steps.
func samplesOf(name string, steps []Step) (out []report.Sample) {
	for _, s := range steps {
		for _, f := range s.Rounds {
			out = append(out, report.Sample{Name: name + "/" + s.Name, Values: []report.Value{
				{Number: f.Bits, Unit: "bit/s"}, {Number: f.Gateway, Unit: "gateway-s/GB"}, {Number: f.Client, Unit: "client-s/GB"},
			}})
		}
	}
	return out
}
