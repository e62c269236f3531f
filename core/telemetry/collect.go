package telemetry

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// A Collector reads numbers that are kept elsewhere, when Prometheus asks.
type Collector struct {
	// Families are all that Read may yield, by their full names.
	Counters, Gauges []Desc
	// Read yields the present values. It may be called by several goroutines at
	// once; each call gets an emit of its own.
	Read func(emit Emit)
}

// Emit takes one value of a family of the Collector. The labels are the values in
// the order of the family's. A series that is given twice counts once, the first
// time.
type Emit func(d Desc, value float64, labels ...string)

// Collect adds a collector.
func (r *Registry) Collect(c Collector) {
	p := promCollector{read: c.Read, skipped: r.skipped, families: make(map[string]promFamily)}
	add := func(ds []Desc, k Kind, v prometheus.ValueType) {
		for _, d := range ds {
			if err := d.validate(k); err != nil {
				r.fail(err)
				continue
			}
			if _, twice := p.families[d.String()]; twice {
				r.fail(fmt.Errorf("telemetry: %v: is collected twice", d))
				continue
			}
			p.families[d.String()] = promFamily{d, prometheus.NewDesc(d.String(), d.Help, d.labelNames(), nil), v}
		}
	}
	add(c.Counters, CounterKind, prometheus.CounterValue)
	add(c.Gauges, GaugeKind, prometheus.GaugeValue)
	if len(p.families) > 0 {
		r.register("a collector", p)
	}
}

// promCollector is a Collector as the library wants it.
type promCollector struct {
	read     func(Emit)
	skipped  *Counter
	families map[string]promFamily
}

type promFamily struct {
	Desc
	desc *prometheus.Desc
	kind prometheus.ValueType
}

// Describe implements prometheus.Collector.
func (c promCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range c.families {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c promCollector) Collect(ch chan<- prometheus.Metric) {
	seen := make(map[string]bool)
	count := make(map[string]int)
	c.read(func(d Desc, value float64, labels ...string) {
		name := d.String()
		f, ok := c.families[name]
		series := name + "\x00" + strings.Join(labels, "\x00")
		if !ok || !f.accepts(labels) || seen[series] || count[name] >= maxSeries {
			c.skipped.Add(1)
			return
		}
		m, err := prometheus.NewConstMetric(f.desc, f.kind, value, labels...)
		if err != nil {
			c.skipped.Add(1)
			return
		}
		seen[series] = true
		count[name]++
		ch <- m
	})
}

// buildInfo is the metric that says which program this is.
func buildInfo(version string) Collector {
	info := Desc{
		Subsystem: "build", Name: "info",
		Help:   "Always 1; the labels say which version of Evergate runs, and the Go release that built it.",
		Labels: []Label{{Name: "version"}, {Name: "go"}},
	}
	return Collector{
		Gauges: []Desc{info},
		Read:   func(emit Emit) { emit(info, 1, version, runtime.Version()) },
	}
}
