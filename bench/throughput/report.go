package throughput

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/evergate/evergate/bench/rig"
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
	Speed      Span `json:"speed"`
	GatewayCPU Span `json:"gateway_cpu"`
	ClientCPU  Span `json:"client_cpu"`
}

// Span is a median with the least and the greatest value; zero of none.
type Span struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func spanOf(vs []float64) Span {
	if len(vs) == 0 {
		return Span{}
	}
	slices.Sort(vs)
	return Span{Median: vs[len(vs)/2], Min: vs[0], Max: vs[len(vs)-1]}
}

// String is what a table shows.
func (s Span) String() string { return fmt.Sprintf("%.2f (%.2f-%.2f)", s.Median, s.Min, s.Max) }

// String is what a line of progress shows.
func (f Figures) String() string {
	s := fmt.Sprintf("%.2f Gbit/s, processor seconds per GB %.2f and %.2f", f.Bits/1e9, f.Gateway, f.Client)
	if f.Packets > 0 {
		s += fmt.Sprintf(", %.0f of %.0f packets/s, %.1f%% lost, 99%% within %v", f.Packets, f.Offered, f.Lost*100, f.P99.Round(time.Microsecond))
	}
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

// sum makes Sums and Ratios of Samples.
func (r *Result) sum() {
	var tests []string
	for _, s := range r.Samples {
		if !slices.Contains(tests, s.Test) {
			tests = append(tests, s.Test)
		}
	}
	for _, test := range tests {
		first := r.Contestants[0].Name
		for i, c := range r.Contestants {
			fs := r.samples(c.Name, test)
			r.Sums = append(r.Sums, Sum{Contestant: c.Name, Test: test, Figures: medians(fs)})
			if i > 0 {
				r.Ratios = append(r.Ratios, ratio(first, c.Name, test, r.samples(first, test), fs))
			}
		}
	}
}

func ratio(of, to, test string, a, b []Figures) Ratio {
	over := func(value func(Figures) float64) Span {
		var vs []float64
		for i := range a {
			if value(b[i]) > 0 { // a short test on a busy machine may cost next to nothing
				vs = append(vs, value(a[i])/value(b[i]))
			}
		}
		return spanOf(vs)
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
		return spanOf(vs).Median
	}
	return Figures{
		Bits:    of(func(f Figures) float64 { return f.Bits }),
		Packets: of(func(f Figures) float64 { return f.Packets }),
		Offered: of(func(f Figures) float64 { return f.Offered }),
		Gateway: of(func(f Figures) float64 { return f.Gateway }),
		Client:  of(func(f Figures) float64 { return f.Client }),
		Lost:    of(func(f Figures) float64 { return f.Lost }),
		// What must not be shows even if it happened once.
		Disordered: slices.MaxFunc(fs, func(a, b Figures) int { return int((a.Disordered - b.Disordered) * 1e9) }).Disordered,
		P50:        time.Duration(of(func(f Figures) float64 { return float64(f.P50) })),
		P99:        time.Duration(of(func(f Figures) float64 { return float64(f.P99) })),
	}
}

// Write reports r as tables and a line of JSON.
func (r Result) Write(w io.Writer) error {
	rows := []string{"test\tcontestant\tGbit/s\tpackets/s\tlost\tdisordered\t50%\t99%\tCPU s/GB: gateway\tclient"}
	for _, s := range r.Sums {
		rows = append(rows, fmt.Sprintf("%s\t%s\t%.2f\t%.0f\t%.1f%%\t%.4f%%\t%v\t%v\t%.2f\t%.2f", s.Test, s.Contestant,
			s.Bits/1e9, s.Packets, s.Lost*100, s.Disordered*100, s.P50.Round(time.Microsecond), s.P99.Round(time.Microsecond), s.Gateway, s.Client))
	}
	if len(r.Ratios) > 0 {
		rows = append(rows, "", "test\t"+r.Ratios[0].Of+" to\tspeed\tCPU per GB: gateway\tclient")
	}
	for _, q := range r.Ratios {
		rows = append(rows, fmt.Sprintf("%s\t%s\t%v\t%v\t%v", q.Test, q.To, q.Speed, q.GatewayCPU, q.ClientCPU))
	}
	rows = append(rows, "", "contestant\tpeak memory: gateway\tclient\tstarted in")
	for _, c := range r.Contestants {
		rows = append(rows, fmt.Sprintf("%s\t%d MiB\t%d MiB\t%v", c.Name, c.Gateway>>20, c.Client>>20, c.Started.Round(time.Millisecond)))
	}
	for _, name := range r.Missing {
		rows = append(rows, name+"\tnot measured")
	}
	return rig.Report(w, "Throughput from the gateway to the client, "+r.Proposal, r.Conditions, rows, r)
}

// Benchstat writes the samples as Go benchmarks do, for benchstat to compare with
// another run's.
func (r Result) Benchstat(w io.Writer) error {
	for _, s := range r.Samples {
		name := strings.NewReplacer(" ", "_", ",", "").Replace(s.Contestant)
		_, err := fmt.Fprintf(w, "BenchmarkThroughput/test=%s/of=%s 1 %.0f bit/s %.0f packet/s %.4f gateway-s/GB %.4f client-s/GB\n",
			s.Test, name, s.Bits, s.Packets, s.Gateway, s.Client)
		if err != nil {
			return fmt.Errorf("throughput: write for benchstat: %w", err)
		}
	}
	return nil
}
