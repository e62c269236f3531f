package telemetry

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// namespace begins the name of every metric of ours.
const namespace = "evergate"

// maxSeries bounds the series of one family in one scrape.
const maxSeries = 4096

// Registry holds the metrics of one process. It is safe for concurrent use.
type Registry struct {
	prom    *prometheus.Registry
	skipped *Counter

	mu   sync.Mutex
	errs []error
}

// NewRegistry returns a registry that has the metrics of the Go runtime and of the
// process, and evergate_build_info.
func NewRegistry(version string) *Registry {
	r := &Registry{prom: prometheus.NewRegistry()}
	r.register("go", collectors.NewGoCollector())
	r.register("process", collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.skipped = r.Counter(Desc{Subsystem: "telemetry", Name: "series_skipped_total", Help: "Series that were left out because their family has too many, or because they were given wrong labels."})
	r.Collect(buildInfo(version))
	return r
}

// Err tells what was wrong with the metrics so far, one line for each, nil when
// nothing was.
func (r *Registry) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.errs...)
}

func (r *Registry) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs = append(r.errs, err)
}

// register notes an error instead of returning it.
func (r *Registry) register(name string, c prometheus.Collector) {
	if err := r.prom.Register(c); err != nil {
		r.fail(fmt.Errorf("telemetry: register %s: %w", name, err))
	}
}

// Kind of a metric.
type Kind uint8

// The kinds. The zero value is invalid.
const (
	CounterKind Kind = iota + 1
	GaugeKind
	HistogramKind
)

// Desc describes a family of metrics. Its name in Prometheus is
// evergate_<Subsystem>_<Name>; Name ends in a unit, such as _seconds or _bytes, or
// in _total for counters; gauges that count things may have a noun alone.
type Desc struct {
	Subsystem, Name string
	// Help is a sentence for people.
	Help   string
	Labels []Label
}

// Label is one dimension of a family with all of its values.
type Label struct {
	Name string
	// Values is the closed set. Empty means that a configuration closes it, as it
	// does for phase1; that is for Collect only.
	Values []string
}

// String is the full name.
func (d Desc) String() string { return prometheus.BuildFQName(namespace, d.Subsystem, d.Name) }

func (d Desc) labelNames() []string {
	names := make([]string, len(d.Labels))
	for i, l := range d.Labels {
		names[i] = l.Name
	}
	return names
}

// validate tells what keeps d from following the rules of this package.
func (d Desc) validate(k Kind) error {
	word := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	switch {
	case !word.MatchString(d.Subsystem) || strings.Contains(d.Subsystem, "_"):
		return fmt.Errorf("telemetry: %v: %q is not the one word of a subsystem", d, d.Subsystem)
	case !word.MatchString(d.Name):
		return fmt.Errorf("telemetry: %v: %q is not lower case words joined by underscores", d, d.Name)
	case (k == CounterKind) != strings.HasSuffix(d.Name, "_total"):
		return fmt.Errorf("telemetry: %v: counters, and they alone, end in _total", d)
	case strings.TrimSpace(d.Help) == "":
		return fmt.Errorf("telemetry: %v: has no help", d)
	}
	for i, l := range d.Labels {
		if !word.MatchString(l.Name) || slices.ContainsFunc(d.Labels[:i], func(o Label) bool { return o.Name == l.Name }) {
			return fmt.Errorf("telemetry: %v: label %q is no lower case word, or is there twice", d, l.Name)
		}
	}
	return nil
}

// accepts tells whether values fit the labels of d.
func (d Desc) accepts(values []string) bool {
	if len(values) != len(d.Labels) {
		return false
	}
	for i, l := range d.Labels {
		if len(l.Values) > 0 && !slices.Contains(l.Values, values[i]) {
			return false
		}
	}
	return true
}

// combinations are all values of all labels, each with each; nil where a label is
// not closed.
func (d Desc) combinations() [][]string {
	out := [][]string{nil}
	for _, l := range d.Labels {
		var next [][]string
		for _, head := range out {
			for _, v := range l.Values {
				next = append(next, append(slices.Clone(head), v))
			}
		}
		out = next
	}
	return out
}
