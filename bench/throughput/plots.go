package throughput

import (
	"slices"
	"time"

	"github.com/evergate/evergate/bench/report"
)

// plot has the medians of a figure with their spread: a group of bars for each
// test, in it one for each contestant, of no height where it could not be made.
func (r Result) plot(title, unit string, tests []string, figure func(Figures) float64) report.Plot {
	p := report.Plot{Title: title, Y: unit, Groups: tests}
	for _, c := range r.Contestants {
		s := report.Series{Name: c.Name}
		for _, test := range p.Groups {
			var vs []float64
			for _, f := range r.samples(c.Name, test) {
				vs = append(vs, figure(f))
			}
			span := report.SpanOf(vs)
			s.Y, s.Low, s.High = append(s.Y, span.Median), append(s.Low, span.Min), append(s.High, span.Max)
		}
		p.Series = append(p.Series, s)
	}
	return p
}

// packets is a plot of what arrives in the tests with datagrams; there is none of none.
func (r Result) packets() []report.Plot {
	tests := slices.DeleteFunc(r.tests(), func(test string) bool {
		return !slices.ContainsFunc(r.Samples, func(s Sample) bool { return s.Test == test && s.Packets > 0 })
	})
	if len(tests) == 0 {
		return nil
	}
	return []report.Plot{r.plot("What arrives, in packets", "1,000 packets per second", tests, func(f Figures) float64 { return f.Packets / 1e3 })}
}

// memory is a plot of the most that the processes of each contestant ever had.
func (r Result) memory() report.Plot {
	const mib = 1 << 20
	p := report.Plot{Title: "What it takes of memory, at most", Y: "MiB"}
	gateway, client := report.Series{Name: "gateway"}, report.Series{Name: "client"}
	for _, c := range r.Contestants {
		p.Groups = append(p.Groups, c.Name)
		gateway.Y, client.Y = append(gateway.Y, float64(c.Gateway)/mib), append(client.Y, float64(c.Client)/mib)
	}
	p.Series = []report.Series{gateway, client}
	return p
}

// stepPlot shows the speed of steps with its spread; there is none of no steps.
func stepPlot(title string, steps []Step) []report.Plot {
	if len(steps) == 0 {
		return nil
	}
	p := report.Plot{Title: title, Y: "Gbit/s"}
	s := report.Series{Name: "evergate"}
	for _, step := range steps {
		var vs []float64
		for _, f := range step.Rounds {
			vs = append(vs, f.Bits/1e9)
		}
		span := report.SpanOf(vs)
		p.Groups = append(p.Groups, step.Name)
		s.Y, s.Low, s.High = append(s.Y, span.Median), append(s.Low, span.Min), append(s.High, span.Max)
	}
	p.Series = []report.Series{s}
	return []report.Plot{p}
}

// waits are plots of how late packets are under load, one for each test: each contestant's percentiles, the rarest on the right.
func (r Result) waits() (out []report.Plot) {
	for _, test := range r.tests() {
		p := report.Plot{
			Title: "How late one of so many packets is: " + test, X: "one of", Y: "ms",
			LogX: true, LogY: true,
		}
		for _, c := range r.Contestants {
			if s := waitsOf(r.samples(c.Name, test)); len(s.Y) > 0 {
				s.Name = c.Name
				p.Series = append(p.Series, s)
			}
		}
		if len(p.Series) > 0 {
			out = append(out, p)
		}
	}
	return out
}

// waitsOf is the line of a contestant; it is empty for a test without datagrams.
func waitsOf(fs []Figures) (s report.Series) {
	percentiles := []struct {
		oneOf float64
		of    func(Figures) time.Duration
	}{
		{2, func(f Figures) time.Duration { return f.P50 }},
		{10, func(f Figures) time.Duration { return f.P90 }},
		{100, func(f Figures) time.Duration { return f.P99 }},
		{1000, func(f Figures) time.Duration { return f.P999 }},
	}
	for _, p := range percentiles {
		var vs []float64
		for _, f := range fs {
			vs = append(vs, p.of(f).Seconds()*1e3)
		}
		span := report.SpanOf(vs)
		if span.Min <= 0 {
			return report.Series{}
		}
		s.X, s.Y = append(s.X, p.oneOf), append(s.Y, span.Median)
		s.Low, s.High = append(s.Low, span.Min), append(s.High, span.Max)
	}
	return s
}
