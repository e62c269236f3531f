// Package telemetry is what operators hear of a gateway while it runs: the log,
// and metrics for Prometheus, whose library no other package imports.
//
// # Metrics
//
// Names are evergate_<subsystem>_<noun>_<unit|total>. Labels are from closed sets
// (reason, plane, role, phase1), never an SPI or an address: whoever can make up
// values of a label could fill the memory of every Prometheus that listens. So
// every family has a limit of series, and what goes over it is left out and
// counted.
//
// Most of what a gateway counts is counted where it happens, by the goroutine that
// owns it. Such numbers are read when Prometheus asks, by a function that is given
// to Collect. Counter, Gauge and Histogram are for what nobody counts yet.
//
// The constructors do not fail: what is wrong with a name or a label is remembered
// and told by Err, once, after everything is wired. The instrument works all the
// same and is only not seen.
package telemetry
