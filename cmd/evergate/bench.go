package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/evergate/evergate/bench/failover"
	"github.com/evergate/evergate/bench/handshake"
	"github.com/evergate/evergate/bench/report"
	"github.com/evergate/evergate/bench/scale"
	"github.com/evergate/evergate/bench/throughput"
)

// benchOptions are what the benchmarks share. What is zero has the benchmark's
// default.
type benchOptions struct {
	daemon, plugin  string
	tunnels, rounds int
	handshake       handshake.Options
	throughput      throughput.Options
	html, samples   string
	logf            func(format string, args ...any)
}

// reporter is what each benchmark returns.
type reporter interface{ Report() report.Report }

// benchmark is one of them.
type benchmark struct {
	name, short, long string
	// flags adds those that not all have.
	flags func(*pflag.FlagSet, *benchOptions)
	run   func(context.Context, *benchOptions) (reporter, error)
}

func benchmarks() []benchmark {
	return []benchmark{
		{
			name: "failover", short: "Measure what the death of a member costs its clients",
			long: `Measure what the death of a member costs its clients: the gap from a tunnel's first
packet at the survivor to the packet that leaves it again, and what the synchronization
that makes it possible adds to a handshake.`,
			flags: withTunnels,
			run: func(ctx context.Context, o *benchOptions) (reporter, error) {
				return failover.Run(ctx, failover.Options{Daemon: o.daemon, Plugin: o.plugin, Tunnels: o.tunnels, Rounds: o.rounds, Logf: o.logf})
			},
		},
		{
			name: "handshake", short: "Measure what a tunnel costs an IKE responder, next to another",
			long: `Measure what a tunnel costs an IKE responder in processor time and memory, and how long
its client waits, next to strongSwan with kernel-libipsec, by turns in one run. --tunnels
is a number of tunnels with which memory is looked at without strongSwan, -1 for none
(20000 and 100000).`,
			flags: handshakeFlags,
			run:   runHandshake,
		},
		{
			name: "scale", short: "Measure what very many tunnels cost a group",
			long: `Measure what very many tunnels cost a group: how fast a member that joins gets them,
what they take of memory, and whether members that hold them still answer in time.`,
			flags: withTunnels,
			run: func(ctx context.Context, o *benchOptions) (reporter, error) {
				return scale.Run(ctx, scale.Options{Daemon: o.daemon, Plugin: o.plugin, Tunnels: o.tunnels, Rounds: o.rounds, Logf: o.logf})
			},
		},
		{
			name: "throughput", short: "Measure how fast a dataplane carries packets, next to others",
			long: `Measure how fast a dataplane carries packets and what that costs, next to wireguard-go
and to strongSwan with kernel-libipsec, by turns in one run. Those of the two that are
not on this machine are named in the result.`,
			flags: throughputFlags,
			run:   runThroughput,
		},
	}
}

func withTunnels(f *pflag.FlagSet, o *benchOptions) {
	f.StringVar(&o.daemon, "daemon", "", "evergated to measure (the one beside this program)")
	f.IntVar(&o.tunnels, "tunnels", 0, "how many tunnels; 0 for the benchmark's own choice")
}

func (c *cli) bench() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure Evergate on this machine",
		Long: `Measure Evergate on this machine, with real daemons and dataplanes between network
namespaces that the benchmark makes and takes down again. It needs root, touches no
running gateway, and sends nothing beyond its namespaces.

The result is a table and a line of JSON (the line alone with --json); --html writes a
page with plots, --benchstat lines to compare two runs with benchstat. What is being
done goes to standard error.`,
	}
	for _, b := range benchmarks() {
		cmd.AddCommand(c.benchmark(b))
	}
	cmd.AddCommand(c.allBenchmarks())
	return cmd
}

