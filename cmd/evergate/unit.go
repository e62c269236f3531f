package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/evergate/evergate/core/diag"
)

// get has FortiOS's words for what it shows of a unit.
func (c *cli) get() *cobra.Command {
	get := &cobra.Command{Use: "get", Short: "Show the state of the system"}
	system := &cobra.Command{Use: "system", Short: "Show the state of the system"}
	ha := &cobra.Command{Use: "ha", Short: "Show the unit of gateways"}
	get.AddCommand(system)
	system.AddCommand(ha)
	ha.AddCommand(c.haStatus("Show the unit, its members, who is primary, and its links", diag.WriteHAStatus))
	return get
}

func (c *cli) haStatus(short string, write func(io.Writer, diag.HAStatus) error) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.client().HAStatus(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(cmd, s, func(w io.Writer) error { return write(w, s) })
		},
	}
}

func (c *cli) failover() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "failover",
		Short: "Make this member of a unit step back behind the others, or take that back",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.client().HAStatus(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(cmd, s.Failover, func(w io.Writer) error {
				state := "unset"
				if s.Failover {
					state = "set"
				}
				_, err := fmt.Fprintf(w, "failover status: %s\n", state)
				return err
			})
		},
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:   "set",
			Short: "Step back: another member that can becomes primary, and stays it",
			Args:  cobra.NoArgs,
			RunE:  func(cmd *cobra.Command, _ []string) error { return c.client().Failover(cmd.Context(), true) },
		},
		&cobra.Command{
			Use:   "unset",
			Short: "Be chosen again as if there had been no set; with override it may come back at once",
			Args:  cobra.NoArgs,
			RunE:  func(cmd *cobra.Command, _ []string) error { return c.client().Failover(cmd.Context(), false) },
		})
	return cmd
}
