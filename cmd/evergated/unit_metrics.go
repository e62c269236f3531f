package main

import (
	"context"

	"github.com/evergate/evergate/core/telemetry"
)

// The metrics of a unit. How often this member became primary is
// evergate_ha_reigns_total, how often it took tunnels over evergate_ha_promoted_total.
var (
	upDown = telemetry.Label{Name: "state", Values: []string{"up", "down"}}

	unitRole = gauge("ha", "unit_role", "1 for what this member is in its unit.",
		telemetry.Label{Name: "role", Values: []string{"primary", "subordinate"}})
	unitMembers = gauge("ha", "unit_members", "Members of the unit, this one included, by what they are.",
		telemetry.Label{Name: "role", Values: []string{"primary", "subordinate", "dead"}})
	unitLinks     = gauge("ha", "unit_heartbeat_links", "Heartbeat links to members of the unit, by whether they are heard over them.", upDown)
	unitMonitored = gauge("ha", "unit_interfaces", "Monitored interfaces, by whether they can carry packets.", upDown)
	unitHeld      = gauge("ha", "unit_addresses", "Addresses of the unit that are here.")
	unitMoves     = gauge("ha", "unit_address_moves_total", "How often the addresses of the unit came here.")
	unitAnnounced = gauge("ha", "unit_announcements_total", "Announcements of addresses to the neighbours.")
)

func (d *daemon) unitMetrics() telemetry.Collector {
	return telemetry.Collector{
		Gauges:   []telemetry.Desc{unitRole, unitMembers, unitLinks, unitMonitored, unitHeld},
		Counters: []telemetry.Desc{unitMoves, unitAnnounced},
		Read: func(emit telemetry.Emit) {
			if d.unit != nil {
				d.measureUnit(emit)
			}
		},
	}
}

func (d *daemon) measureUnit(emit telemetry.Emit) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	s, err := d.HAStatus(ctx)
	if err != nil {
		return
	}
	for _, role := range unitRole.Labels[0].Values {
		emit(unitRole, number(s.Role() == role), role)
	}
	members := make(map[string]float64)
	for _, m := range s.Members {
		members[m.Role]++
	}
	for _, role := range unitMembers.Labels[0].Values {
		emit(unitMembers, members[role], role)
	}
	var links, monitored [2]float64 // down, up
	for _, l := range s.Heartbeats {
		links[int(number(l.Up))]++
	}
	for _, m := range s.Monitored {
		monitored[int(number(m.Up))]++
	}
	emit(unitLinks, links[1], "up")
	emit(unitLinks, links[0], "down")
	emit(unitMonitored, monitored[1], "up")
	emit(unitMonitored, monitored[0], "down")
	emit(unitHeld, number(s.Held)*float64(len(s.Addresses)))
	emit(unitMoves, float64(s.Moves))
	emit(unitAnnounced, float64(s.Announced))
}
