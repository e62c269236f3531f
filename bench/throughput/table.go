package throughput

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/evergate/evergate/bench/report"
)

// without is what a table shows where there is no such figure.
const without = "-"

// conditions are those of the run, and what it lacks, a line each.
func (r Result) conditions() []string {
	lines := append(r.Conditions.Lines(), r.settings())
	for _, name := range r.Missing {
		lines = append(lines, "not measured: "+name)
	}
	return lines
}

// settings are those of the run, as a line.
func (r Result) settings() string {
	line := fmt.Sprintf("%d rounds of %v of each test, %s", r.Rounds, r.Time, r.Proposal)
	if len(r.Settings) == 0 {
		return line + ", the plugin as it is by default"
	}
	var set []string
	for _, name := range slices.Sorted(maps.Keys(r.Settings)) {
		set = append(set, name+"="+r.Settings[name])
	}
	return line + ", the plugin with " + strings.Join(set, ", ")
}

// sumTable has a row for each test of each contestant.
func (r Result) sumTable() report.Table {
	table := report.Table{Header: []string{
		"test", "contestant", "Gbit/s", "packets/s", "of", "lost", "disordered", "50%", "90%", "99%", "99.9%",
		"CPU s/GB: gateway", "client", "idle",
	}}
	for _, s := range r.Sums {
		packets, offered, lost, disordered := without, without, without, without
		if s.Packets > 0 {
			packets, offered = fmt.Sprintf("%.0f", s.Packets), fmt.Sprintf("%.0f", s.Offered)
			lost, disordered = fmt.Sprintf("%.1f%%", s.Lost*100), fmt.Sprintf("%.4f%%", s.Disordered*100)
		}
		table.Add(s.Test, s.Contestant, fmt.Sprintf("%.2f", s.Bits/1e9), packets, offered, lost, disordered,
			lateness(s.P50), lateness(s.P90), lateness(s.P99), lateness(s.P999),
			fmt.Sprintf("%.2f", s.Gateway), fmt.Sprintf("%.2f", s.Client), fmt.Sprintf("%.0f%%", s.Idle*100))
	}
	return table
}

// lateness is a percentile for readers.
func lateness(d time.Duration) string {
	if d == 0 {
		return without
	}
	return d.Round(time.Microsecond).String()
}

// ratioTable has a row for each test in which the first contestant has another beside it.
func (r Result) ratioTable() report.Table {
	table := report.Table{Header: []string{"test", r.Ratios[0].Of + " to", "speed", "CPU per GB: gateway", "client"}}
	for _, q := range r.Ratios {
		table.Add(q.Test, q.To, q.Speed, q.GatewayCPU, q.ClientCPU)
	}
	return table
}

// contestantTable has a row for each contestant.
func (r Result) contestantTable() report.Table {
	table := report.Table{Header: []string{"contestant", "version", "peak memory: gateway", "client", "started in"}}
	for _, c := range r.Contestants {
		table.Add(c.Name, c.Version, fmt.Sprintf("%d MiB", c.Gateway>>20), fmt.Sprintf("%d MiB", c.Client>>20), c.Started.Round(time.Millisecond))
	}
	return table
}

// stepTable shows steps; what says in which they differ.
func stepTable(what string, steps []Step) report.Table {
	table := report.Table{Header: []string{what, "Gbit/s", "to the first", "99%", "CPU s/GB: gateway", "client", "idle"}}
	for _, s := range steps {
		table.Add(s.Name, fmt.Sprintf("%.2f", s.Bits/1e9), s.Speed, lateness(s.P99),
			fmt.Sprintf("%.2f", s.Gateway), fmt.Sprintf("%.2f", s.Client), fmt.Sprintf("%.0f%%", s.Idle*100))
	}
	return table
}
