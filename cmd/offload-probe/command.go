package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

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
	root.AddCommand(newRun(), newList())
	return root
}

// settings are the flags of run.
type settings struct {
	json          bool
	verbose       bool
	clauses       []string
	local, remote string
	member        uint8
	ikeSocket     string
	plugin        map[string]string
}

func newRun() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "run [flags] PLUGIN [-- ARG...]",
		Short: "Start the plugin once per clause and report what it keeps and breaks",
		Long: `Start the plugin once per clause, as the daemon would, and report which clauses
of the contract it keeps and which it breaks.

Clauses that need packets, or hardware that loses things, cannot be exercised
from outside. They are listed as such; run package offloadtest with a harness of
your own for them.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return s.run(cmd, args[0], args[1:]) },
	}
	f := cmd.Flags()
	f.BoolVar(&s.json, "json", false, "write the report as JSON")
	f.BoolVarP(&s.verbose, "verbose", "v", false, "list the clauses that passed too")
	f.StringSliceVarP(&s.clauses, "clause", "c", nil, "check these clauses, or groups of them, only")
	f.StringVar(&s.local, "local", "127.0.0.1", "our outer address")
	f.StringVar(&s.remote, "remote", "127.0.0.2", "the peer's outer address")
	f.Uint8Var(&s.member, "member", 0, "our member id")
	f.StringVar(&s.ikeSocket, "ike-socket", "", "path of the socket for IKE packets, for plugins that own UDP port 4500")
	f.StringToStringVar(&s.plugin, "set", nil, "settings of the plugin, as name=value")
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

func (s *settings) run(cmd *cobra.Command, path string, args []string) error {
	harness, err := s.harness()
	if err != nil {
		return err
	}
	clauses, err := offloadtest.Select(s.clauses...)
	if err != nil {
		return err
	}
	if !strings.ContainsRune(path, '/') {
		path = "./" + path // what is meant is a file, never a program of the PATH
	}
	out := cmd.OutOrStdout()
	each := func(r offloadtest.Result) {
		if !s.json {
			writeResult(out, r, s.verbose)
		}
	}
	report, err := offloadtest.Check(cmd.Context(), offloadtest.Executable(s.log(cmd), harness, path, args...), clauses, each)
	if err != nil {
		return fmt.Errorf("check %s: %w", path, err)
	}
	if s.json {
		err = writeJSON(out, report)
	} else {
		writeSummary(out, report)
	}
	if err == nil && report.Count(offloadtest.Failed) > 0 {
		err = errBroken
	}
	return err
}

// log is where the plugin's own log goes: to standard error when asked for.
func (s *settings) log(cmd *cobra.Command) io.Writer {
	if s.verbose {
		return cmd.ErrOrStderr()
	}
	return io.Discard
}

func (s *settings) harness() (offloadtest.Harness, error) {
	local, err := netip.ParseAddr(s.local)
	if err != nil {
		return offloadtest.Harness{}, fmt.Errorf("flag --local: %w", err)
	}
	remote, err := netip.ParseAddr(s.remote)
	if err != nil {
		return offloadtest.Harness{}, fmt.Errorf("flag --remote: %w", err)
	}
	return offloadtest.Harness{
		Local:  local,
		Remote: remote,
		Config: offload.Config{
			Member:    ipsec.MemberID(s.member),
			IKESocket: s.ikeSocket,
			Settings:  s.plugin,
		},
	}, nil
}
