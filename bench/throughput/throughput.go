package throughput

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/evergate/evergate/bench/rig"
	"github.com/evergate/evergate/core/netlab"
)

// Options say what to measure. What is zero has its default.
type Options struct {
	// Plugin is the path of a dataplane plugin. Required.
	Plugin string
	// Others are the paths of further plugins to measure next to it, such as an
	// earlier build of the same. One that this machine cannot run, such as that of the
	// kernel's ESP where the kernel has none, is in Result.Missing with the reason.
	Others []string
	// Settings are the plugin's (dataplane.settings in the configuration).
	Settings map[string]string
	// Proposal are the algorithms of ESP: aes128gcm. WireGuard has its own.
	Proposal string
	// Raw adds the plugin with ESP as protocol 50, without UDP, to all tests.
	Raw bool
	// Framings compares TCP with ESP as protocol 50 with that in UDP.
	Framings bool
	// SAs are the numbers of SA pairs to measure the plugin with: 1, 100 and 10000.
	// The peers have one, and all but the first number make those tests only in which
	// it matters.
	SAs []int
	// Ciphers are the proposals between which the speed of the plugin is compared:
	// aes128gcm, aes256gcm, chacha20poly1305 and aes128-sha1. An empty one that is not
	// nil is none.
	Ciphers []string
	// Queues are the numbers of SA pairs, each with a queue and its goroutines in the
	// plugin, between which its speed is compared: 1, 2 and 4. An empty one that is not
	// nil is none.
	Queues []int
	// WireGuard is the path of wireguard-go; without it that is left out.
	WireGuard string
	// StrongSwan adds strongSwan, which must be installed then.
	StrongSwan bool
	// Tests are the names of those to make, of Tests: all of them.
	Tests []string
	// Rounds is how often each test is made: 5.
	Rounds int
	// Time is for how long each test is made, once: 1 s.
	Time time.Duration
	// Logf gets what is being done, line by line, and the processes' logs when
	// something fails; nil drops it.
	Logf func(format string, args ...any)
}

