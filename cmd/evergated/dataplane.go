package main

import (
	"context"
	"sync"

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

// packetTotals adds up over the lives of dataplane processes, each of which counts
// from zero. What a dead one counted after the last look is lost.
type packetTotals struct {
	mu           sync.Mutex
	before, last map[string]uint64
}

// add returns stats with what earlier processes counted.
func (p *packetTotals) add(stats []offload.Stat) []offload.Stat {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		p.before, p.last = make(map[string]uint64), make(map[string]uint64)
	}
	out := make([]offload.Stat, len(stats))
	for i, s := range stats {
		if s.Value < p.last[s.Name] {
			p.before[s.Name] += p.last[s.Name]
		}
		p.last[s.Name] = s.Value
		out[i] = offload.Stat{Name: s.Name, Value: p.before[s.Name] + s.Value}
	}
	return out
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
			for _, s := range d.packets.add(stats) {
				emit(planePackets, float64(s.Value), s.Name)
			}
		},
	}
}
