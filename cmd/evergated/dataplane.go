package main

import (
	"context"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/pluginhost"
	"github.com/evergate/evergate/core/telemetry"
	"github.com/evergate/evergate/offload"
)

// planePackets are what no SA can be blamed for. Which names there are is the
// dataplane's to say; offload.MaxStats bounds them.
var planePackets = gauge("dataplane", "packets_total",
	"Packets that belong to no SA, as `evergate diagnose dataplane stats` shows them.", telemetry.Label{Name: "name"})

// DataplaneStats implements admin.Gateway.
func (d *daemon) DataplaneStats(ctx context.Context) (diag.Stats, error) {
	stats, err := d.host.Stats(ctx)
	return diag.FromDataplane(stats), err
}

// DataplaneSAs implements admin.Gateway.
func (d *daemon) DataplaneSAs(ctx context.Context) ([]diag.Held, error) {
	return diag.FromInventory(d.host.Export(ctx, offload.AllGroups))
}

func (d *daemon) planePacketMetrics() telemetry.Collector {
	return telemetry.Collector{
		Counters: []telemetry.Desc{planePackets},
		Read: func(emit telemetry.Emit) {
			if d.host.Status().State != pluginhost.Up {
				return // a scrape does not wait for the next process
			}
			ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
			defer cancel()
			stats, err := d.host.Stats(ctx)
			if err != nil {
				return
			}
			for _, s := range stats {
				emit(planePackets, float64(s.Value), s.Name)
			}
		},
	}
}