func (o Options) withDefaults() Options {
	o.Proposal = cmp.Or(o.Proposal, "aes128gcm")
	o.Rounds = cmp.Or(o.Rounds, 5)
	o.Time = cmp.Or(o.Time, time.Second)
	if len(o.SAs) == 0 {
		o.SAs = []int{1, 100, 10_000}
	}
	if o.Ciphers == nil {
		o.Ciphers = []string{"aes128gcm", "aes256gcm", "chacha20poly1305", "aes128-sha1"}
	}
	if o.Queues == nil {
		o.Queues = []int{1, 2, 4}
	}
	if len(o.Tests) == 0 {
		o.Tests = Tests()
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	return o
}

func (o Options) check() error {
	for _, name := range o.Tests {
		if !slices.Contains(Tests(), name) {
			return fmt.Errorf("throughput: there is no test %q, but %q", name, Tests())
		}
	}
	for _, n := range slices.Concat(o.SAs, o.Queues) {
		if n < 1 || n > maxClients {
			return fmt.Errorf("throughput: %d pairs of SAs, want 1 to %d", n, maxClients)
		}
	}
	return nil
}

// Result of a run.
type Result struct {
	Benchmark  string         `json:"benchmark"`
	Conditions rig.Conditions `json:"conditions"`
	Proposal   string         `json:"proposal"`
	// Settings are the plugin's, where it did not have its defaults.
	Settings map[string]string `json:"settings,omitempty"`
	// Rounds and Time are how often and for how long each test was made.
	Rounds int           `json:"rounds"`
	Time   time.Duration `json:"time_ns"`
	// Contestants in the order in which they were measured.
	Contestants []Contestant `json:"contestants"`
	// Missing are the peers that were not measured, with a reason that is worth telling.
	Missing []string `json:"missing,omitempty"`
	Samples []Sample `json:"samples"`
	// Sums has one entry for each contestant and test, Ratios compare the first
	// contestant with each of the others.
	Sums   []Sum   `json:"sums"`
	Ratios []Ratio `json:"ratios"`
	// Scaling is how speed grows with queues, fewest first, Ciphers how it differs with
	// the algorithms, and Framings with ESP as protocol 50 instead of in UDP.
	Scaling  []Step `json:"scaling,omitempty"`
	Ciphers  []Step `json:"ciphers,omitempty"`
	Framings []Step `json:"framings,omitempty"`
}

// Contestant is one of those that were measured.
type Contestant struct {
	Name string `json:"name"`
	// Version is what it says of itself.
	Version string `json:"version"`
	// Started is how long it took from the start of the processes until the
	// tunnel carried a packet.
	Started time.Duration `json:"started_ns"`
	// Gateway and Client are the most memory that their processes ever had, in
	// octets, after all tests.
	Gateway int64 `json:"gateway_peak_octets"`
	Client  int64 `json:"client_peak_octets"`
}

// Sample is one test of one contestant in one round.
type Sample struct {
	Contestant string `json:"contestant"`
	Test       string `json:"test"`
	Round      int    `json:"round"`
	Figures
}

// Figures of one measurement, or their medians.
type Figures struct {
	// Bits and Packets are what the client got per second: bits of payload, and
	// datagrams.
	Bits    float64 `json:"bits_per_second"`
	Packets float64 `json:"packets_per_second,omitempty"`
	// Offered is how many datagrams were sent per second.
	Offered float64 `json:"offered_per_second,omitempty"`
	// Gateway and Client are the processor time of the processes at each end per
	// 10^9 octets of payload delivered, in seconds.
	Gateway float64 `json:"gateway_cpu_seconds_per_gb"`
	Client  float64 `json:"client_cpu_seconds_per_gb"`
	// Lost is the part of the datagrams that did not arrive, Disordered the part
	// of those that arrived that came after a later one of their flow.
	Lost       float64 `json:"lost"`
	Disordered float64 `json:"disordered"`
	// P50 and the others are percentiles of the time from sending a datagram to
	// receiving it; P999 is that of 99.9 %. In a test of TCP they are those of small
	// datagrams beside it, 0 where none arrived.
	P50  time.Duration `json:"p50_ns"`
	P90  time.Duration `json:"p90_ns"`
	P99  time.Duration `json:"p99_ns"`
	P999 time.Duration `json:"p999_ns"`
	// Idle is the part of the time of all processors in which nothing ran.
	Idle float64 `json:"idle"`
}

// Run measures. It needs root, and leaves nothing behind, also when ctx ends.
func Run(ctx context.Context, o Options) (Result, error) {
	o = o.withDefaults()
	r := Result{Benchmark: "throughput", Proposal: o.Proposal, Settings: o.Settings, Rounds: o.Rounds, Time: o.Time}
	if err := o.check(); err != nil {
		return r, err
	}
	var err error
	if r.Conditions, err = rig.Machine(); err != nil {
		return r, err
	}
	var failed error
	err = netlab.Run(ctx, "throughput", o.Logf, func(tb netlab.TB) {
		if failed = r.measure(tb, o); failed != nil {
			tb.Errorf("%v", failed) // shows the logs
		}
	})
	if failed != nil {
		return r, failed
	}
	if err != nil {
		return r, fmt.Errorf("throughput: %w", err)
	}
	r.sum()
	return r, nil
}

// measure sets all contestants up and lets them take turns.
func (r *Result) measure(tb netlab.TB, o Options) error {
	pairs, err := r.setUp(tb, o)
	if err != nil {
		return err
	}
	for round := range o.Rounds {
		for _, test := range o.chosen() {
			for _, p := range pairs {
				f, ok, err := p.run(tb.Context(), test, o.Time)
				if err != nil {
					return fmt.Errorf("throughput: %s of %s: %w", test.name, p.name, err)
				}
				if !ok {
					continue
				}
				r.Samples = append(r.Samples, Sample{Contestant: p.name, Test: test.name, Round: round, Figures: f})
				o.Logf("round %d of %d: %s of %s: %v", round+1, o.Rounds, test.name, p.name, f)
			}
		}
	}
	for i, p := range pairs {
		if err := r.Contestants[i].weigh(p); err != nil {
			return err
		}
	}
	if r.Scaling, err = r.steps(tb, o, o.queues()); err != nil {
		return err
	}
	if r.Ciphers, err = r.steps(tb, o, o.ciphers()); err != nil || !o.Framings {
		return err
	}
	r.Framings, err = r.steps(tb, o, o.framings())
	return err
}

// weigh notes the most memory that the processes of p ever had.
func (c *Contestant) weigh(p *pair) error {
	for _, p := range p.all() {
		gateway, err1 := rig.UsageOf(p.gateway.pid)
		client, err2 := rig.UsageOf(p.client.pid)
		if err := cmp.Or(err1, err2); err != nil {
			return err
		}
		c.Gateway, c.Client = max(c.Gateway, gateway.Peak), max(c.Client, client.Peak)
	}
	return nil
}

// setUp starts every contestant.
func (r *Result) setUp(tb netlab.TB, o Options) ([]*pair, error) {
	var pairs []*pair
	large := slices.ContainsFunc(o.chosen(), func(k kind) bool { return k.large })
	add := func(open opener, grows bool) error {
		began := time.Now()
		p, err := open.ready(tb.Context(), 0)
		if err == nil && large && grows {
			p.large, err = open.ready(tb.Context(), largeMTU)
		}
		if err != nil {
			return err
		}
		pairs = append(pairs, p)
		r.Contestants = append(r.Contestants, Contestant{Name: p.name, Version: p.version, Started: time.Since(began)})
		return nil
	}
	for _, v := range o.variants() {
		err := add(func(mtu int) (*pair, error) { return openPlugin(tb, o, v, mtu) }, !v.few)
		var cannot unable
		if v.label != "" && errors.As(err, &cannot) {
			r.Missing = append(r.Missing, fmt.Sprintf("%s: %v", v.label, cannot.reason))
		} else if err != nil {
			return nil, err
		}
	}
	r.Missing = slices.Compact(r.Missing)
	if o.WireGuard == "" {
		r.Missing = append(r.Missing, wireGuard)
	} else if err := add(func(mtu int) (*pair, error) { return openWireGuard(tb, o.WireGuard, mtu) }, true); err != nil {
		return nil, err
	}
	if !o.StrongSwan {
		r.Missing = append(r.Missing, strongSwan)
	} else if err := add(func(int) (*pair, error) { return openStrongSwan(tb, o.Proposal) }, false); err != nil {
		return nil, err
	} else if large {
		r.Missing = append(r.Missing, fmt.Sprintf("%s, above %d octets: the limit of its device", strongSwan, mostOctets))
	}
	return pairs, nil
}

// opener opens a contestant on a cable with an MTU, 0 for Ethernet's.
type opener func(mtu int) (*pair, error)

// ready opens it, and returns when it carries packets.
func (open opener) ready(ctx context.Context, mtu int) (*pair, error) {
	p, err := open(mtu)
	if err == nil {
		err = p.wait(ctx)
	}
	return p, err
}

// variants are the ways to measure plugins.
func (o Options) variants() (out []variant) {
	many := slices.ContainsFunc(o.chosen(), func(k kind) bool { return k.many })
	for i, path := range append([]string{o.Plugin}, o.Others...) {
		for _, n := range o.SAs {
			v := variant{path: path, sas: n, encap: true, few: n != o.SAs[0]}
			if v.few && !many {
				continue
			}
			if i > 0 {
				v.label = filepath.Base(path)
			}
			out = append(out, v)
			if v.encap = false; o.Raw {
				out = append(out, v)
			}
		}
	}
	return out
}
