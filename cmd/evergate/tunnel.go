package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/evergate/evergate/core/diag"
)

// diagnose is FortiOS's tree of words, so that habits carry over.
func (c *cli) diagnose() *cobra.Command {
	tree := func(use, short string, sub ...*cobra.Command) *cobra.Command {
		cmd := &cobra.Command{Use: use, Short: short}
		cmd.AddCommand(sub...)
		return cmd
	}
	return tree("diagnose", "Look inside, in FortiOS's words",
		tree("dataplane", "What carries the packets", c.dataplaneStats(), c.dataplaneSAs()),
		tree("sys", "System", tree("ha", "Other members", c.standalonePeers(),
			c.haStatus("Show what an expert wants to know of the unit", diag.WriteHADiagnosis))),
		tree("vpn", "VPN",
			tree("tunnel", "Tunnels and their SAs", c.tunnelList()),
			tree("ike", "IKE", c.ikeStats())))
}

func (c *cli) tunnelList() *cobra.Command {
	var keys bool
	cmd := &cobra.Command{
		Use:   "list [name NAME]",
		Short: "List tunnels with their SAs, in FortiOS's format",
		Long: `List tunnels with their SAs, in FortiOS's format; with a name that tunnel, or all
of that phase 1.

Keys are shown with --show-keys only; the gateway logs that it was asked for them.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) == 2 && args[0] == "name" {
				return nil
			}
			return fmt.Errorf("want nothing or: name NAME")
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			switch len(args) {
			case 0:
				return []string{"name"}, cobra.ShellCompDirectiveNoFileComp
			case 1:
				return c.tunnelNames(cmd, nil, "")
			default:
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) == 2 {
				name = args[1]
			}
			tunnels, err := c.client().Tunnels(cmd.Context(), name, keys)
			if err != nil {
				return err
			}
			return c.print(cmd, tunnels, func(w io.Writer) error { return diag.WriteTunnels(w, name, tunnels) })
		},
	}
	cmd.Flags().BoolVar(&keys, "show-keys", false, "show the keys of the SAs")
	return cmd
}

func (c *cli) ikeStats() *cobra.Command {
	return &cobra.Command{
		Use:   "stats",
		Short: "Count what IKE did since the gateway started",
		Long: `Count what IKE, and the group, did since the gateway started.

After a failover a cluster and its peer may have to agree anew on where they are
(RFC 6311):

  ha.resync           takeovers after which the peer was asked for its Message IDs,
                      because what was taken over may have been behind
  ha.vike.sync        IKE SAs whose Message IDs were set by that, on either side
  ha.conn.sync        pairs of SAs whose sequence numbers were moved by that
  ha.sync.tx          such messages sent, requests and responses
  ha.sync.rx          such messages received and taken
  ha.sync.rx.len.bad  such messages whose notification has a wrong length`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.client().IKEStats(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(cmd, s, func(w io.Writer) error { return diag.WriteStats(w, s) })
		},
	}
}

func (c *cli) dataplaneStats() *cobra.Command {
	return &cobra.Command{
		Use:   "stats",
		Short: "Count the packets that belong to no SA",
		Long: `Count the packets that belong to no SA since the gateway started: unknown SPIs,
packets that no SA selects, what the network did not take. The dataplane's
documentation says what each name means. What was dropped of an SA is in the metrics
of its phase 1.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.client().DataplaneStats(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(cmd, s, func(w io.Writer) error { return diag.WriteStats(w, s) })
		},
	}
}

func (c *cli) dataplaneSAs() *cobra.Command {
	return &cobra.Command{
		Use:   "sas",
		Short: "Count the SAs that the dataplane holds",
		Long: `Count the SAs that the dataplane holds, by its own word: for each member whose
tunnels they are of, and by role and direction. It is asked for every one of them.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			held, err := c.client().DataplaneSAs(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(cmd, held, func(w io.Writer) error { return diag.WriteHeld(w, held) })
		},
	}
}

func (c *cli) standalonePeers() *cobra.Command {
	return &cobra.Command{
		Use:   "standalone-peers",
		Short: "List the members of the group, what was exchanged with them, and their interfaces",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.client().StandalonePeers(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(cmd, s, func(w io.Writer) error { return diag.WriteStandalonePeers(w, s) })
		},
	}
}

func (c *cli) tunnel() *cobra.Command {
	cmd := &cobra.Command{Use: "tunnel", Short: "Bring tunnels up or down, make new keys"}
	cmd.AddCommand(
		c.rekey(),
		&cobra.Command{
			Use:   "up PHASE1",
			Short: "Initiate a connection",
			Long: `Initiate a connection whose peer's address is configured (type: static). The
clients of a dialup server initiate themselves.`,
			Args:              cobra.ExactArgs(1),
			ValidArgsFunction: c.phase1Names,
			RunE: func(cmd *cobra.Command, args []string) error {
				return c.client().Up(cmd.Context(), args[0])
			},
		},
		&cobra.Command{
			Use:   "down NAME",
			Short: "Close a tunnel, or all tunnels of a phase 1",
			Long: `Close a tunnel (vpn1_0), or all tunnels of a phase 1 (vpn1), telling the peers. A
connection that was taken down is not initiated again before "tunnel up".`,
			Args:              cobra.ExactArgs(1),
			ValidArgsFunction: c.tunnelNames,
			RunE: func(cmd *cobra.Command, args []string) error {
				return c.client().Down(cmd.Context(), args[0])
			},
		})
	return cmd
}

func (c *cli) rekey() *cobra.Command {
	var ike bool
	cmd := &cobra.Command{
		Use:   "rekey NAME",
		Short: "Make new keys for a tunnel, or all tunnels of a phase 1",
		Long: `Make new keys now, for the Child SAs of a tunnel or with --ike for its IKE SA. No
packet is lost by it.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.tunnelNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.client().Rekey(cmd.Context(), args[0], ike)
		},
	}
	cmd.Flags().BoolVar(&ike, "ike", false, "rekey the IKE SA instead of its children")
	return cmd
}

func (c *cli) tunnelNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	tunnels, err := c.client().Tunnels(cmd.Context(), "", false)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, t := range tunnels {
		names = append(names, t.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (c *cli) phase1Names(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	s, err := c.client().Status(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, p := range s.Phase1 {
		names = append(names, p.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