// allBenchmarks makes one page of all of them.
func (c *cli) allBenchmarks() *cobra.Command {
	var shared benchOptions
	cmd := &cobra.Command{
		Use: "all", Short: "Make all measurements, one after the other", Args: cobra.NoArgs,
		Long: `Make all measurements, one after the other, each as it is made by itself without
further flags. What fails is told at the end, and keeps none of the others from
being made. It takes about half an hour.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			shared.logTo(cmd.ErrOrStderr())
			if err := shared.find(); err != nil {
				return err
			}
			var reports []report.Report
			var failed []error
			for _, b := range benchmarks() {
				o := shared
				b.flags(pflag.NewFlagSet(b.name, pflag.ContinueOnError), &o) // its defaults
				o.daemon = shared.daemon
				o.logf("%s", b.name)
				result, err := b.run(cmd.Context(), &o)
				if err != nil {
					failed = append(failed, fmt.Errorf("%s: %w", b.name, err))
					continue
				}
				reports = append(reports, result.Report())
			}
			return errors.Join(append(failed, c.show(cmd.OutOrStdout(), shared, reports...))...)
		},
	}
	f := cmd.Flags()
	shared.addTo(f)
	f.StringVar(&shared.daemon, "daemon", "", "evergated to measure (the one beside this program)")
	return cmd
}

func (c *cli) benchmark(b benchmark) *cobra.Command {
	var o benchOptions
	cmd := &cobra.Command{
		Use: b.name, Short: b.short, Long: b.long, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.logTo(cmd.ErrOrStderr())
			if cmd.Flags().Lookup("daemon") != nil {
				if err := o.find(); err != nil {
					return err
				}
			}
			result, err := b.run(cmd.Context(), &o)
			if err != nil {
				return err
			}
			return c.show(cmd.OutOrStdout(), o, result.Report())
		},
	}
	f := cmd.Flags()
	o.addTo(f)
	f.IntVar(&o.rounds, "rounds", 0, "how often to repeat; 0 for the benchmark's own choice")
	b.flags(f, &o)
	return cmd
}

// addTo adds the flags that all have.
func (o *benchOptions) addTo(f *pflag.FlagSet) {
	f.StringVar(&o.plugin, "plugin", "", "dataplane to measure: the name or the path of its plugin (softesp)")
	f.StringVar(&o.html, "html", "", "write a page with plots to this `file`")
	f.StringVar(&o.samples, "benchstat", "", "append lines for benchstat to this `file`")
}

// logTo has what is being done written to w.
func (o *benchOptions) logTo(w io.Writer) {
	o.logf = func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
}

// find makes sure of the programs that are to be measured.
func (o *benchOptions) find() error {
	if o.daemon == "" {
		var err error
		if o.daemon, err = beside("evergated"); err != nil {
			return err
		}
	}
	if _, err := os.Stat(o.daemon); err != nil {
		return fmt.Errorf("find what is to be measured (--daemon): %w", err)
	}
	return nil
}

// beside is the path of a program in the folder of this one.
func beside(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find %s beside this program: %w", name, err)
	}
	return filepath.Join(filepath.Dir(self), name), nil
}

// show prints reports and writes the files that were asked for.
func (c *cli) show(w io.Writer, o benchOptions, reports ...report.Report) error {
	if len(reports) == 0 {
		return nil
	}
	for _, r := range reports {
		write := r.Write
		if c.json {
			write = r.WriteJSON
		}
		if err := write(w); err != nil {
			return err
		}
		if o.samples == "" {
			continue
		}
		if err := toFile(o.samples, os.O_APPEND, r.WriteSamples); err != nil {
			return err
		}
	}
	if o.html == "" {
		return nil
	}
	return toFile(o.html, os.O_TRUNC, func(w io.Writer) error { return report.WriteHTML(w, reports...) })
}

// toFile writes a file, anew or at its end.
func toFile(name string, how int, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|how, 0o644) //nolint:gosec // a result is no secret
	if err != nil {
		return err
	}
	err = write(f)
	if closing := f.Close(); err == nil {
		err = closing
	}
	return err
}
