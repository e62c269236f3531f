package scale

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/evergate/evergate/bench/report"
	"github.com/evergate/evergate/bench/rig"
	"github.com/evergate/evergate/core/netlab"
)

// Options say what to measure. What is zero has its default.
type Options struct {
	// Daemon is the path of evergated. Required.
	Daemon string
	// Plugin is the name or the path of the dataplane's plugin: softesp.
	Plugin string
	// Tunnels of the owner, at most rig.MaxClients: 100000.
	Tunnels int
	// Rounds is how often the other member dies and joins: 3.
	Rounds int
	// Settle is given to the processes before their memory is read: 10 s, in which
	// they give back what they needed while they were busy.
	Settle time.Duration
	// Idle is for how long the members are watched while nothing happens: 30 s.
	Idle time.Duration
	// Logf gets what is being done, line by line, and the members' logs when
	// something fails; nil drops it.
	Logf func(format string, args ...any)
}

func (o Options) withDefaults() Options {
	o.Tunnels = cmp.Or(o.Tunnels, 100_000)
	o.Rounds = cmp.Or(o.Rounds, 3)
	o.Settle = cmp.Or(o.Settle, 10*time.Second)
	o.Idle = cmp.Or(o.Idle, 30*time.Second)
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	return o
}

// Result of a run.
type Result struct {
	Benchmark  string         `json:"benchmark"`
	Conditions rig.Conditions `json:"conditions"`
	Tunnels    int            `json:"tunnels"`
	// Dialed is how long it took the clients to dial in at the only member.
	Dialed time.Duration `json:"dialed_ns"`
	Joins  []Join        `json:"joins"`
	// Join is the median of Joins as a whole, from the start of the process. Sync is
	// that of what follows the first heartbeat, and Rate the SAs per second that Sync
	// means.
	Join time.Duration `json:"join_ns"`
	Sync time.Duration `json:"sync_ns"`
	Rate float64       `json:"sas_per_second"`

	Owner   Member `json:"owner"`
	Standby Member `json:"standby"`
	// Adopted is from the owner's death to the takeover of its last tunnel.
	Adopted time.Duration `json:"adopted_ns"`
}

// Join is one join of the standby.
type Join struct {
	// Started is from the start of the process to its first heartbeat with the
	// owner, Synced from there until it has everything.
	Started time.Duration `json:"started_ns"`
	Synced  time.Duration `json:"synced_ns"`
	// Daemon and Plane are the processor time of the standby's processes up to that
	// moment, less what a start takes without tunnels, Owner that of the owner's
	// daemon: they say more than the clock on a machine that has other things to do.
	Daemon time.Duration `json:"daemon_cpu_ns"`
	Plane  time.Duration `json:"dataplane_cpu_ns"`
	Owner  time.Duration `json:"owner_cpu_ns"`
}

// Member is what the tunnels cost one member.
type Member struct {
	Daemon Process `json:"daemon"`
	Plane  Process `json:"dataplane"`
	// Silence is the longest between two heartbeats on the wire.
	Silence time.Duration `json:"longest_silence_ns"`
}

// Process is one of its processes.
type Process struct {
	// Bare and Resident are octets of memory, without and with the tunnels; Peak
	// is the most that it ever had.
	Bare     int64 `json:"bare_octets"`
	Resident int64 `json:"resident_octets"`
	Peak     int64 `json:"peak_octets"`
	// Start is the processor time until it serves, without tunnels.
	Start time.Duration `json:"start_cpu_ns"`
	// PerTunnel is what a tunnel adds.
	PerTunnel float64 `json:"octets_per_tunnel"`
	// Idle is how much of one processor it takes while nothing happens.
	Idle float64 `json:"idle_processors"`
}

// Run measures. It needs root, and leaves nothing behind, also when ctx ends.
func Run(ctx context.Context, o Options) (Result, error) {
	o = o.withDefaults()
	r := Result{Benchmark: "scale", Tunnels: o.Tunnels}
	load := rig.Load()
	var failed error
	err := netlab.Run(ctx, "scale", o.Logf, func(tb netlab.TB) {
		if failed = r.measure(tb, o); failed != nil {
			tb.Errorf("%v", failed) // shows the logs
		}
	})
	r.Conditions.Load = load
	if failed != nil {
		return r, failed
	}
	if err != nil {
		return r, fmt.Errorf("scale: %w", err)
	}
	return r, nil
}

