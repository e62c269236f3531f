package failover

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/evergate/evergate/bench/rig"
	"github.com/evergate/evergate/core/netlab"
)

// Options say what to measure. What is zero has its default.
type Options struct {
	// Daemon is the path of evergated. Required.
	Daemon string
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

// Write reports r as a table and a line of JSON.
func (r Result) Write(w io.Writer) error {
	rows := []string{
		fmt.Sprintf("takeover gap, %d rounds of %d tunnels\tmedian\tp99\tmax\tn", len(r.Rounds), r.Tunnels),
		"first packet of a client, decrypted and forwarded\t" + r.Inbound.String(),
		"the same, tunnel active\t" + r.SteadyInbound.String(),
		"first answer, encrypted and sent\t" + r.Outbound.String(),
		"the same, tunnel active\t" + r.SteadyOutbound.String(),
		"",
		"round\tdeath noticed after\tmedian inbound\tp99 inbound\tlost",
	}
	for i, round := range r.Rounds {
		rows = append(rows, fmt.Sprintf("%d\t%v\t%v\t%v\t%d", i+1, round.Noticed.Round(time.Millisecond),
			round.Inbound.Median.Round(time.Microsecond), round.Inbound.P99.Round(time.Microsecond), round.Lost))
	}
	rows = append(rows, "", "IKE_AUTH request to response at the gateway\tmedian\tp99\tmax\tn\tratio\tunprotected")
	for _, h := range r.Handshakes {
		rows = append(rows, fmt.Sprintf("%s\t%v\t%.2f\t%d", h.Setting, h.Auth, ratio(h.Auth, r.Handshakes[0].Auth), h.Unprotected))
	}
	rows = append(rows, "whole handshake at the client")
	for _, h := range r.Handshakes {
		rows = append(rows, fmt.Sprintf("%s\t%v\t%.2f\t", h.Setting, h.Whole, ratio(h.Whole, r.Handshakes[0].Whole)))
	}
	return rig.Report(w, "Failover: what the death of one of three members costs", r.Conditions, rows, r)
}

func ratio(a, b rig.Spread) float64 { return float64(a.Median) / float64(max(b.Median, 1)) }
