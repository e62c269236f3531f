package handshake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/evergate/evergate/bench/rig"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
)

// Options say what to measure. What is zero has its default.
type Options struct {
	// Daemon is the path of evergated. Required.
	Daemon string
	// Plugin is the name or the path of the dataplane's plugin: softesp.
	Plugin string
	// StrongSwan adds charon, which must be installed then.
	StrongSwan bool
	// Methods are the names of those to measure, of Methods: all of them.
	Methods []string
	// Handshakes of a responder in each round: 1000.
	Handshakes int
	// Rounds is how often each responder has its turn: 4.
	Rounds int
	// AtOnce is how many clients dial at a time: 16. More may make a responder ask for
	// cookies.
	AtOnce int
	// Tunnels are the numbers of tunnels with which memory is looked at, of all
	// responders: 1000 and 5000. A handshake takes charon the longer the more tunnels
	// it has: 20,000 of them take a quarter of an hour or more.
	Tunnels []int
	// Alone are those with which evergated only is looked at: 20000 and 100000. An
	// empty Alone that is not nil is none.
	Alone []int
	// Settle is given to the processes before their memory is read: 10 s.
	Settle time.Duration
	// Logf gets what is being done, line by line, and the processes' logs when
	// something fails; nil drops it.
	Logf func(format string, args ...any)
}

func (o Options) withDefaults() Options {
	o.Handshakes = cmp.Or(o.Handshakes, 1000)
	o.Rounds = cmp.Or(o.Rounds, 4)
	o.AtOnce = cmp.Or(o.AtOnce, 16)
	o.Settle = cmp.Or(o.Settle, 10*time.Second)
	if o.Tunnels == nil {
		o.Tunnels = []int{1000, 5000}
	}
	if o.Alone == nil {
		o.Alone = []int{20_000, 100_000}
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	return o
}

func (o Options) check() error {
	if o.Rounds < 1 || o.Handshakes < 1 || o.AtOnce < 1 {
		return errors.New("handshake: there must be a round, a handshake in it, and somebody who dials")
	}
	for _, name := range o.Methods {
		if !slices.ContainsFunc(Methods(), func(m Method) bool { return m.Name == name }) {
			return fmt.Errorf("handshake: there is no key exchange method %q to measure", name)
		}
	}
	for _, n := range slices.Concat([]int{o.Rounds * o.Handshakes}, o.Tunnels, o.Alone) {
		if n < 1 || n > rig.MaxClients-warmUp {
			return fmt.Errorf("handshake: %d tunnels, there are 1 to %d clients", n, rig.MaxClients-warmUp)
		}
	}
	return nil
}

// Method is one key exchange method.
type Method struct {
	// Name is as strongSwan has it.
	Name  string
	Group ipsec.GroupID
}

// Methods are those that are measured.
func Methods() []Method {
	return []Method{{"x25519", ipsec.GroupX25519}, {"ecp256", ipsec.GroupECP256}, {"modp2048", ipsec.GroupMODP2048}}
}

// The names of the responders.
const (
	Evergate   = "evergate"
	StrongSwan = "strongswan"
)

// Result of a run.
type Result struct {
	Benchmark  string         `json:"benchmark"`
	Conditions rig.Conditions `json:"conditions"`
	Handshakes int            `json:"handshakes_per_round"`
	AtOnce     int            `json:"at_once"`
	// Missing are the responders that were not measured.
	Missing []string  `json:"missing,omitempty"`
	Figures []Figures `json:"figures"`
	Memory  []Memory  `json:"memory"`
}

// Figures are those of one responder with one key exchange method.
type Figures struct {
	Method    string `json:"method"`
	Responder string `json:"responder"`
	// Rounds in order, and what is in the middle of each of their figures.
	Rounds []Round `json:"rounds"`
	Round
	// Wait is of all rounds, as the clients see it.
	Wait rig.Spread `json:"wait"`
}

// Round is one turn of a responder.
type Round struct {
	// PerSecond counts handshakes.
	PerSecond float64 `json:"handshakes_per_second"`
	// CPU is processor time per handshake, Daemon that without the dataplane where it
	// is another process.
	CPU    time.Duration `json:"cpu_per_handshake_ns"`
	Daemon time.Duration `json:"daemon_cpu_per_handshake_ns"`
}

// Memory is what tunnels take of a responder.
type Memory struct {
	Responder string `json:"responder"`
	Tunnels   int    `json:"tunnels"`
	// PerTunnel is in octets, of all processes; Daemon is as in Round.
	PerTunnel float64 `json:"octets_per_tunnel"`
	Daemon    float64 `json:"daemon_octets_per_tunnel"`
}

// Run measures. It needs root, and leaves nothing behind, also when ctx ends.
func Run(ctx context.Context, o Options) (Result, error) {
	o = o.withDefaults()
	r := Result{Benchmark: "handshake", Handshakes: o.Handshakes, AtOnce: o.AtOnce}
	if err := o.check(); err != nil {
		return r, err
	}
	var err error
	if r.Conditions, err = rig.Machine(); err != nil {
		return r, err
	}
	if !o.StrongSwan {
		r.Missing = append(r.Missing, StrongSwan)
	}
	for _, m := range Methods() {
		if len(o.Methods) > 0 && !slices.Contains(o.Methods, m.Name) {
			continue
		}
		if err := inLab(ctx, o, func(tb netlab.TB) error { return r.compare(tb, o, m) }); err != nil {
			return r, err
		}
	}
	for _, n := range o.Tunnels {
		if err := inLab(ctx, o, func(tb netlab.TB) error { return r.fill(tb, o, n) }); err != nil {
			return r, err
		}
	}
	o.StrongSwan = false
	for _, n := range o.Alone {
		if err := inLab(ctx, o, func(tb netlab.TB) error { return r.fill(tb, o, n) }); err != nil {
			return r, err
		}
	}
	return r, nil
}

// inLab plays one part in a network of its own.
func inLab(ctx context.Context, o Options, part func(netlab.TB) error) error {
	var failed error
	err := netlab.Run(ctx, "handshake", o.Logf, func(tb netlab.TB) {
		if failed = part(tb); failed != nil {
			tb.Errorf("%v", failed) // shows the logs
		}
	})
	if failed != nil {
		return failed
	}
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	return nil
}
