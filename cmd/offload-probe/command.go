package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/offloadtest"
)

// errBroken: the plugin was checked and some clause failed. The report says it
// all.
var errBroken = errors.New("the plugin breaks the contract")

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "offload-probe",
		Short:         "Check a dataplane plugin against Evergate's contract",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newRun(), newLoad(), newShell(), newList())
	return root
}

// plane are the flags of the commands that start a plugin.
type plane struct {
	verbose       bool
	local, remote string
	member        uint8
	ikeSocket     string
	settings      map[string]string
}

func (p *plane) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVarP(&p.verbose, "verbose", "v", false, "show the plugin's log, and what went well")
	f.StringVar(&p.local, "local", "127.0.0.1", "our outer address")
	f.StringVar(&p.remote, "remote", "127.0.0.2", "the peer's outer address")
	f.Uint8Var(&p.member, "member", 0, "our member id")
	f.StringVar(&p.ikeSocket, "ike-socket", "", "path of the socket for IKE packets, for plugins that own UDP port 4500")
	f.StringToStringVar(&p.settings, "set", nil, "settings of the plugin, as name=value")
}

// open starts the plugin of a command line: its path, then its own arguments.
func (p *plane) open(cmd *cobra.Command, args []string) (offloadtest.Open, error) {
	harness, err := p.harness()
	if err != nil {
		return nil, err
	}
	path := args[0]
	if !strings.ContainsRune(path, '/') {
		path = "./" + path // what is meant is a file, never a program of the PATH
	}
	log := io.Discard
	if p.verbose {
		log = cmd.ErrOrStderr()
	}
	return offloadtest.Executable(log, harness, path, args[1:]...), nil
}

// check are the flags of run.
type check struct {
	plane
	json    bool
	packets bool
	clauses []string
	timeout time.Duration
}

func newRun() *cobra.Command {
	var s check
	cmd := &cobra.Command{
		Use:   "run [flags] PLUGIN [-- ARG...]",
		Short: "Start the plugin once per clause and report what it keeps and breaks",
		Long: `Start the plugin once per clause, as the daemon would, and report which clauses
of the contract it keeps and which it breaks.

With --packets the plugin runs in a network namespace, with real packets between its
plaintext interface and a peer on the loopback, if it has such an interface and
carries ESP over IPv4 there.

Hardware that loses things, and packets over links between members, cannot be had
from outside. Clauses that need them are listed as such; run package offloadtest
with a harness of your own for them.

A signal ends the run early: the report then has the clauses that were checked, and
says how many were not.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return s.run(cmd, args) },
	}
	s.flags(cmd)
	f := cmd.Flags()
	f.BoolVar(&s.json, "json", false, "write the report as JSON")
	f.BoolVar(&s.packets, "packets", false, "play packets too, in a network namespace made for it")
	f.DurationVar(&s.timeout, "timeout", time.Minute, "how long a clause may take, before what it waits for counts as broken")
	f.StringSliceVarP(&s.clauses, "clause", "c", nil, "check these clauses, or groups of them, only")
	return cmd
}

func newList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the clauses of the contract",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, c := range offloadtest.Clauses() {
				fmt.Fprintf(cmd.OutOrStdout(), "%-20s %s\n", c.ID, c.Text)
			}
			return nil
		},
	}
}

func (s *check) run(cmd *cobra.Command, args []string) error {
	clauses, err := offloadtest.Select(s.clauses...)
	if err != nil {
		return err
	}
	if s.packets && os.Getenv(inNamespace) == "" {
		return again(cmd)
	}
	open, err := s.open(cmd, args)
	if err == nil && s.packets {
		open, err = withPackets(cmd.Context(), open)
	}
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	each := func(r offloadtest.Result) {
		if !s.json {
			writeResult(out, r, s.verbose)
		}
	}
	report, err := offloadtest.Check(cmd.Context(), open, nil, nil) // what it is
	if err != nil {
		return fmt.Errorf("check %s: %w", args[0], cmp.Or(context.Cause(cmd.Context()), err))
	}
	for _, c := range clauses {
		r := within(cmd.Context(), s.timeout, c, open)
		if cmd.Context().Err() != nil {
			break // whatever it says, it was broken off
		}
		report.Results = append(report.Results, r)
		each(r)
	}
	unchecked := len(clauses) - len(report.Results)
	if s.json {
		err = writeJSON(out, reportOf(report, unchecked))
	} else {
		writeSummary(out, report, unchecked)
	}
	switch {
	case err != nil:
		return err
	case unchecked > 0:
		return fmt.Errorf("check %s: %w", args[0], context.Cause(cmd.Context()))
	case report.Count(offloadtest.Failed) > 0:
		return errBroken
	default:
		return nil
	}
}

// within checks a clause. A call that hangs is ended by the time limit.
func within(ctx context.Context, limit time.Duration, c offloadtest.Clause, open offloadtest.Open) offloadtest.Result {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return c.Check(ctx, open)
}

func (p *plane) harness() (offloadtest.Harness, error) {
	local, err := netip.ParseAddr(p.local)
	if err != nil {
		return offloadtest.Harness{}, fmt.Errorf("flag --local: %w", err)
	}
	remote, err := netip.ParseAddr(p.remote)
	if err != nil {
		return offloadtest.Harness{}, fmt.Errorf("flag --remote: %w", err)
	}
	return offloadtest.Harness{
		Local:  local,
		Remote: remote,
		Config: offload.Config{
			Member:    ipsec.MemberID(p.member),
			IKESocket: p.ikeSocket,
			Settings:  p.settings,
		},
	}, nil
}
