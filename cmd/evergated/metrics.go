package main

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"strings"
	"time"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/pluginhost"
	"github.com/evergate/evergate/core/telemetry"
	"github.com/evergate/evergate/ike"
)

// scrapeTime bounds what one scrape may wait for the engine.
const scrapeTime = 5 * time.Second

// The metrics that are read when Prometheus asks.
var (
	phase1Label    = telemetry.Label{Name: "phase1"}
	directionLabel = telemetry.Label{Name: "direction", Values: []string{"in", "out"}}

	tunnelsUp  = gauge("tunnel", "up", "Tunnels with an IKE SA that is up; 0 for a connection that is configured and down.", phase1Label)
	standbys   = gauge("tunnel", "standby", "Tunnels that are held for another member.", phase1Label)
	connecting = gauge("tunnel", "connecting", "Tunnels whose IKE SA is being negotiated.", phase1Label)
	childSAs   = gauge("tunnel", "child_sas", "Pairs of Child SAs.", phase1Label)
	packets    = gauge("tunnel", "packets_total", "Inner packets, rekeyed and closed tunnels included.", phase1Label, directionLabel)
	octets     = gauge("tunnel", "bytes_total", "Octets of inner packets, rekeyed and closed tunnels included.", phase1Label, directionLabel)
	drops      = gauge("tunnel", "drops_total", "Packets of an SA that went no further, by reason.", phase1Label,
		telemetry.Label{Name: "reason", Values: dropReasons()})

	planeUp       = gauge("dataplane", "up", "1 while the dataplane's process serves.")
	planeStarts   = gauge("dataplane", "starts_total", "Starts of the dataplane's process.")
	planeFailures = gauge("dataplane", "failures_total", "Processes of the dataplane that failed.")
	planeTimeouts = gauge("dataplane", "timeouts_total", "Calls that the dataplane did not answer in time.")
	planeLost     = gauge("dataplane", "events_lost_total", "Events of the dataplane that were not read in time.")
)

func gauge(subsystem, name, help string, labels ...telemetry.Label) telemetry.Desc {
	return telemetry.Desc{Subsystem: subsystem, Name: name, Help: help, Labels: labels}
}

// dropReasons are the fields of offload.Drops.
func dropReasons() []string {
	var out []string
	t := reflect.TypeFor[engine.Traffic]()
	f, _ := t.FieldByName("Drops")
	for i := range f.Type.NumField() {
		out = append(out, strings.ToLower(f.Type.Field(i).Name))
	}
	return out
}

// serveMetrics serves the Prometheus endpoint at address, "" for none.
func (d *daemon) serveMetrics(ctx context.Context, address string) error {
	if address == "" {
		<-ctx.Done()
		return nil
	}
	r := d.registry()
	if err := r.Err(); err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen on metrics.listen: %w", err)
	}
	return r.Serve(ctx, l, d.log)
}

// registry holds all metrics of the gateway.
func (d *daemon) registry() *telemetry.Registry {
	r := telemetry.NewRegistry(version)
	r.Collect(d.once(d.tunnelMetrics()))
	r.Collect(d.planeMetrics())
	r.Collect(d.planePacketMetrics())
	r.Collect(d.once(d.counterMetrics()))
	r.Collect(d.once(d.groupMetrics()))
	r.Collect(d.once(d.unitMetrics()))
	r.Collect(d.networkMetrics())
	return r
}

func (d *daemon) tunnelMetrics() telemetry.Collector {
	return telemetry.Collector{
		Gauges:   []telemetry.Desc{tunnelsUp, standbys, connecting, childSAs},
		Counters: []telemetry.Desc{packets, octets, drops},
		Read: func(emit telemetry.Emit) {
			ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
			defer cancel()
			tunnels, err := d.engine.Tunnels(ctx)
			if err != nil {
				return
			}
			traffic, err := d.engine.Traffic(ctx)
			if err != nil {
				return
			}
			for _, c := range d.engine.Policy().Connections() {
				p := diag.FromPhase1(c, tunnels)
				emit(tunnelsUp, float64(p.Up), c.Name)
				emit(standbys, float64(p.Standby), c.Name)
				emit(connecting, float64(p.Connecting), c.Name)
				emit(childSAs, float64(p.Children), c.Name)
				emitTraffic(emit, c.Name, traffic[c.Name])
			}
		},
	}
}

func emitTraffic(emit telemetry.Emit, phase1 string, t engine.Traffic) {
	emit(packets, float64(t.PacketsIn), phase1, "in")
	emit(packets, float64(t.PacketsOut), phase1, "out")
	emit(octets, float64(t.BytesIn), phase1, "in")
	emit(octets, float64(t.BytesOut), phase1, "out")
	v := reflect.ValueOf(t.Drops)
	for i, reason := range dropReasons() {
		emit(drops, float64(v.Field(i).Uint()), phase1, reason)
	}
}

func (d *daemon) planeMetrics() telemetry.Collector {
	return telemetry.Collector{
		Gauges:   []telemetry.Desc{planeUp},
		Counters: []telemetry.Desc{planeStarts, planeFailures, planeTimeouts, planeLost},
		Read: func(emit telemetry.Emit) {
			s := d.host.Status()
			up := 0.0
			if s.State == pluginhost.Up {
				up = 1
			}
			emit(planeUp, up)
			emit(planeStarts, float64(s.Starts))
			emit(planeFailures, float64(s.Failures))
			emit(planeTimeouts, float64(s.TimedOut))
			emit(planeLost, float64(s.EventsLost))
		},
	}
}

// counterMetrics are the counters of `evergate diagnose vpn ike stats`, under the
// same names: ike.drops.message_id is evergate_ike_drops_message_id_total.
func (d *daemon) counterMetrics() telemetry.Collector {
	c := telemetry.Collector{}
	descs := make(map[string]telemetry.Desc)
	for _, s := range diag.FromStats(engine.Stats{IKE: ike.Stats{}}) {
		desc := counterDesc(s.Name)
		descs[s.Name] = desc
		if diag.IsGauge(s.Name) {
			c.Gauges = append(c.Gauges, desc)
		} else {
			c.Counters = append(c.Counters, desc)
		}
	}
	c.Read = func(emit telemetry.Emit) {
		ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
		defer cancel()
		stats, err := d.engine.Stats(ctx)
		if err != nil {
			return
		}
		for _, s := range diag.FromStats(stats) {
			emit(descs[s.Name], float64(s.Value))
		}
	}
	return c
}

func counterDesc(name string) telemetry.Desc {
	subsystem, rest, ok := strings.Cut(name, ".")
	if !ok {
		subsystem, rest = "engine", name
	}
	d := gauge(subsystem, strings.ReplaceAll(rest, ".", "_"), "The counter "+name+" of `evergate diagnose vpn ike stats`.")
	if !diag.IsGauge(name) {
		d.Name += "_total"
	}
	return d
}
