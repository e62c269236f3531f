package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/evergate/evergate/core/admin"
	"github.com/evergate/evergate/core/config"
	"github.com/evergate/evergate/core/diag"
)

// cli is what the commands share.
type cli struct {
	socket string
	json   bool
}

func (c *cli) client() *admin.Client { return admin.Dial(c.socket) }

// print writes v as JSON when that was asked for, and as text otherwise.
func (c *cli) print(cmd *cobra.Command, v any, text func(io.Writer) error) error {
	if !c.json {
		return text(cmd.OutOrStdout())
	}
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func newRoot() *cobra.Command {
	c := &cli{}
	root := &cobra.Command{
		Use:   "evergate",
		Short: "Look at and operate an Evergate IPsec gateway",
		Long: `evergate talks to a running evergated over its admin socket.

  evergate status                            what runs, and how many tunnels are up
  evergate diagnose vpn tunnel list          every tunnel with its SAs
  evergate diagnose sys ha standalone-peers  the other members of the group
  evergate get system ha status              the unit, and who is its primary
  evergate tunnel down vpn1_0                close one tunnel
  evergate check /etc/evergate/gw.yaml       find all mistakes in a configuration
  evergate bench failover                    measure this machine, without a gateway`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&c.socket, "socket", config.DefaultAdminSocket, "admin socket of the gateway (admin.socket in its configuration)")
	root.PersistentFlags().BoolVar(&c.json, "json", false, "print JSON instead of text")
	root.AddCommand(c.status(), c.diagnose(), c.tunnel(), c.reload(), check(), c.get(), c.ha(), c.bench())
	return root
}

func (c *cli) status() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the gateway, its dataplane and its connections",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.client().Status(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(cmd, s, func(w io.Writer) error { return diag.WriteStatus(w, s) })
		},
	}
}

func (c *cli) reload() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Make the gateway read its configuration again",
		Long: `Make the gateway read its configuration again, as SIGHUP does.

Only what changed is touched: tunnels of connections that stay the same stay up.
A configuration with mistakes changes nothing.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			changes, err := c.client().Reload(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(cmd, changes, func(w io.Writer) error {
				if len(changes) == 0 {
					_, err := fmt.Fprintln(w, "nothing changed")
					return err
				}
				for _, line := range changes {
					if _, err := fmt.Fprintln(w, line); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func check() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration without a gateway",
		Long: `Check a configuration: every mistake is listed with its file, line and key, and
with what is allowed there. The exit status is 0 only when there is none. What works
but should be looked at goes to standard error.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := config.Load(args[0])
			if err != nil {
				return err
			}
			for _, w := range cfg.Warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning:", w)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d phase1, %d phase2: no mistakes\n", args[0], len(cfg.Phase1), len(cfg.Phase2))
			return err
		},
	}
}
