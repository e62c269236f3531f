package throughput

import (
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/evergate/evergate/bench/report"
	"github.com/evergate/evergate/core/netlab"
)

// scalingStreams are the TCP connections that are spread over all SAs, however many
// these are.
const scalingStreams = 8

// Scaling is how fast the plugin is with a number of SA pairs that have a queue each.
type Scaling struct {
	Queues int       `json:"queues"`
	Rounds []Figures `json:"rounds"`
	// Figures are the medians.
	Figures
	// Speed is how many times as much arrives as with the first number.
	Speed Span `json:"speed"`
}

// scale measures the plugin with several numbers of queues, by turns.
func (r *Result) scale(tb netlab.TB, o Options) error {
	var pairs []*pair
	for _, n := range o.Queues {
		o.Settings = withQueues(o.Settings, n)
		open := opener(func(mtu int) (*pair, error) {
			return openPlugin(tb, o, variant{path: o.Plugin, sas: n, encap: true}, mtu)
		})
		p, err := open.ready(tb.Context(), 0)
		var cannot unable
		if errors.As(err, &cannot) {
			r.Missing = append(r.Missing, fmt.Sprintf("queues: %v", cannot.reason))
			return nil
		}
		if err != nil {
			return err
		}
		pairs = append(pairs, p)
		r.Scaling = append(r.Scaling, Scaling{Queues: n})
	}
	for round := range o.Rounds {
		for i, p := range pairs {
			f, err := p.tcp(tb.Context(), scalingStreams, o.Time)
			if err != nil {
				return fmt.Errorf("throughput: %d queues: %w", r.Scaling[i].Queues, err)
			}
			r.Scaling[i].Rounds = append(r.Scaling[i].Rounds, f)
			o.Logf("round %d of %d: %d queues: %v", round+1, o.Rounds, r.Scaling[i].Queues, f)
		}
	}
	for i := range r.Scaling {
		s := &r.Scaling[i]
		s.Figures = medians(s.Rounds)
		var speed []float64
		for round, f := range s.Rounds {
			speed = append(speed, f.Bits/r.Scaling[0].Rounds[round].Bits)
		}
		s.Speed = spanOf(speed)
	}
	return nil
}

// withQueues are settings with a number of queues.
func withQueues(settings map[string]string, n int) map[string]string {
	out := maps.Clone(settings)
	if out == nil {
		out = make(map[string]string)
	}
	out["queues"] = strconv.Itoa(n)
	return out
}

// scaling is the table of it, and the samples.
func (r Result) scaling() (report.Table, []report.Sample) {
	table := report.Table{Header: []string{
		fmt.Sprintf("SAs with a queue each, %d cores for both ends", r.Conditions.Cores), "Gbit/s", "to the first", "CPU s/GB: gateway", "client",
	}}
	var samples []report.Sample
	for _, s := range r.Scaling {
		table.Add(s.Queues, fmt.Sprintf("%.2f", s.Bits/1e9), s.Speed, fmt.Sprintf("%.2f", s.Gateway), fmt.Sprintf("%.2f", s.Client))
		for _, f := range s.Rounds {
			samples = append(samples, report.Sample{Name: fmt.Sprintf("Scaling/queues=%d", s.Queues), Values: []report.Value{
				{Number: f.Bits, Unit: "bit/s"}, {Number: f.Gateway, Unit: "gateway-s/GB"}, {Number: f.Client, Unit: "client-s/GB"},
			}})
		}
	}
	return table, samples
}