// Report is r for readers.
func (r Result) Report() report.Report {
	out := report.Report{
		Title:      fmt.Sprintf("Scale: %d tunnels in a group of two members", r.Tunnels),
		Conditions: r.Conditions.Lines(), Result: r,
	}
	name := fmt.Sprintf("Scale/tunnels=%d/", r.Tunnels)
	joins := report.Table{Header: []string{
		fmt.Sprintf("join of a member, %d tunnels", r.Tunnels), "process start to all SAs in its dataplane",
		"of it to the first heartbeat", "and from there", "SAs/s from there", "processor time: daemon", "dataplane", "owner's daemon",
	}}
	cost := [3]report.Series{{Name: "joining daemon"}, {Name: "its dataplane"}, {Name: "owner's daemon"}}
	plot := report.Plot{Title: "Processor time of a join", Y: "µs per SA"}
	for i, j := range r.Joins {
		joins.Add(fmt.Sprint("round ", i+1), (j.Started + j.Synced).Round(time.Millisecond),
			j.Started.Round(time.Millisecond), j.Synced.Round(time.Millisecond), fmt.Sprintf("%.0f", rate(r.Tunnels, j.Synced)),
			j.Daemon.Round(time.Millisecond), j.Plane.Round(time.Millisecond), j.Owner.Round(time.Millisecond))
		plot.Groups = append(plot.Groups, fmt.Sprint("round ", i+1))
		for n, d := range []time.Duration{j.Daemon, j.Plane, j.Owner} {
			cost[n].Y = append(cost[n].Y, d.Seconds()*1e6/float64(2*r.Tunnels))
		}
		out.Samples = append(out.Samples, report.Sample{Name: name + "join", Values: []report.Value{
			{Number: float64(j.Started + j.Synced), Unit: "join-ns"},
			{Number: float64(j.Synced), Unit: "sync-ns"},
			{Number: rate(r.Tunnels, j.Synced), Unit: "SAs/s"},
			{Number: float64(j.Daemon + j.Plane + j.Owner), Unit: "cpu-ns"},
		}})
	}
	joins.Add("median", r.Join.Round(time.Millisecond), "", r.Sync.Round(time.Millisecond), fmt.Sprintf("%.0f", r.Rate), "", "", "")
	plot.Series = cost[:]

	processes := report.Table{Header: []string{"process", "memory per tunnel", "resident", "peak", "idle", "longest silence"}}
	memory := report.Plot{Title: "Memory", Y: "KiB per tunnel", Series: []report.Series{{Name: "resident"}}}
	for _, m := range []struct {
		name   string
		member Member
	}{{"owner", r.Owner}, {"standby", r.Standby}} {
		processes.Add(append(m.member.Daemon.cells(m.name+"'s daemon"), m.member.Silence.Round(time.Millisecond))...)
		processes.Add(append(m.member.Plane.cells(m.name+"'s dataplane"), "")...)
		memory.Groups = append(memory.Groups, m.name+"'s daemon", m.name+"'s dataplane")
		memory.Series[0].Y = append(memory.Series[0].Y, m.member.Daemon.PerTunnel/1024, m.member.Plane.PerTunnel/1024)
		out.Samples = append(out.Samples,
			report.Sample{Name: name + m.name + "-daemon", Values: []report.Value{{Number: m.member.Daemon.PerTunnel, Unit: "B/tunnel"}}},
			report.Sample{Name: name + m.name + "-dataplane", Values: []report.Value{{Number: m.member.Plane.PerTunnel, Unit: "B/tunnel"}}})
	}
	times := report.Table{Header: []string{"what", "took", "tunnels/s"}}
	times.Add("clients dialed in", r.Dialed.Round(time.Millisecond), fmt.Sprintf("%.0f", float64(r.Tunnels)/r.Dialed.Seconds()))
	times.Add("owner died, all adopted", r.Adopted.Round(time.Millisecond), "")
	out.Tables = []report.Table{joins, processes, times}
	out.Plots = []report.Plot{plot, memory}
	return out
}

// rate is how many SAs of so many tunnels a second.
func rate(tunnels int, d time.Duration) float64 { return 2 * float64(tunnels) / d.Seconds() }

// cells are a row of the table.
func (p Process) cells(name string) []any {
	return []any{
		name, fmt.Sprintf("%.1f KiB", p.PerTunnel/1024), fmt.Sprintf("%d MiB", p.Resident>>20),
		fmt.Sprintf("%d MiB", p.Peak>>20), fmt.Sprintf("%.1f%%", p.Idle*100),
	}
}
