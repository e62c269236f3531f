package main

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha/transport/cert"
)

const (
	caCert, caKey = "ca.pem", "ca.key"
	day           = 24 * time.Hour
)

// ha makes what the members of a group need to trust each other, and moves units.
func (c *cli) ha() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ha",
		Short: "Make the certificates of a group of gateways, move the primary of a unit",
		Long: `Make the certificates that the members of a group show each other. They need no
running gateway; do it where the group's key is safe, not on a member:

  evergate ha init-ca --group 1 --dir group1
  evergate ha issue --member 1 --address 172.31.1.1 --dir group1
  evergate ha issue --member 2 --address 172.31.1.2 --dir group1

Each member gets ca.pem and its own member-N.pem and member-N.key; ca.key stays.

On a member of a unit, move it to another member, and let it come back:

  evergate ha failover set
  evergate ha failover unset`,
	}
	cmd.AddCommand(initCA(), issue(), c.failover())
	return cmd
}

func initCA() *cobra.Command {
	var dir string
	var group uint8
	var days uint16
	cmd := &cobra.Command{
		Use:   "init-ca --group ID",
		Short: "Make the authority of a group",
		Long: `Make the authority of a group: ` + caCert + `, which every member gets, and ` + caKey + `, which
issues members and stays where it is. Files that exist are not overwritten: who
loses the key of a group cannot add members to it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := cert.NewAuthority(group, time.Now(), time.Duration(days)*day)
			if err != nil {
				return err
			}
			c, key, err := a.PEM()
			if err != nil {
				return err
			}
			defer key.Wipe()
			if err := cert.Save(filepath.Join(dir, caCert), c, filepath.Join(dir, caKey), key); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: authority of group %d until %s; keep %s safe\n",
				filepath.Join(dir, caCert), group, a.Expires().Format(time.DateOnly), filepath.Join(dir, caKey))
			return err
		},
	}
	cmd.Flags().Uint8Var(&group, "group", 0, "standalone-group-id, 0 to 255")
	cmd.Flags().StringVar(&dir, "dir", ".", "where the files go")
	cmd.Flags().Uint16Var(&days, "days", 3650, "how long it is good for")
	cobra.CheckErr(cmd.MarkFlagRequired("group"))
	return cmd
}

func issue() *cobra.Command {
	var dir string
	var member uint8
	var days uint16
	var addresses []string
	cmd := &cobra.Command{
		Use:   "issue --member ID",
		Short: "Make the certificate and key of a member",
		Long: `Make the certificate and key of a member, with the authority that init-ca made in
the same directory. With --address it is good at these addresses of the member's
sync interface only.

To renew, move the old files away first, issue, and reload the gateway.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m := cert.Member{ID: ipsec.MemberID(member), Valid: time.Duration(days) * day}
			for _, text := range addresses {
				addr, err := netip.ParseAddr(text)
				if err != nil {
					return fmt.Errorf("--address: %w", err)
				}
				m.Addrs = append(m.Addrs, addr)
			}
			a, err := cert.LoadAuthority(filepath.Join(dir, caCert), filepath.Join(dir, caKey))
			if err != nil {
				return err
			}
			name, err := save(a, m, dir)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s.pem, %s.key: member %d of group %d for %d days; copy them and %s to it\n",
				name, name, member, a.Group(), days, filepath.Join(dir, caCert))
			return err
		},
	}
	cmd.Flags().Uint8Var(&member, "member", 0, "group-member-id, 0 to 15")
	cmd.Flags().StringSliceVar(&addresses, "address", nil, "bind the certificate to an address (may be repeated)")
	cmd.Flags().StringVar(&dir, "dir", ".", "where the authority is and the files go")
	cmd.Flags().Uint16Var(&days, "days", 825, "how long it is good for")
	cobra.CheckErr(cmd.MarkFlagRequired("member"))
	return cmd
}

// save issues a member's certificate into files and returns their name without
// its ending.
func save(a *cert.Authority, m cert.Member, dir string) (string, error) {
	c, key, err := a.Issue(m, time.Now())
	if err != nil {
		return "", err
	}
	defer key.Wipe()
	name := filepath.Join(dir, fmt.Sprintf("member-%d", m.ID))
	return name, cert.Save(name+".pem", c, name+".key", key)
}
