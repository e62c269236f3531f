package throughput

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/evergate/evergate/bench/report"
)

// Sum has the medians of all rounds.
type Sum struct {
	Contestant string `json:"contestant"`
	Test       string `json:"test"`
	Figures
}

// Ratio compares the first contestant with another one, round by round.
type Ratio struct {
	Of   string `json:"of"`
	To   string `json:"to"`
	Test string `json:"test"`
	// Speed is how many times more arrives, GatewayCPU and ClientCPU how many
	// times the processor time it takes.
	Speed      report.Span `json:"speed"`
	GatewayCPU report.Span `json:"gateway_cpu"`
	ClientCPU  report.Span `json:"client_cpu"`
}

// String is what a line of progress shows.
func (f Figures) String() string {
	s := fmt.Sprintf("%.2f Gbit/s, processor seconds per GB %.2f and %.2f", f.Bits/1e9, f.Gateway, f.Client)
	if f.Packets > 0 {
		s += fmt.Sprintf(", %.0f of %.0f packets/s, %.1f%% lost", f.Packets, f.Offered, f.Lost*100)
	}
	s += fmt.Sprintf(", 99%% within %s, %.0f%% idle", lateness(f.P99), f.Idle*100)
	if f.Disordered > 0 {
		s += fmt.Sprintf(", %.4f%% DISORDERED", f.Disordered*100)
	}
	return s
}

// samples of a contestant's test, in the order of rounds.
func (r *Result) samples(contestant, test string) (out []Figures) {
	for _, s := range r.Samples {
		if s.Contestant == contestant && s.Test == test {
			out = append(out, s.Figures)
		}
	}
	return out
}

// tests are those that were made, in their order.
func (r *Result) tests() (tests []string) {
	for _, s := range r.Samples {
		if !slices.Contains(tests, s.Test) {
			tests = append(tests, s.Test)
		}
	}
	return tests
}

// sum makes Sums and Ratios of Samples.
func (r *Result) sum() {
	for _, test := range r.tests() {
		first := r.Contestants[0].Name
		for i, c := range r.Contestants {
			fs := r.samples(c.Name, test)
			if len(fs) == 0 {
				continue // in Missing
			}
			r.Sums = append(r.Sums, Sum{Contestant: c.Name, Test: test, Figures: medians(fs)})
			if i > 0 {
				r.Ratios = append(r.Ratios, ratio(first, c.Name, test, r.samples(first, test), fs))
			}
		}
	}
}

func ratio(of, to, test string, a, b []Figures) Ratio {
	over := func(value func(Figures) float64) report.Span {
		var vs []float64
		for i := range a {
			if value(b[i]) > 0 { // a short test on a busy machine may cost next to nothing
				vs = append(vs, value(a[i])/value(b[i]))
			}
		}
		return report.SpanOf(vs)
	}
	return Ratio{
		Of: of, To: to, Test: test,
		Speed:      over(func(f Figures) float64 { return f.Bits }),
		GatewayCPU: over(func(f Figures) float64 { return f.Gateway }),
		ClientCPU:  over(func(f Figures) float64 { return f.Client }),
	}
}

func medians(fs []Figures) Figures {
	of := func(value func(Figures) float64) float64 {
		var vs []float64
		for _, f := range fs {
			vs = append(vs, value(f))
		}
		return report.SpanOf(vs).Median
	}
	return Figures{
		Bits:    of(func(f Figures) float64 { return f.Bits }),
		Packets: of(func(f Figures) float64 { return f.Packets }),
		Offered: of(func(f Figures) float64 { return f.Offered }),
		Gateway: of(func(f Figures) float64 { return f.Gateway }),
		Client:  of(func(f Figures) float64 { return f.Client }),
		Lost:    of(func(f Figures) float64 { return f.Lost }),
		Idle:    of(func(f Figures) float64 { return f.Idle }),
		// What must not be shows even if it happened once.
		Disordered: slices.MaxFunc(fs, func(a, b Figures) int { return int((a.Disordered - b.Disordered) * 1e9) }).Disordered,
		P50:        time.Duration(of(func(f Figures) float64 { return float64(f.P50) })),
		P90:        time.Duration(of(func(f Figures) float64 { return float64(f.P90) })),
		P99:        time.Duration(of(func(f Figures) float64 { return float64(f.P99) })),
		P999:       time.Duration(of(func(f Figures) float64 { return float64(f.P999) })),
	}
}

// Report is r for readers.
func (r Result) Report() report.Report {
	tables := []report.Table{r.sumTable()}
	if len(r.Ratios) > 0 {
		tables = append(tables, r.ratioTable())
	}
	if len(r.Scaling) > 0 {
		what := fmt.Sprintf("SAs with a queue each, TCP, %d cores for both ends", r.Conditions.Cores)
		tables = append(tables, stepTable(what, r.Scaling))
	}
	if len(r.Ciphers) > 0 {
		tables = append(tables, stepTable("algorithms, TCP", r.Ciphers))
	}
	if len(r.Framings) > 0 {
		tables = append(tables, stepTable("ESP, TCP", r.Framings))
	}
	out := report.Report{
		Title: "Throughput from the gateway to the client, " + r.Proposal, Conditions: r.conditions(),
		Tables: append(tables, r.contestantTable()), Result: r,
		Plots: []report.Plot{
			r.plot("What arrives", "Gbit/s", r.tests(), func(f Figures) float64 { return f.Bits / 1e9 }),
			r.plot("What it costs the gateway", "processor seconds per GB", r.tests(), func(f Figures) float64 { return f.Gateway }),
		},
		Samples: slices.Concat(samplesOf("Scaling", r.Scaling), samplesOf("Cipher", r.Ciphers), samplesOf("Framing", r.Framings)),
	}
	out.Plots = slices.Concat(out.Plots, r.packets(), []report.Plot{r.memory()}, r.waits(),
		stepPlot("What arrives with several queues, over TCP", r.Scaling),
		stepPlot("What arrives with other algorithms, over TCP", r.Ciphers),
		stepPlot("What arrives without UDP, over TCP", r.Framings))
	for _, s := range r.Samples {
		name := strings.ReplaceAll(s.Contestant, ",", "")
		out.Samples = append(out.Samples, report.Sample{Name: "Throughput/test=" + s.Test + "/of=" + name, Values: s.values()})
	}
	return out
}

// values are what benchstat compares.
func (f Figures) values() []report.Value {
	vs := []report.Value{
		{Number: f.Bits, Unit: "bit/s"}, {Number: f.Gateway, Unit: "gateway-s/GB"}, {Number: f.Client, Unit: "client-s/GB"},
	}
	if f.Packets > 0 {
		vs = append(vs, report.Value{Number: f.Packets, Unit: "packet/s"})
	}
	if f.P50 > 0 {
		vs = append(vs, report.Value{Number: f.P50.Seconds(), Unit: "p50-s"}, report.Value{Number: f.P99.Seconds(), Unit: "p99-s"})
	}
	return vs
}
