package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/guptarohit/asciigraph"

	"github.com/evergate/evergate/core/netlab"
)

// strip draws the pings around a moment: a character each, the moment a bar.
func strip(pings netlab.PingAccount, moment time.Time) string {
	const before, after = 20, 45
	lost := make(map[int]bool)
	for _, n := range pings.Lost {
		lost[n] = true
	}
	last, end := 0, 0 // the last request sent before the moment, the last of all
	for _, r := range pings.Replies {
		if r.Sent.Before(moment) {
			last = max(last, r.Sequence)
		}
		end = max(end, r.Sequence)
	}
	var b strings.Builder
	for n := max(1, last-before+1); n <= min(end, last+after); n++ {
		mark := "·"
		if lost[n] {
			mark = "x"
		}
		b.WriteString(mark)
		if n == last {
			b.WriteString("|")
		}
	}
	return b.String()
}

// arrivals draws what had arrived of the transfer at each time around a moment.
// A line that is level is a time in which nothing came.
func arrivals(m *meter, moment time.Time) string {
	const from, to, points = -200 * time.Millisecond, 800 * time.Millisecond, 101
	var series []float64
	for i := range points {
		at := moment.Add(from + (to-from)*time.Duration(i)/(points-1))
		series = append(series, float64(m.at(at))/(1<<20))
	}
	return asciigraph.Plot(series,
		asciigraph.Width(60), asciigraph.Height(7), asciigraph.Precision(1),
		asciigraph.XAxisRange(float64(from/time.Millisecond), float64(to/time.Millisecond)), asciigraph.XAxisTickCount(6),
		asciigraph.XAxisValueFormatter(func(v float64) string { return fmt.Sprintf("%.0f ms", v) }),
		asciigraph.Caption("MiB of the TCP transfer at the server; DC1_VM1 dies at 0 ms"))
}

func milliseconds(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ")
}
