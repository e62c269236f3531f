package handshake

import (
	"fmt"
	"slices"
	"time"

	"github.com/evergate/evergate/bench/report"
	"github.com/evergate/evergate/bench/rig"
)

// Report is r for readers.
func (r Result) Report() report.Report {
	out := report.Report{
		Title:      fmt.Sprintf("Handshakes: IKE responders with a pre-shared key, %d clients at once", r.AtOnce),
		Conditions: r.Conditions.Lines(), Result: r,
	}
	cost := report.Table{Header: []string{
		"key exchange", "responder", "handshakes/s", "processor time", "without dataplane", "per processor second", "against " + Evergate, "without dataplane",
	}}
	wait := report.Table{Header: rig.SpreadHeader("wait of a client")}
	plot := report.Plot{Title: "Processor time of a handshake", Y: "µs"}
	bars := make(map[string]*report.Series)
	for _, f := range r.Figures {
		ours, _ := r.of(f.Method, Evergate)
		cost.Add(f.Method, f.Responder, fmt.Sprintf("%.0f", f.PerSecond), f.CPU.Round(time.Microsecond), f.Daemon.Round(time.Microsecond),
			fmt.Sprintf("%.0f", 1/f.CPU.Seconds()),
			times(f.Rounds, ours.Rounds, func(r Round) time.Duration { return r.CPU }),
			times(f.Rounds, ours.Rounds, func(r Round) time.Duration { return r.Daemon }))
		wait.Add(append([]any{f.Method + ", " + f.Responder}, f.Wait.Cells()...)...)
		if f.Responder == Evergate {
			plot.Groups = append(plot.Groups, f.Method)
		}
		if bars[f.Responder] == nil {
			bars[f.Responder] = &report.Series{Name: f.Responder}
		}
		bars[f.Responder].Y = append(bars[f.Responder].Y, f.CPU.Seconds()*1e6)
		for _, round := range f.Rounds {
			out.Samples = append(out.Samples, report.Sample{Name: "Handshake/" + f.Method + "/" + f.Responder, Values: []report.Value{
				{Number: float64(round.CPU), Unit: "cpu-ns"}, {Number: round.PerSecond, Unit: "handshakes/s"},
			}})
		}
	}
	for _, name := range r.Missing {
		cost.Add("", name, "not measured", "", "", "", "", "")
	}
	for _, name := range []string{Evergate, StrongSwan} {
		if s := bars[name]; s != nil {
			plot.Series = append(plot.Series, *s)
		}
	}
	memory := report.Table{Header: []string{"tunnels", "responder", "memory per tunnel", "without dataplane", Evergate + " to it", "without dataplane"}}
	for _, m := range r.Memory {
		ours := r.memoryOf(m.Tunnels)
		memory.Add(m.Tunnels, m.Responder, kib(m.PerTunnel), kib(m.Daemon),
			fmt.Sprintf("%.2fx", ours.PerTunnel/m.PerTunnel), fmt.Sprintf("%.2fx", ours.Daemon/m.PerTunnel))
		out.Samples = append(out.Samples, report.Sample{
			Name:   fmt.Sprintf("Memory/tunnels=%d/%s", m.Tunnels, m.Responder),
			Values: []report.Value{{Number: m.PerTunnel, Unit: "B/tunnel"}, {Number: m.Daemon, Unit: "daemon-B/tunnel"}},
		})
	}
	out.Tables = []report.Table{cost, wait, memory}
	out.Plots = []report.Plot{plot}
	return out
}

// of returns the figures of a responder, false when it was not measured.
func (r Result) of(method, responder string) (Figures, bool) {
	for _, f := range r.Figures {
		if f.Method == method && f.Responder == responder {
			return f, true
		}
	}
	return Figures{}, false
}

// memoryOf is what so many tunnels take of evergate.
func (r Result) memoryOf(tunnels int) Memory {
	for _, m := range r.Memory {
		if m.Responder == Evergate && m.Tunnels == tunnels {
			return m
		}
	}
	return Memory{}
}

// times is how many times as much processor time others took as we did, by a figure
// of ours, round by round: the median, with the least and the greatest.
func times(others, ours []Round, figure func(Round) time.Duration) string {
	var ratios []float64
	for i := range min(len(others), len(ours)) {
		if own := figure(ours[i]); own > 0 {
			ratios = append(ratios, float64(others[i].CPU)/float64(own))
		}
	}
	if len(ratios) == 0 {
		return ""
	}
	slices.Sort(ratios)
	n := len(ratios)
	return fmt.Sprintf("%.2fx (%.2f-%.2f)", (ratios[n/2]+ratios[(n-1)/2])/2, ratios[0], ratios[n-1])
}

func kib(octets float64) string { return fmt.Sprintf("%.1f KiB", octets/1024) }
