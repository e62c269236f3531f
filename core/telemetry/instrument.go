package telemetry

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Counter counts up. Methods with labels take their values in the order of the
// family's labels; values outside of the closed set are not counted, except in
// evergate_telemetry_series_skipped_total.
type Counter struct {
	family
	vec *prometheus.CounterVec
}

// Gauge goes up and down.
type Gauge struct {
	family
	vec *prometheus.GaugeVec
}

// Histogram counts observations in buckets.
type Histogram struct {
	family
	vec *prometheus.HistogramVec
}

// family is what the instruments have in common.
type family struct {
	desc    Desc
	skipped *Counter
}

// Counter makes a counter; all of its series begin at 0.
func (r *Registry) Counter(d Desc) *Counter {
	c := &Counter{
		family{d, r.skipped},
		prometheus.NewCounterVec(prometheus.CounterOpts{Name: d.String(), Help: d.Help}, d.labelNames()),
	}
	r.instrument(d, CounterKind, c.vec, func(values []string) { c.vec.WithLabelValues(values...) })
	return c
}

// Gauge makes a gauge; all of its series begin at 0.
func (r *Registry) Gauge(d Desc) *Gauge {
	g := &Gauge{
		family{d, r.skipped},
		prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: d.String(), Help: d.Help}, d.labelNames()),
	}
	r.instrument(d, GaugeKind, g.vec, func(values []string) { g.vec.WithLabelValues(values...) })
	return g
}

// Histogram makes a histogram with the upper bounds of its buckets, ascending,
// without the infinite one.
func (r *Registry) Histogram(d Desc, buckets ...float64) *Histogram {
	for i := range buckets {
		if i > 0 && buckets[i] <= buckets[i-1] {
			r.fail(fmt.Errorf("telemetry: %v: buckets do not ascend", d))
			buckets = nil
			break
		}
	}
	h := &Histogram{
		family{d, r.skipped},
		prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: d.String(), Help: d.Help, Buckets: buckets}, d.labelNames()),
	}
	r.instrument(d, HistogramKind, h.vec, func(values []string) { h.vec.WithLabelValues(values...) })
	return h
}

// instrument registers what follows the rules, and makes its series.
func (r *Registry) instrument(d Desc, k Kind, c prometheus.Collector, touch func(values []string)) {
	err := d.validate(k)
	all := d.combinations()
	switch {
	case err != nil:
	case len(all) == 0:
		err = fmt.Errorf("telemetry: %v: the labels of an instrument have closed sets of values", d)
	case len(all) > maxSeries:
		err = fmt.Errorf("telemetry: %v: %d series are more than %d", d, len(all), maxSeries)
	}
	if err != nil {
		r.fail(err)
		return
	}
	r.register(d.String(), c)
	for _, values := range all {
		touch(values)
	}
}

// ok counts what is refused.
func (f family) ok(values []string) bool {
	if f.desc.accepts(values) {
		return true
	}
	if f.skipped != nil {
		f.skipped.Add(1)
	}
	return false
}

// Add counts n more, which must not be negative.
func (c *Counter) Add(n float64, labels ...string) {
	if n >= 0 && c.ok(labels) {
		c.vec.WithLabelValues(labels...).Add(n)
	}
}

// Set sets the value.
func (g *Gauge) Set(v float64, labels ...string) {
	if g.ok(labels) {
		g.vec.WithLabelValues(labels...).Set(v)
	}
}

// Add adds v, which may be negative.
func (g *Gauge) Add(v float64, labels ...string) {
	if g.ok(labels) {
		g.vec.WithLabelValues(labels...).Add(v)
	}
}

// Observe counts one observation.
func (h *Histogram) Observe(v float64, labels ...string) {
	if h.ok(labels) {
		h.vec.WithLabelValues(labels...).Observe(v)
	}
}
