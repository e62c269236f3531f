package failover

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
	// Tunnels of the member that dies: 1000.
	Tunnels int
	// Handshakes per setting, one at a time: 200.
	Handshakes int
	// Rounds is how often a member dies, each time in a new group: 3.
	Rounds int
	// Every is between the first packets of two tunnels: 1 ms.
	Every time.Duration
	// Logf gets what is being done, line by line, and the members' logs when
	// something fails; nil drops it.
	Logf func(format string, args ...any)
}

func (o Options) withDefaults() Options {
	o.Tunnels = cmp.Or(o.Tunnels, 1000)
	o.Handshakes = cmp.Or(o.Handshakes, 200)
	o.Rounds = cmp.Or(o.Rounds, 3)
	o.Every = cmp.Or(o.Every, time.Millisecond)
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	return o
}

// Members of the group; one of them dies.
const members = 3

// Result of a run.
type Result struct {
	Benchmark  string         `json:"benchmark"`
	Conditions rig.Conditions `json:"conditions"`
	Members    int            `json:"members"`
	Tunnels    int            `json:"tunnels"`
	Rounds     []Round        `json:"rounds"`
	// Inbound and Outbound are the takeover gaps of all rounds: of the client's
	// packet, and of the answer to it. SteadyInbound and SteadyOutbound are of
	// the same packets once the tunnels are active.
	Inbound        rig.Spread `json:"takeover_inbound"`
	Outbound       rig.Spread `json:"takeover_outbound"`
	SteadyInbound  rig.Spread `json:"steady_inbound"`
	SteadyOutbound rig.Spread `json:"steady_outbound"`

	Handshakes []Handshake `json:"handshakes"`
}

// Round is the death of one member.
type Round struct {
	// Noticed is from the death to a survivor's word of it.
	Noticed  time.Duration `json:"noticed_ns"`
	Inbound  rig.Spread    `json:"takeover_inbound"`
	Outbound rig.Spread    `json:"takeover_outbound"`
	// Lost are first packets that never left the survivor, or had no answer.
	Lost int `json:"lost"`
}

// Handshake is what a setting makes of the handshake.
type Handshake struct {
	Setting string `json:"setting"`
	// Auth is from an IKE_AUTH request at the gateway to the response, Whole from
	// the client's first message to its last.
	Auth  rig.Spread `json:"ike_auth"`
	Whole rig.Spread `json:"whole"`
	// Unprotected are messages that went without the acknowledgements that they
	// should have had.
	Unprotected uint64 `json:"unprotected"`
}

// Run measures. It needs root, and leaves nothing behind, also when ctx ends.
func Run(ctx context.Context, o Options) (Result, error) {
	o = o.withDefaults()
	r := Result{Benchmark: "failover", Members: members, Tunnels: o.Tunnels}
	load := rig.Load()
	var gaps gaps
	for round := range o.Rounds {
		o.Logf("round %d of %d: %d tunnels, then their owner dies", round+1, o.Rounds, o.Tunnels)
		err := inLab(ctx, o, func(tb netlab.TB) error { return r.takeover(tb, o, &gaps) })
		if err != nil {
			return r, err
		}
	}
	r.Inbound, r.Outbound = rig.SpreadOf(gaps.in), rig.SpreadOf(gaps.out)
	r.SteadyInbound, r.SteadyOutbound = rig.SpreadOf(gaps.steadyIn), rig.SpreadOf(gaps.steadyOut)
	for _, s := range settings(o) {
		o.Logf("%d handshakes: %s", o.Handshakes, s.name)
		err := inLab(ctx, o, func(tb netlab.TB) error { return r.handshakes(tb, o, s) })
		if err != nil {
			return r, err
		}
	}
	r.Conditions.Load = load
	return r, nil
}

// inLab plays one part in a network of its own.
func inLab(ctx context.Context, o Options, part func(netlab.TB) error) error {
	var failed error
	err := netlab.Run(ctx, "failover", o.Logf, func(tb netlab.TB) {
		if failed = part(tb); failed != nil {
			tb.Errorf("%v", failed) // shows the logs
		}
	})
	if failed != nil {
		return failed
	}
	if err != nil {
		return fmt.Errorf("failover: %w", err)
	}
	return nil
}

