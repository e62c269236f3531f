package main

import (
	"strings"

	"github.com/evergate/evergate/core/telemetry"
)

// The metrics of what the network is told.
var (
	neighborStates = []string{"idle", "connect", "active", "opensent", "openconfirm", "established"}

	witnessFit      = gauge("witness", "fit", "1 while routers may send to this gateway.")
	witnessDraining = gauge("witness", "draining", "1 while this gateway is about to stop and asks routers for other ways.")
	witnessPrefixes = gauge("witness", "prefixes", "Networks of clients, by what this gateway is for them.",
		telemetry.Label{Name: "role", Values: []string{"owner", "standby"}})
	witnessNeighbors = gauge("witness", "neighbors", "Routers that BGP is configured with, by the state of the session.",
		telemetry.Label{Name: "state", Values: neighborStates})
	witnessAnnounced = gauge("witness", "announced_total", "Routes that were announced, or announced anew.")
	witnessWithdrawn = gauge("witness", "withdrawn_total", "Routes that were taken back.")
	witnessRefused   = gauge("witness", "refused_total", "Networks of clients that may not be announced.")
	witnessLost      = gauge("witness", "sessions_lost_total", "BGP sessions that were established and ended.")
)

func (d *daemon) networkMetrics() telemetry.Collector {
	return telemetry.Collector{
		Gauges:   []telemetry.Desc{witnessFit, witnessDraining, witnessPrefixes, witnessNeighbors},
		Counters: []telemetry.Desc{witnessAnnounced, witnessWithdrawn, witnessRefused, witnessLost},
		Read:     func(emit telemetry.Emit) { d.network.measure(emit) },
	}
}

func (n *network) measure(emit telemetry.Emit) {
	s := n.witness.Status()
	emit(witnessFit, number(s.Fit))
	emit(witnessDraining, number(s.Draining))
	emit(witnessPrefixes, float64(s.Owned), "owner")
	emit(witnessPrefixes, float64(s.Standby), "standby")
	emit(witnessAnnounced, float64(s.Announced))
	emit(witnessWithdrawn, float64(s.Withdrawn))
	emit(witnessRefused, float64(s.Refused))
	states, lost := make(map[string]int), uint64(0)
	for _, p := range s.Neighbors {
		states[strings.ToLower(p.State)]++
		lost += p.Lost
	}
	for _, state := range neighborStates {
		emit(witnessNeighbors, float64(states[state]), state)
	}
	emit(witnessLost, float64(lost))
}

// number is 1 for what is so.
func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
