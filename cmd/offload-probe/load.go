package main

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/evergate/evergate/offload/offloadtest"
)

// load are the flags of load.
type load struct {
	plane
	offloadtest.Load
	json bool
}

func newLoad() *cobra.Command {
	var l load
	cmd := &cobra.Command{
		Use:   "load [flags] PLUGIN [-- ARG...]",
		Short: "Measure how fast the plugin installs, updates, exports and deletes SAs",
		Long: `Measure how fast the plugin installs, updates, exports and deletes SAs: rates over
all callers, and percentiles of the latency of single calls. SAs are installed as
standby, given leases, exported, promoted by group, and deleted, as at a member
whose neighbours hold the tunnels.

A load that fails or is ended by a signal reports the phases that it had measured.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return l.run(cmd, args) },
	}
	l.flags(cmd)
	f := cmd.Flags()
	f.IntVarP(&l.SAs, "sas", "n", 10000, "how many SAs; fewer where fewer fit")
	f.IntVarP(&l.Batch, "batch", "b", 64, "how many SAs go into one call")
	f.IntVarP(&l.Callers, "callers", "p", 1, fmt.Sprintf("how many callers at a time, at most %d", offloadtest.MaxCallers))
	f.BoolVar(&l.json, "json", false, "write the result as JSON")
	return cmd
}

func (l *load) run(cmd *cobra.Command, args []string) error {
	open, err := l.open(cmd, args)
	if err != nil {
		return err
	}
	info, phases, err := offloadtest.Measure(cmd.Context(), open, l.Load)
	var writing error
	switch {
	case len(phases) == 0: // err says why
	case l.json:
		writing = writeJSON(cmd.OutOrStdout(), jsonLoad{info.Name, info.Version, contract(info), phases})
	default:
		writeLoad(cmd.OutOrStdout(), info, phases)
	}
	if err != nil {
		return fmt.Errorf("load %s: %w", args[0], cmp.Or(context.Cause(cmd.Context()), err))
	}
	return writing
}