// Report is r for readers.
func (r Result) Report() report.Report {
	gap := report.Table{Header: rig.SpreadHeader(fmt.Sprintf("takeover gap, %d rounds of %d tunnels", len(r.Rounds), r.Tunnels))}
	out := report.Report{Title: "Failover: what the death of one of three members costs", Conditions: r.Conditions.Lines(), Result: r}
	for _, g := range []struct {
		text, name string
		spread     rig.Spread
	}{
		{"first packet of a client, decrypted and forwarded", "inbound", r.Inbound},
		{"the same, tunnel active", "inbound-active", r.SteadyInbound},
		{"first answer, encrypted and sent", "outbound", r.Outbound},
		{"the same, tunnel active", "outbound-active", r.SteadyOutbound},
	} {
		gap.Add(append([]any{g.text}, g.spread.Cells()...)...)
		out.Samples = append(out.Samples, sample("takeover/"+g.name, g.spread))
	}
	rounds := report.Table{Header: []string{"round", "death noticed after", "median inbound", "p99 inbound", "lost"}}
	for i, round := range r.Rounds {
		rounds.Add(i+1, round.Noticed.Round(time.Millisecond), round.Inbound.Median.Round(time.Microsecond),
			round.Inbound.P99.Round(time.Microsecond), round.Lost)
	}
	auth := report.Table{Header: rig.SpreadHeader("IKE_AUTH request to response at the gateway", "ratio", "unprotected")}
	whole := report.Table{Header: rig.SpreadHeader("whole handshake at the client", "ratio")}
	for _, h := range r.Handshakes {
		auth.Add(append(append([]any{h.Setting}, h.Auth.Cells()...), ratio(h.Auth, r.Handshakes[0].Auth), h.Unprotected)...)
		whole.Add(append(append([]any{h.Setting}, h.Whole.Cells()...), ratio(h.Whole, r.Handshakes[0].Whole))...)
		out.Samples = append(out.Samples, sample("ike-auth/"+h.Setting, h.Auth), sample("handshake/"+h.Setting, h.Whole))
	}
	out.Tables = []report.Table{gap, rounds, auth, whole}
	out.Plots = []report.Plot{
		{
			Title: "From a tunnel's first packet at the survivor to the packet that leaves it", Y: "ms", LogY: true,
			Groups: []string{"inbound", "outbound"},
			Series: []report.Series{
				milliseconds("median", rig.Spread.Middle, r.Inbound, r.Outbound),
				milliseconds("median, tunnel active", rig.Spread.Middle, r.SteadyInbound, r.SteadyOutbound),
				milliseconds("99th percentile", rig.Spread.Late, r.Inbound, r.Outbound),
				milliseconds("99th percentile, tunnel active", rig.Spread.Late, r.SteadyInbound, r.SteadyOutbound),
			},
		},
		r.handshakePlot(),
	}
	return out
}

func (r Result) handshakePlot() report.Plot {
	p := report.Plot{Title: "A handshake, by what it waits for", Y: "ms, median"}
	var auth, whole []rig.Spread
	for _, h := range r.Handshakes {
		p.Groups, auth, whole = append(p.Groups, h.Setting), append(auth, h.Auth), append(whole, h.Whole)
	}
	p.Series = []report.Series{
		milliseconds("IKE_AUTH at the gateway", rig.Spread.Middle, auth...),
		milliseconds("whole handshake at the client", rig.Spread.Middle, whole...),
	}
	return p
}

// milliseconds are one figure of several spreads.
func milliseconds(name string, figure func(rig.Spread) time.Duration, spreads ...rig.Spread) report.Series {
	s := report.Series{Name: name}
	for _, spread := range spreads {
		s.Y = append(s.Y, max(figure(spread), 1).Seconds()*1e3)
	}
	return s
}

func sample(name string, s rig.Spread) report.Sample {
	return report.Sample{Name: "Failover/" + name, Values: []report.Value{
		{Number: float64(s.Median), Unit: "median-ns"}, {Number: float64(s.P99), Unit: "p99-ns"},
	}}
}

func ratio(a, b rig.Spread) string {
	return fmt.Sprintf("%.2f", float64(a.Median)/float64(max(b.Median, 1)))
}
